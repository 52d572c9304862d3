"""A real frontend process for tests, before whatever listens at a sign socket."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds for what takes milliseconds on an idle machine


class Response(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])


class Frontend:
    """A running ``ca_frontend``: ``host`` and ``port`` if it listens by TCP, else ``path``."""

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.process = process
        self._log_path = log_path
        self.url = ""
        self.host, self.port, self.path = "", 0, ""

    def log(self) -> str:
        """What it has written to stderr."""
        return self._log_path.read_bytes().decode("utf-8", "surrogateescape")

    def wait_for_log(self, text: str) -> str:
        """The log, once ``text`` is in it."""
        wait_until(lambda: text in self.log(), f"{text!r} in the log")
        return self.log()

    def learn_address(self) -> None:
        wait_until(lambda: "listening at" in self.log() or self.process.poll() is not None, "listening")
        assert self.process.poll() is None, self.log()
        where = self.log().partition("listening at ")[2].split()[0]
        self.learn_address_from(where)

    def learn_address_from(self, where: str) -> None:
        if where.startswith("unix:"):
            self.path = where.removeprefix("unix:")
        else:
            self.url = where
            host, _, port = where.removeprefix("http://").rpartition(":")
            self.host, self.port = host.strip("[]"), int(port)

    def connect(self) -> socket.socket:
        """A connection to it, with a deadline for each answer."""
        if self.path:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE)
            connection.connect(self.path)
            return connection
        return socket.create_connection((self.host, self.port), timeout=PATIENCE)

    @contextlib.contextmanager
    def session(self) -> Iterator[http.client.HTTPConnection]:
        """A kept connection."""
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        connection.sock = self.connect()
        try:
            yield connection
        finally:
            connection.close()

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """One request on a connection of its own."""
        with self.session() as connection:
            return ask(connection, method, target, body, headers)

    def put_csr(self, csr: bytes, client: str = "web1", query: str = "", **headers: str) -> Response:
        """The PUT of a CSR. Header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("PUT", f"/api/csr/{client}{query}", csr, named)

    def exchange(self, data: bytes) -> bytes:
        """What comes back on a connection of its own for these bytes, until the other end closes it."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def stop(self) -> int:
        """Ends it by SIGTERM and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE * 2)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One request on a kept connection."""
    connection.request(method, target, body, dict(headers or {}))
    response = connection.getresponse()
    return Response(response.status, response.headers, response.read())


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the other end's close."""
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def wait_until(condition: object, what: str, patience: float = PATIENCE) -> None:
    """Returns once ``condition()`` holds; fails if it does not in time."""
    assert callable(condition)
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def running_frontend(
    directory: Path,
    sign_socket: Path,
    *arguments: str,
    python_path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Frontend]:
    """A frontend with these settings, by TCP on a free port unless they say otherwise; ended at the end.

    ``python_path``: where the operator's hooks lie.
    """
    with started_frontend(
        directory, sign_socket, *arguments, python_path=python_path, environ=environ, **settings
    ) as frontend:
        frontend.learn_address()
        wait_until(lambda: frontend.request("GET", "/ping").status == 200, "an answer")
        yield frontend


@contextlib.contextmanager
def started_frontend(
    directory: Path,
    sign_socket: Path,
    *arguments: str,
    python_path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Frontend]:
    """The same, without waiting for it to serve: it may refuse to start."""
    table = {"listen": "127.0.0.1:0", "sign_socket": str(sign_socket), **settings}
    config, log_path = directory / "frontend.toml", directory / "frontend.log"
    config.write_bytes(_toml(table))
    paths = [str(ROOT), *([str(python_path)] if python_path else [])]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "frontend.serve", "--config", config, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(paths), **(environ or {})},
        )
    try:
        yield Frontend(process, log_path)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(PATIENCE * 2)
        finally:
            process.kill()
            process.wait()


def _toml(table: Mapping[str, object]) -> bytes:
    # Strings and integers are written alike in JSON and TOML.
    return b"".join(b"%s = %s\n" % (key.encode(), msgspec.json.encode(value)) for key, value in table.items())
