// Command interop reads what a CA signed, as Go's libraries and zlint do.
//
// "verify" reads cases from stdin, one a line (see tests/interop/cases.py), and prints each one's name and "good",
// "revoked" or what it complains of. "lint" reads the names of DER files, and prints each finding as a line.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 || (os.Args[1] != "verify" && os.Args[1] != "lint") {
		log.Fatal("usage: interop verify|lint")
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if os.Args[1] == "lint" {
			lint(lines.Text())
			continue
		}
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 7 {
			log.Fatalf("not a case: %q", lines.Text())
		}
		verdict := "good"
		if err := verify(fields[1], fields[2], fields[3], fields[4], fields[5], fields[6]); err != nil {
			verdict = err.Error()
		}
		fmt.Printf("%s\t%s\n", fields[0], verdict)
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}
