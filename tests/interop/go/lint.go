package main

import (
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	zlints "github.com/zmap/zlint/v3/lint"
	"golang.org/x/crypto/ocsp"
)

// lint prints what zlint finds in one file by the RFCs (the other lints are of the public web's CAs): the file's name,
// a tab, the level, a tab, the lint. What the file is, its extension says.
func lint(path string) {
	der, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	found, err := results(path, der)
	if err != nil {
		fmt.Printf("%s\tfatal\t%v\n", path, err)
		return
	}
	for name, result := range found.Results {
		if result.Status > zlints.Pass {
			fmt.Printf("%s\t%s\t%s\n", path, result.Status, name)
		}
	}
}

func results(path string, der []byte) (*zlint.ResultSet, error) {
	switch {
	case strings.HasSuffix(path, ".crl"):
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, err
		}
		return zlint.LintRevocationListEx(list, registry()), nil
	case strings.HasSuffix(path, ".ocsp"):
		response, err := ocsp.ParseResponse(der, nil)
		if err != nil {
			return nil, err
		}
		return zlint.LintOcspResponseEx(response, registry()), nil
	default:
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		return zlint.LintCertificateEx(certificate, registry()), nil
	}
}

// registry has the lints whose source is an RFC.
func registry() zlints.Registry {
	all := zlints.GlobalRegistry()
	sources := slices.DeleteFunc(all.Sources(), func(source zlints.LintSource) bool {
		return !strings.HasPrefix(string(source), "RFC")
	})
	rfcs, err := all.Filter(zlints.FilterOptions{IncludeSources: sources})
	if err != nil {
		log.Fatal(err)
	}
	return rfcs
}
