"""Real daemons for tests: each a process of its own, with its state under a short temporary directory.

    with Signer(policy="[quota]\\nper_client = '2/hour'\\n") as signer:
        reply = signer.sign().ask_issue(IssueRequest(csr=csr_for(dns("a.example.net")), client="web1"))

The daemon runs as whoever runs the tests (``--allow-root`` where that is root), or, for root, as ``uid``.
Its log goes to a file, and from there to what pytest shows of a test that failed.
"""

import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pytest

from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused
from protocol.wire import unpack
from signerd.ledger.ledger_key import LedgerKey
from signerd.ledger_key_file import open_ledger_key
from tests.identities import DAY, PASSPHRASE, make_identity

ROOT = Path(__file__).parents[1]
DEADLINE = 30.0  # seconds: far above what any step takes on a slow machine
DIRECTORY_PATH_MAX = 80  # bytes: unix(7) gives the whole path of a socket 107
S = TypeVar("S", bound="Daemon")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes another uid, or looks into another process")


def eventually(condition: Callable[[], bool], what: str, *, seconds: float = DEADLINE) -> None:
    """Waits until ``condition`` holds. Fails with ``what`` when it doesn't within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


def short_directory() -> Path:
    """A new directory whose path leaves room for the name of a socket in it (unix(7), sun_path)."""
    path = Path(tempfile.mkdtemp(prefix="ca-")).resolve()
    if len(os.fsencode(path)) > DIRECTORY_PATH_MAX:
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="ca-", dir="/tmp"))
    return path


@functools.cache
def identity_of(key: str) -> Path:
    """An identity whose key is of this type: made once, to be copied, and gone when the tests end."""
    directory = short_directory()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    make_identity(directory / "identity", key=key, now=int(time.time()) - DAY)
    return directory / "identity"


class Daemon:
    """One of our daemons as a child process, started by ``command()`` and ended with the ``with`` block."""

    def __init__(self, *, uid: int | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.state = short_directory()
        self.log_path = self.state / "log"
        self.environ: dict[str, str] = dict(environ or {})
        self.uid = uid  # None: the tests' own
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the daemon does what it is for, as of now."""
        raise NotImplementedError

    # --- the process ----------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> None:
        """Starts it and waits until it answers. Fails, with its log, if it ends instead."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        with self.log_path.open("ab") as log:
            self._process = self.spawn(log.fileno())
        if wait:
            self.wait_until_it_answers()

    def spawn(self, log: int) -> "subprocess.Popen[bytes]":
        """Starts the process with ``log`` as stdout and stderr."""
        other = self.uid is not None
        drop = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--"] if other else []
        return subprocess.Popen(
            [*drop, *self.command()],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def environment(self) -> dict[str, str]:
        """The tests' own environment, and what the daemon was given."""
        return {**os.environ, "PYTHONPATH": str(ROOT), **self.environ}

    def wait_until_it_answers(self) -> None:
        eventually(lambda: self.ended is not None or self.answers(), f"an answer\n{self.log}")
        assert self.ended is None, f"it ended with {self.ended}\n{self.log}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was not started"
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit status, or None while it runs; -N: ended by the signal N."""
        assert self._process is not None, "it was not started"
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, *, seconds: float = DEADLINE) -> int:
        """Waits until it has ended by itself, and returns the exit status."""
        assert self._process is not None, "it was not started"
        return self._process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Stops it in its tracks until ``resume``."""
        self.send_signal(signal.SIGSTOP)
        eventually(lambda: self._stat()[0] == "T", "that it has stopped")

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """An orderly end, which must be one, and a new start."""
        status = self.stop()
        assert status == 0, f"it ended with {status}\n{self.log}"
        self.start()

    def __enter__(self: S) -> S:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, however it is; shows its log; removes its state."""
        try:
            if self._process is not None and self._process.poll() is None:
                self.resume()
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(DEADLINE)
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            print(f"--- {type(self).__name__} in {self.state}\n{self.log[-20_000:]}")  # noqa: T201 - pytest keeps it
            shutil.rmtree(self.state, ignore_errors=True)

    # --- what it says and costs -----------------------------------------------------------------

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def wait_for_log(self, pattern: str, *, times: int = 1) -> None:
        """Waits until that many matches of the regular expression are in the log."""
        eventually(lambda: len(re.findall(pattern, self.log)) >= times, f"{times} of {pattern!r} in\n{self.log}")

    def descriptors(self) -> int:
        """Open file descriptors. Root only: the signer's /proc/PID belongs to root."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def memory(self) -> int:
        """Resident bytes."""
        return self._status("VmRSS")

    def memory_peak(self) -> int:
        """The most resident bytes that it ever had."""
        return self._status("VmHWM")

    def _status(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, status
        return int(found[1]) * 1024

    def cpu_seconds(self) -> float:
        """User and system time that it has used."""
        fields = self._stat()
        return (int(fields[14 - 3]) + int(fields[15 - 3])) / os.sysconf("SC_CLK_TCK")

    def _stat(self) -> list[str]:
        """proc(5), /proc/PID/stat, from field 3 on: field 2, the name, may hold blanks and brackets."""
        return Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


class Signer(Daemon):
    """``ca_signerd``. ``policy``: TOML for all but [signer], whose keys are ``settings``, to add or replace.

    ``key``: the type of the CA's key, as for ``ca_create_identity --key``.
    """

    def __init__(
        self,
        *,
        key: str = "p256",
        policy: str = "",
        uid: int | None = None,
        environ: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(uid=uid, environ=environ)
        self._clients: list[SignerClient] = []
        self.config = self.state / "signerd.toml"
        self.sign_path = str(self.state / "sign.sock")
        self.admin_path = str(self.state / "admin.sock")
        self.ledger_path = self.state / "ledger.db"
        self.identity = self.state / "identity"
        self.passphrase_path = self.state / "passphrase"
        self.settings: dict[str, Any] = {
            "identity": str(self.identity),
            "ledger": str(self.ledger_path),
            "sign_socket": self.sign_path,
            "admin_socket": self.admin_path,
            "sign_users": [str(os.geteuid())],
            **settings,
        }
        shutil.copytree(identity_of(key), self.identity)
        self.passphrase_path.touch(mode=0o600)
        self.passphrase_path.write_bytes(PASSPHRASE + b"\n")
        self.configure(policy)
        if uid is not None:
            self.state.chmod(0o711)  # others have to get at the sockets
            for path in (self.state, *self.state.rglob("*")):
                os.chown(path, uid, uid)

    def configure(self, policy: str = "", **settings: Any) -> None:
        """Writes signerd.toml anew; it counts from the next start or reload on."""
        self.settings |= settings
        # JSON's strings, numbers, booleans and arrays of them are TOML too.
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.settings.items()]
        self.config.write_text("\n".join(["[signer]", *lines, "", policy]), encoding="utf-8")

    def ledger_key(self) -> LedgerKey:
        """The key that signs its ledger's commits; made where there is no ledger yet."""
        return open_ledger_key(self.identity, PASSPHRASE, self.ledger_path)

    def command(self) -> list[str]:
        command = [sys.executable, "-W", "error", "-m", "signerd", "--config", str(self.config)]
        command += ["--passphrase-file", str(self.passphrase_path)]
        return command if (self.uid or os.geteuid()) else [*command, "--allow-root"]

    def answers(self) -> bool:
        client = SignerClient(self.admin_path, timeout=DEADLINE)  # root and the signer's own user may
        try:
            client.ask_describe()
        except Refused as refusal:
            if refusal.code is not ErrorCode.UNAVAILABLE:
                raise
            return False
        finally:
            client.close()
        return True

    def sign(self, **options: Any) -> SignerClient:
        """A new client of sign.sock, closed with the signer."""
        return self._client(self.sign_path, options)

    def admin(self, **options: Any) -> SignerClient:
        """A new client of admin.sock, closed with the signer."""
        return self._client(self.admin_path, options)

    def _client(self, path: str, options: Mapping[str, Any]) -> SignerClient:
        client = SignerClient(path, **{"timeout": DEADLINE, **options})
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        super().close()

    def reload(self) -> None:
        """SIGHUP, and waits until the log says how it went."""
        outcome = r"policy \w+ is in force|not reloaded"
        before = len(re.findall(outcome, self.log))
        self.send_signal(signal.SIGHUP)
        self.wait_for_log(outcome, times=before + 1)

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the ledger, read beside the signer."""
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger_path}?mode=ro", uri=True)) as db:
            return db.execute(sql, parameters).fetchall()

    def certificates(self) -> int:
        """How many certificates are on the ledger with their signature. The last ones show up a moment later
        than their answers: a signature is made durable by the next commit."""
        signed = {unpack(body)["intent"] for (body,) in self.query("SELECT body FROM entries WHERE kind = 'issued'")}
        return len(signed & self.intents().keys())

    def recorded(self) -> int:
        """How many certificates the ledger knows: signed, or about to be."""
        return len(self.intents())

    def indexed(self) -> int:
        """How many certificates search and revocation find. The last ones show up a moment later."""
        [(number,)] = self.query("SELECT count(*) FROM certificates")
        return int(number)

    def intents(self) -> dict[int, dict[str, Any]]:
        """What the ledger says of each certificate that it knows, by the seq of the entry."""
        entries = {seq: unpack(body) for seq, body in self.query("SELECT seq, body FROM entries WHERE kind = 'intent'")}
        return {seq: body for seq, body in entries.items() if body["what"] == "certificate"}
