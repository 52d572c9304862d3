"""What systemd does for a daemon, done by the tests: sockets that outlive it, and a socket for its notifications.

The protocols are those of sd_listen_fds(3) and sd_notify(3).
"""

import fcntl
import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.running import DEADLINE, ROOT, Signer

# The descriptors are moved to where sd_listen_fds(3) says, and LISTEN_PID is that of the process to be.
EXEC = 'exec 3<&"$1" 4<&"$2"; eval "exec $1<&- $2<&-"; shift 2; LISTEN_PID=$$ exec "$@"'
OUT_OF_THE_WAY = 50  # a descriptor's number that is neither 3 nor 4


class ActivatedSigner(Signer):
    """A signer that inherits both of its sockets, again at each start; they listen as long as this object lives."""

    def __init__(self, *, names: tuple[str, str] = ("sign", "admin"), **settings: Any) -> None:
        super().__init__(**settings)
        self.names = names
        self.listeners: list[socket.socket] = []
        for path in (self.sign_path, self.admin_path):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen(1024)
            self.listeners.append(listener)
        # Another path, lest the signer's own sockets are taken for the inherited ones.
        self.configure(sign_socket=str(self.state / "none1"), admin_socket=str(self.state / "none2"))

    def spawn(self, log: int) -> "subprocess.Popen[bytes]":
        passed = [fcntl.fcntl(listener, fcntl.F_DUPFD, OUT_OF_THE_WAY) for listener in self.listeners]
        try:
            return subprocess.Popen(
                ["bash", "-c", EXEC, "bash", *map(str, passed), *self.command()],
                cwd=ROOT,
                env=self.environment() | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": ":".join(self.names)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=passed,
            )
        finally:
            for descriptor in passed:
                os.close(descriptor)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        super().close()


class NotifySocket:
    """Where a daemon's notifications arrive; ``environ`` tells the daemon of it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environ = {"NOTIFY_SOCKET": str(path)}

    def next(self, *, seconds: float = DEADLINE) -> str:
        """The next notification. Raises ``TimeoutError``."""
        self._socket.settimeout(seconds)
        return self._socket.recv(4096).decode()

    def wait_for(self, state: str, *, seconds: float = DEADLINE) -> list[str]:
        """Takes notifications until one has this line, and returns those before it. Fails if none comes."""
        deadline = time.monotonic() + seconds
        before: list[str] = []
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"{state} did not come within {seconds:g} s, but {before}"
            notification = self.next(seconds=left)
            if state in notification.split("\n"):
                return before
            before.append(notification)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "NotifySocket":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
