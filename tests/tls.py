"""A TLS server for tests: openssl's own, on a port of its own."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.running import eventually


def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@contextlib.contextmanager
def tls_server(certificate: Path, key: Path, *options: str | Path) -> Iterator[int]:
    """``openssl s_server -www`` with this certificate; the port."""
    port = free_port()
    command = [
        "openssl",
        "s_server",
        "-quiet",
        "-www",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        certificate,
        "-key",
        key,
    ]
    process = subprocess.Popen(
        [*map(str, (*command, *options))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listens(port), "openssl s_server listens")
        yield port
    finally:
        process.kill()
        process.wait()
