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
from dataclasses import dataclass, field
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
    """A running server: where requests go, and its processes by role."""

    url: str
    processes: dict[str, subprocess.Popen[bytes]]
    is_ours: bool
    state: Path = field(default_factory=Path)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time used so far, user and system, by role."""
        return {role: _cpu_seconds(process.pid) for role, process in self.processes.items()}

    def memory_mib(self) -> dict[str, float]:
        """Resident memory now, by role."""
        return {role: _resident_mib(process.pid) for role, process in self.processes.items()}


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
def ours(
    ca: Path, state: Path, *, preload: Path | None = None, environment: dict[str, str] | None = None
) -> Iterator[Stack]:
    """Signer and frontend as shipped: hooks on, every certificate on the ledger with an fsync before the answer.

    ``preload``: a library for the signer alone, by which an fsync is made slower or left out.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (state / "identity").exists():
        shutil.copytree(ca / "identity", state / "identity")
    port = _free_port()
    (state / "signerd.toml").write_text(
        f'[signer]\nidentity = "{state}/identity"\nledger = "{state}/ledger.db"\nsign_socket = "{state}/sign.sock"\n'
        f'admin_socket = "{state}/admin.sock"\nsign_users = ["{os.getuid()}"]\nbase_url = "http://ca.example.net"\n'
    )
    (state / "frontend.toml").write_text(
        f'listen = "127.0.0.1:{port}"\nsign_socket = "{state}/sign.sock"\nhooks = "bench.hooks"\n'
    )
    signer_environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    signer = [sys.executable, "-m", "signerd", "--config", f"{state}/signerd.toml"]
    signer += ["--passphrase-file", f"{ca}/passphrase", *(["--allow-root"] if os.geteuid() == 0 else [])]
    frontend = [sys.executable, "-m", "frontend.serve", "--config", f"{state}/frontend.toml"]
    with (
        _process(signer, state / "signer.log", signer_environment) as first,
        _process(frontend, state / "frontend.log", dict(os.environ)) as second,
    ):
        _wait_for(port, [first, second])
        _wait_for_signer(f"{state}/sign.sock")
        yield Stack(f"http://127.0.0.1:{port}/api/csr/web1", {"signer": first, "frontend": second}, True, state)


@contextlib.contextmanager
def cfssl(ca: Path, state: Path, journal_mode: str | None) -> Iterator[Stack]:
    """`cfssl serve`. ``journal_mode``: of its SQLite certdb; None: without one."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = _free_port()
    (state / "config.json").write_text(json.dumps(_CFSSL_CONFIG))
    command = ["cfssl", "serve", "-address", "127.0.0.1", "-port", str(port), "-loglevel", "2"]
    command += ["-ca", f"{ca}/identity/ca.crt.pem", "-ca-key", f"{ca}/plain.key.pem", "-config", f"{state}/config.json"]
    if journal_mode is not None:
        with contextlib.closing(sqlite3.connect(state / "certs.db")) as db:
            db.execute(f"PRAGMA journal_mode = {journal_mode}")
            db.executescript(_CERTDB)
        (state / "db.json").write_text(json.dumps({"driver": "sqlite3", "data_source": f"{state}/certs.db"}))
        command += ["-db-config", f"{state}/db.json"]
    with _process(command, state / "cfssl.log", dict(os.environ)) as process:
        _wait_for(port, [process])
        yield Stack(f"http://127.0.0.1:{port}/api/v1/cfssl/sign", {"cfssl": process}, False, state)


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait_for(port: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens at port {port}: see the logs beside the state")


def _wait_for_signer(path: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    with contextlib.closing(SignerClient(path)) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(Refused):
                client.ask_describe()
                return
            time.sleep(0.02)
    raise RuntimeError(f"no signer answers at {path}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS  # proc(5): utime, stime


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
