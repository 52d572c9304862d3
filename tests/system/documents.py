"""Commands out of the documents, and whether they print what the documents say."""

import re
from typing import NamedTuple

from tests.system.machine import ROOT, Done, Machine


class Command(NamedTuple):
    """A command of a document, and what it is said to print."""

    line: str
    prints: tuple[str, ...]


def commands(document: str) -> list[Command]:
    """Those of the console blocks of docs/DOCUMENT, each prompted by "# "."""
    found: list[Command] = []
    text = (ROOT / "docs" / document).read_text()
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        assert block.startswith("# ")
        for part in re.split(r"^# ", block, flags=re.MULTILINE)[1:]:
            line, *prints = part.splitlines()
            found.append(Command(line, tuple(prints)))
    assert found
    return found


def run_command(machine: Machine, command: Command) -> Done:
    """Runs it in root's home as a person would, by bash, with both outputs as one."""
    return machine.attempt(f"set +euo pipefail\ncd /root\n{{ {command.line}\n}} 2>&1")


def matches(command: Command, printed: str) -> bool:
    """Whether it printed what the document says: … stands for any part of a line, or any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".+") + r"\n" for line in command.prints
    )
    return re.fullmatch(pattern, re.sub(r"\r+\n", "\n", printed)) is not None
