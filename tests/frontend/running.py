"""A real ``ca_frontend`` for tests, before whatever listens at a sign socket: a stub or a real signer.

with Frontend(signer.path, hooks=HOOKS, threads=4) as frontend:
    assert frontend.put_csr(csr).status == 200
"""

import contextlib
import http.client
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.running import DEADLINE, ROOT, Daemon

IMPORTS = """\
import datetime
from cryptography import x509
from frontend.hooks import CertificateDraft, CsrNotAuthedError, SigningHooksBase
"""


class Response(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body, a JSON object."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class Frontend(Daemon):
    """``ca_frontend`` with these ``settings``, by TCP on a free port unless they say otherwise.

    ``arguments``: more of its command line. ``hooks``: the text of ``sapi_custom_ca.api``, less its imports.
    """

    def __init__(
        self,
        sign_socket: Path | str,
        *arguments: str,
        hooks: str | None = None,
        uid: int | None = None,
        environ: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(uid=uid, environ=environ)
        self._arguments = arguments
        self.settings = {"listen": "127.0.0.1:0", "sign_socket": str(sign_socket), **settings}
        self.modules = self.state / "modules"  # on the import path, for hooks
        self.modules.mkdir()
        self.environ.setdefault("PYTHONPATH", os.pathsep.join([str(ROOT), str(self.modules)]))
        if hooks is not None:
            self.write_module("sapi_custom_ca.api", IMPORTS + hooks)

    def write_module(self, name: str, text: str) -> Path:
        """Puts a module where the frontend finds it."""
        path = self.modules.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
        return path

    def command(self) -> list[str]:
        config = self.state / "frontend.toml"
        # JSON's strings and numbers are TOML too.
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in self.settings.items()))
        return [sys.executable, "-W", "error", "-m", "frontend.serve", "--config", str(config), *self._arguments]

    def answers(self) -> bool:
        return self.listening is not None and self.request("GET", "/ping").status == 200

    @property
    def listening(self) -> str | None:
        """Where it said that it listens: "http://HOST:PORT" or "unix:PATH"."""
        found = re.findall(r"listening at (\S+)", self.log)
        return found[-1] if found else None

    @property
    def url(self) -> str:
        assert self.listening is not None
        assert self.listening.startswith("http://")
        return self.listening

    def connect(self) -> socket.socket:
        """A connection to it, with a deadline for each answer."""
        assert self.listening is not None
        return connect_to(self.listening)

    @contextlib.contextmanager
    def session(self, where: str | None = None) -> Iterator[http.client.HTTPConnection]:
        """A kept connection."""
        connection = http.client.HTTPConnection("localhost", timeout=DEADLINE)
        connection.sock = self.connect() if where is None else connect_to(where)
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


class Asking(threading.Thread):
    """A PUT of a CSR on its way, on a connection that is kept until the frontend closes it."""

    def __init__(self, frontend: Frontend, pem: bytes) -> None:
        super().__init__()
        self._pem = pem
        self._frontend = frontend
        self._session = frontend.connect()
        self.answer = b""
        self.start()

    def run(self) -> None:
        head = f"PUT /api/csr/web1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(self._pem)}\r\n\r\n"
        with self._session:
            self._session.sendall(head.encode() + self._pem)
            self.answer = read_all(self._session)


def children(frontend: Frontend) -> list[int]:
    """The ids of its worker processes."""
    path = Path(f"/proc/{frontend.pid}/task/{frontend.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def connect_to(where: str) -> socket.socket:
    """A connection to "http://HOST:PORT" or "unix:PATH", with a deadline for each answer."""
    if where.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE)
        connection.connect(where.removeprefix("unix:"))
        return connection
    host, _, port = where.removeprefix("http://").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=DEADLINE)


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


def status_of(answer: bytes) -> int:
    """The status of the first response in ``answer``."""
    assert answer.startswith(b"HTTP/1."), answer
    return int(answer.split(b" ")[1])


def assert_problem(response: Response, status: int, code: str, detail: str = "") -> None:
    """The response is a problem (RFC 9457) with this status and code, and ``detail`` in its detail."""
    assert response.status == status, response
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "code"}
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert detail in problem["detail"], problem
    assert "Traceback" not in response.body.decode()
