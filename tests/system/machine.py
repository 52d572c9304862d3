"""A throw-away machine, booted by a real systemd, with signerd installed: what the tests here run on."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
BOX = ROOT / "tests/system/box"
AGENT = ROOT / "tests/system/agent.py"

PYTHON = "/opt/signerd/bin/python"  # of what is installed: every user of the machine can run it
CA_NAME = "ca.example.net"  # whom nginx serves, as in the settings that are installed


class Done(NamedTuple):
    """How a script ended."""

    status: int
    stdout: str
    stderr: str


class Machine:
    """A booted box. ``run`` and ``attempt`` run bash scripts in it as root (set -euo pipefail)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def attempt(self, script: str, *, seconds: float = 60.0) -> Done:
        """Runs a script, whatever comes of it."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps([textwrap.dedent(script), seconds]), file=stdin, flush=True)
        answer = stdout.readline()
        assert answer, "the machine is gone"
        return Done(*json.loads(answer))

    def run(self, script: str, *, seconds: float = 60.0) -> str:
        """Runs a script that has to succeed, and returns what it printed."""
        done = self.attempt(script, seconds=seconds)
        if done.status != 0:
            journal = self.attempt("journalctl --no-pager --lines 40").stdout
            pytest.fail(f"status {done.status} of:\n{script}\n{done.stdout}\n{done.stderr}\n{journal}")
        return done.stdout.strip()

    def show(self, unit: str, what: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show --value --property {what} {unit}")


@contextlib.contextmanager
def booted(*binds: Path) -> Iterator[Machine]:
    """A machine for as long as the block lasts. It sees this tree, and ``binds``, at the paths they have here."""
    directories = [argument for bind in (ROOT, *binds) for argument in ("-b", str(bind))]
    command = [str(BOX), *directories, "-t", "1800", os.path.realpath(sys.executable), str(AGENT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            yield Machine(process)
        finally:
            process.stdin.close()
            process.wait(30)
