"""A process on a terminal of its own, for tests of what people are asked."""

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE_SECONDS = 60


class Terminal:
    """Runs a command with a new pseudo-terminal as its stdin, stdout, stderr and /dev/tty."""

    def __init__(self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = os.openpty()
        try:
            # setsid --ctty makes the pseudo-terminal the controlling one, which is what /dev/tty opens.
            self._process = subprocess.Popen(
                ["setsid", "--ctty", "--wait", *command],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                cwd=cwd,
                env=None if environment is None else dict(environment),
            )
        finally:
            os.close(theirs)
        self._unread = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def wait_for(self, text: str) -> str:
        """Wait until ``text`` was shown; returns all that was shown up to its end."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while text not in self._unread:
            if time.monotonic() > deadline or not self._read(deadline):
                raise AssertionError(f"{text!r} was not shown; shown was {self._unread!r}")
        before, _, self._unread = self._unread.partition(text)
        return before + text

    def answer(self, question: str, answer: str) -> None:
        """Wait until ``question`` was shown, and type ``answer`` and Return."""
        self.wait_for(question)
        os.write(self._ours, answer.encode() + b"\n")

    def press_ctrl_c(self) -> None:
        """What the terminal makes of it is SIGINT, for all the processes in the foreground (termios(3), ISIG)."""
        os.write(self._ours, b"\x03")

    def rest(self) -> str:
        """All that is shown until the process ends."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._read(deadline):
            pass
        return self._unread

    def status(self) -> int:
        """The exit status of the process."""
        self.rest()
        return self._process.wait(DEADLINE_SECONDS)

    def _read(self, deadline: float) -> bool:
        """Read something; False at the end, which Linux reports as an error."""
        ready, _, _ = select.select([self._ours], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more came; shown was {self._unread!r}")
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(self._ours, 4096)
        self._unread += data.decode().replace("\r\n", "\n")
        return bool(data)
