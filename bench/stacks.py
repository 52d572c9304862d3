"""What is measured: our stack as shipped, and Debian's cfssl, each as real processes on loopback.

cfssl is measured three ways: nothing recorded; its SQLite certdb in WAL mode (records, without an fsync for each
certificate); the same in DELETE mode (fsyncs, as we do).
"""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from protocol.client import SignerClient
from protocol.errors import Refused

_READY_SECONDS = 30.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# cfssl's certdb, as its own migrations make it.
_CERTDB = """
CREATE TABLE certificates (
  serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL,
  reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL,
  PRIMARY KEY(serial_number, authority_key_identifier));
CREATE TABLE ocsp_responses (
  serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, body blob NOT NULL, expiry timestamp,
  PRIMARY KEY(serial_number, authority_key_identifier),
  FOREIGN KEY(serial_number, authority_key_identifier)
    REFERENCES certificates(serial_number, authority_key_identifier));
"""
_CFSSL_CONFIG = {
    "signing": {"default": {"expiry": "2160h", "usages": ["digital signature", "key encipherment", "server auth"]}}
}


@dataclass(frozen=True)
class Stack:
    """A running server: where requests go, and its processes by role, each with its children."""

    url: str
    processes: dict[str, subprocess.Popen[bytes]]
    is_ours: bool
    state: Path

    @property
    def base_url(self) -> str:
        """The URL without a path."""
        return "/".join(self.url.split("/")[:3])

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time used so far, user and system, by role."""
        return {role: sum(map(_cpu_seconds, _family(process.pid))) for role, process in self.processes.items()}

    def memory_mib(self) -> dict[str, float]:
        """Resident memory now, by role. What processes share is counted for each of them."""
        return {role: sum(map(_resident_mib, _family(process.pid))) for role, process in self.processes.items()}


def make_ca(directory: Path, key: str) -> Path:
    """A CA made by `ca_create_identity`; its key as an unencrypted PEM besides, for cfssl. Returns the directory."""
    directory.mkdir(mode=0o700, parents=True)
    (directory / "passphrase").write_text("a passphrase of the bench\n")
    (directory / "passphrase").chmod(0o600)
    identity = directory / "identity"
    arguments = ["--path", str(identity), "--key", key, "-f", "CN", "bench CA"]
    arguments += [
        "--passphrase-file",
        str(directory / "passphrase"),
        *(["--owner", "root"] if os.geteuid() == 0 else []),
    ]
    _run(sys.executable, "-m", "signerd.commands.create_identity", *arguments)
    plain = directory / "plain.key.pem"
    _run("openssl", "pkey", "-in", str(identity / "ca.private_key.pem"), "-out", str(plain),
         "-passin", f"file:{directory / 'passphrase'}")  # fmt: skip
    return directory


@contextlib.contextmanager
def ours(ca: Path, state: Path, *, preload: Path | None = None, by_unix_socket: bool = False) -> Iterator[Stack]:
    """Signer and frontend as shipped: hooks on, every certificate on the ledger with an fsync before the answer.

    ``preload``: a library for the signer alone, by which an fsync is made slower or left out.
    ``by_unix_socket``: the frontend listens at ``state/http.sock``, for nginx, and the URL is of no use.
    """
    port = free_port()
    listen = f"unix:{state}/http.sock" if by_unix_socket else f"127.0.0.1:{port}"
    with signer(ca, state, preload=preload) as first, _frontend(state, listen) as second:
        stack = Stack(f"http://127.0.0.1:{port}/api/csr/web1", {"signer": first, "frontend": second}, True, state)
        _wait_for_signer(f"{state}/sign.sock", [first])
        _wait_until_ready(listen, [first, second], state)
        yield stack


@contextlib.contextmanager
def signer(ca: Path, state: Path, *, preload: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The signer alone, just started: it need not answer yet. Its ledger and its sockets are in ``state``."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (state / "identity").exists():
        shutil.copytree(ca / "identity", state / "identity")
    (state / "signerd.toml").write_text(
        f'[signer]\nidentity = "{state}/identity"\nledger = "{state}/ledger.db"\nsign_socket = "{state}/sign.sock"\n'
        f'admin_socket = "{state}/admin.sock"\nsign_users = ["{os.getuid()}"]\nbase_url = "http://ca.example.net"\n'
    )
    command = [sys.executable, "-m", "signerd", "--config", f"{state}/signerd.toml"]
    command += ["--passphrase-file", f"{ca}/passphrase", *(["--allow-root"] if os.geteuid() == 0 else [])]
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    with process(command, state / "signer.log", environment) as started:
        yield started


def _frontend(state: Path, listen: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    (state / "frontend.toml").write_text(
        f'listen = "{listen}"\nsign_socket = "{state}/sign.sock"\nhooks = "bench.hooks"\n'
    )
    command = [sys.executable, "-m", "frontend.serve", "--config", f"{state}/frontend.toml"]
    return process(command, state / "frontend.log")


@contextlib.contextmanager
def cfssl(ca: Path, state: Path, journal_mode: str | None) -> Iterator[Stack]:
    """`cfssl serve`. ``journal_mode``: of its SQLite certdb; None: without one. Raises ``RuntimeError`` where it can't
    sign with the CA's key."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = free_port()
    (state / "config.json").write_text(json.dumps(_CFSSL_CONFIG))
    command = ["cfssl", "serve", "-address", "127.0.0.1", "-port", str(port), "-loglevel", "2"]
    command += ["-ca", f"{ca}/identity/ca.crt.pem", "-ca-key", f"{ca}/plain.key.pem", "-config", f"{state}/config.json"]
    if journal_mode is not None:
        with contextlib.closing(sqlite3.connect(state / "certs.db")) as db:
            db.execute(f"PRAGMA journal_mode = {journal_mode}")
            db.executescript(_CERTDB)
        (state / "db.json").write_text(json.dumps({"driver": "sqlite3", "data_source": f"{state}/certs.db"}))
        command += ["-db-config", f"{state}/db.json"]
    with process(command, state / "cfssl.log") as started:
        wait_for_port(port, [started], state / "cfssl.log")
        for line in (state / "cfssl.log").read_text(errors="replace").splitlines():
            if "couldn't initialize signer" in line:  # it serves all the same, without what it is there for
                raise RuntimeError(line)
        yield Stack(f"http://127.0.0.1:{port}/api/v1/cfssl/sign", {"cfssl": started}, False, state)


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command, all that it says going to ``log``; SIGTERM and a wait at the end."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as started:
        try:
            yield started
        finally:
            started.terminate()


def wait_for_port(port: int, processes: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    """Waits until something listens. Raises ``RuntimeError`` with the end of the log if a process ends instead."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and all(one.poll() is None for one in processes):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens at port {port}: {last_line(log)}")


def last_line(log: Path) -> str:
    """What a process said last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"{log} is empty"


def _wait_for_signer(path: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    with contextlib.closing(SignerClient(path)) as client:
        while time.monotonic() < deadline and all(one.poll() is None for one in processes):
            with contextlib.suppress(Refused):
                client.ask_describe()
                return
            time.sleep(0.02)
    raise RuntimeError(f"no signer answers at {path}")


def _wait_until_ready(listen: str, processes: Sequence[subprocess.Popen[bytes]], state: Path) -> None:
    """Until the frontend says that it can have certificates signed: it listens before it serves."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and all(one.poll() is None for one in processes):
        with contextlib.suppress(OSError), _connect(listen) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            if connection.recv(4096).startswith(b"HTTP/1.1 200 "):
                return
        time.sleep(0.02)
    raise RuntimeError(f"the frontend is not ready: {last_line(state / 'frontend.log')}")


def _connect(listen: str) -> socket.socket:
    if not listen.startswith("unix:"):
        host, _, port = listen.partition(":")
        return socket.create_connection((host, int(port)), timeout=_READY_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_READY_SECONDS)
    try:
        connection.connect(listen.removeprefix("unix:"))
    except OSError:
        connection.close()
        raise
    return connection


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _family(pid: int) -> Iterator[int]:
    """A process and all that descend from it: nginx's workers, say."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS  # proc(5): utime, stime


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
