"""The installed commands, run as people and programs run them: as processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.terminal import Terminal

ROOT = Path(__file__).parents[1]
DEADLINE = 60  # seconds

# What would change how a command behaves or looks, wherever the tests run.
_UNWANTED = {"CA_ADMIN_SOCKET", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}


def command_line(name: str, *arguments: str | Path) -> list[str]:
    """The command as it was installed beside this Python, with warnings as errors."""
    return [sys.executable, "-W", "error", str(Path(sys.executable).with_name(name)), *map(str, arguments)]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tests' environment, less what would steer a command."""
    return {name: value for name, value in os.environ.items() if name not in _UNWANTED} | dict(extra or {})


def run(
    name: str,
    *arguments: str | Path,
    given: bytes = b"",
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    before: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Runs a command without a terminal. ``given``: its stdin; ``before``: what to start it by, as setpriv."""
    done = subprocess.run(
        [*before, *command_line(name, *arguments)],
        input=given,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
        cwd=cwd,
        env=environment(environ),
        start_new_session=True,  # hence without a terminal to ask on, wherever the tests run
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Operator:
    """Somebody with a signer's admin socket and ca_admin."""

    def __init__(self, socket: str, directory: Path) -> None:
        self.directory = directory
        self.environ = {"CA_ADMIN_SOCKET": socket}

    def tries(self, *arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Runs ca_admin without a terminal."""
        return run("ca_admin", *arguments, given=given, cwd=self.directory, environ=self.environ)

    def does(self, *arguments: str | Path, given: bytes = b"") -> str:
        """What ca_admin prints; it must succeed."""
        done = self.tries(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def gets(self, *arguments: str | Path) -> Any:
        """The JSON that ca_admin prints; it must succeed."""
        return json.loads(self.does("--json", *arguments))

    def fails(self, *arguments: str | Path, status: int = 1) -> str:
        """What ca_admin says on stderr when it ends with this status, having printed nothing."""
        done = self.tries(*arguments)
        assert done.returncode == status, done.stdout + done.stderr
        assert done.stdout == ""
        return done.stderr

    def sits_at(self, *arguments: str | Path, name: str = "ca_admin", term: str = "xterm") -> Terminal:
        """Runs ca_admin on a terminal of this type, of 80 columns."""
        everything = environment({**self.environ, "TERM": term})
        return Terminal(command_line(name, *arguments), cwd=self.directory, environment=everything)
