"""Inside the box, as root: how often each secret occurs in the memory of a process.

    search.py PID SECRETS_FILE

SECRETS_FILE is a JSON object of names and hex strings. Prints a JSON object of names and numbers.
"""

import json
import sys
from pathlib import Path


def occurrences(pid: int, needles: dict[str, bytes]) -> dict[str, int]:
    """Counts over every mapping that can be read at all."""
    counts = dict.fromkeys(needles, 0)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, permissions, *_ = line.split()
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            if "r" not in permissions or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            memory.seek(start)
            content = memory.read(end - start)
            while len(content) < end - start and (more := memory.read(end - start - len(content))):
                content += more
            for name, needle in needles.items():
                counts[name] += content.count(needle)
    return counts


secrets = {name: bytes.fromhex(text) for name, text in json.loads(Path(sys.argv[2]).read_text()).items()}
sys.stdout.write(json.dumps(occurrences(int(sys.argv[1]), secrets)) + "\n")
