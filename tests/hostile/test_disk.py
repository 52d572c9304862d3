"""A disk that fails under a real signer: no signature leaves over a record that may not be there.

strace watches the system calls of the running signer, and makes them fail as the kernel does. Where that takes
root, for the signer lets nobody trace it, a limit on the size of files shows the same without.
"""

import contextlib
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from protocol.client import SignerClient
from protocol.errors import EXIT_CONFIGURATION, ErrorCode, Refused
from protocol.messages import IssueRequest
from tests import certs
from tests.csrs import csr_for, dns
from tests.ledger_reader import LedgerReader
from tests.running import ROOT, Signer, eventually, needs_root

REQUEST = IssueRequest(csr=csr_for(dns("a.example.net")), client="web1")
DISK_CALLS = "fsync,fdatasync,sync_file_range,pwrite64,write,pwritev,ftruncate,fallocate"


class Trace:
    """strace at a running signer: ``lines`` are the system calls that it saw, once it has let go."""

    def __init__(self, signer: Signer, *options: str) -> None:
        self._path = signer.state / "trace"
        self._status = Path(f"/proc/{signer.pid}/status")
        command = ["strace", "-f", "-qq", "-y", "-s", "32", "-o", str(self._path), *options, "-p", str(signer.pid)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def __enter__(self) -> "Trace":
        eventually(lambda: self._traced() or self._process.poll() is not None, "strace has taken hold")
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            raise AssertionError(self._process.stderr.read().decode())
        return self

    def _traced(self) -> bool:
        return "TracerPid:\t0\n" not in self._status.read_text(encoding="ascii")

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # it lets go and ends
        self._process.communicate(timeout=30)

    @property
    def lines(self) -> list[str]:
        return self._path.read_text(encoding="ascii").splitlines()


def ask(client: SignerClient) -> Refused | bytes:
    """The certificate, or the refusal."""
    try:
        return client.ask_issue(REQUEST).certificate
    except Refused as refusal:
        return refusal


def ask_at_once(signer: Signer, number: int) -> list[Refused | bytes]:
    """What as many clients get that ask at the same time."""
    client = signer.sign()
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda _: ask(client), range(number)))


def assert_unavailable(answers: list[Refused | bytes]) -> None:
    for answer in answers:
        assert isinstance(answer, Refused), "a certificate came"
        assert answer.code is ErrorCode.UNAVAILABLE
        assert "the ledger can't be written" in answer.detail
        assert "ledger.db" not in answer.detail  # no path


def assert_recovered(signer: Signer, known: list[bytes]) -> None:
    """After a restart: what was received is on the ledger, nothing is pending, and issuance goes on."""
    assert isinstance(ask(signer.sign()), bytes)
    signer.stop()
    ledger = LedgerReader(signer.ledger_path)
    certificates = ledger.follow()
    assert set(known) <= set(certificates)
    assert ledger.pending == []
    issuer = x509.load_pem_x509_certificate((signer.identity / "ca.crt.pem").read_bytes())
    done = certs.openssl_verify([certs.load(der) for der in certificates], issuer)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_root
def test_between_a_request_and_its_certificate_the_record_is_synced_to_the_disk() -> None:
    with Signer() as signer:
        client = signer.sign()
        client.ask_describe()
        with Trace(signer, "-e", "trace=recvfrom,sendto,fsync,fdatasync") as trace:
            client.ask_describe()
            assert isinstance(ask(client), bytes)
            assert isinstance(ask(client), bytes)
            signer.wait_for_log("issued", times=2)
        story = [told for line in trace.lines if (told := what_happened(line)) is not None]
        assert story[:8] == ["describe", "reply", *["issue", "synced", "reply"] * 2], trace.lines


def what_happened(line: str) -> str | None:
    if found := re.search(r"recvfrom\(.*\\242op.\d*(describe|issue)", line):
        return found[1]
    if "sendto(" in line and '"\\0", 1,' not in line:  # that wakes the loop, where an fsync takes long
        return "reply"
    return "synced" if re.search(r"fd?a?t?a?sync\(\d+<.*/ledger\.db-wal>\) += 0$", line) else None


@needs_root
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    "fault",
    [
        "fsync,fdatasync:error=EIO",  # the kernel may have dropped what it could not write: there is no second try
        "fsync,fdatasync:error=ENOSPC",
        "pwrite64:error=ENOSPC",
        "pwrite64:error=EIO",
        "pwrite64:error=ENOSPC:when=2+",  # after part of the record
        "pwrite64:error=EDQUOT",
    ],
)
def test_a_disk_that_fails_lets_no_certificate_out_for_good_and_a_restart_recovers(
    fault: str, ended_by: signal.Signals
) -> None:
    with Signer() as signer:
        before = [answer for answer in ask_at_once(signer, 8) if isinstance(answer, bytes)]
        assert len(before) == 8
        with Trace(signer, "-e", f"trace={DISK_CALLS}", "-e", f"inject={fault}") as trace:
            assert_unavailable(ask_at_once(signer, 8))
        assert any("(INJECTED)" in line for line in trace.lines)
        # The disk is well again; the first failure was final all the same.
        assert_unavailable(ask_at_once(signer, 8))
        assert signer.sign().ask_describe().state == "unavailable"
        signer.wait_for_log("CRITICAL signerd.ledger.store: the ledger can't be written")
        assert signer.ended is None
        signer.send_signal(ended_by)
        assert signer.wait() == (0 if ended_by == signal.SIGTERM else -ended_by)
        signer.start()
        assert_recovered(signer, before)


@needs_root
def test_a_checkpoint_of_the_log_that_fails_loses_nothing() -> None:
    """The database file itself is written and synced behind the log, now and then: nothing depends on when."""
    with Signer() as signer:
        received: list[bytes] = []
        options = ("-P", str(signer.ledger_path), "-e", f"trace={DISK_CALLS}")
        with Trace(signer, *options, "-e", "inject=fsync,fdatasync:error=EIO") as trace:
            for _ in range(120):
                received += [answer for answer in ask_at_once(signer, 16) if isinstance(answer, bytes)]
                if any("(INJECTED)" in line for line in trace.lines):
                    break
            received += [answer for answer in ask_at_once(signer, 16) if isinstance(answer, bytes)]
        assert any("(INJECTED)" in line for line in trace.lines), "no checkpoint came"
        signer.kill()
        signer.start()
        assert_recovered(signer, received)


@contextlib.contextmanager
def limited_files(signer: Signer, more: int) -> Iterator[None]:
    """Lets no file of the signer grow by more than so many bytes beyond the largest: writes then fail with EFBIG."""
    used = max(path.stat().st_size for path in signer.state.glob("ledger.db*") if path.suffix != ".ballast")
    before = resource.prlimit(signer.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(signer.pid, resource.RLIMIT_FSIZE, (used + more, before[1]))
    try:
        yield
    finally:
        resource.prlimit(signer.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_under_load_until_the_disk_is_full_every_certificate_that_came_is_on_record(ended_by: signal.Signals) -> None:
    with Signer() as signer:
        received: list[bytes] = []
        refused: list[Refused | bytes] = []
        with limited_files(signer, 300_000):
            for _ in range(200):
                answers = ask_at_once(signer, 8)
                received += [answer for answer in answers if isinstance(answer, bytes)]
                refused = [answer for answer in answers if isinstance(answer, Refused)]
                if len(refused) == 8:
                    break
        assert_unavailable(refused)
        assert received
        assert_unavailable(ask_at_once(signer, 2))  # there is room again
        signer.send_signal(ended_by)
        signer.wait()
        signer.start()
        assert_recovered(signer, received)


def test_without_room_to_record_even_its_start_the_signer_says_so_in_one_line_and_ends() -> None:
    with Signer() as signer:
        signer.stop()
        done = subprocess.run(
            ["prlimit", "--fsize=0", *signer.command()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == EXIT_CONFIGURATION
        assert done.stderr.splitlines()[0].endswith(f"{signer.ledger_path}: not a usable ledger: disk I/O error")
        assert "Traceback" not in done.stderr
        signer.start()
        assert_recovered(signer, [])
