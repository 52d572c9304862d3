"""What becomes of it all as the ledger grows: how it issues, how it starts, and how it revokes everything.

The ledgers are made by ``bench.ledger_million.build``, with the code that a signer records with.
"""

import contextlib
import random
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from bench.compare import Contender, Tell
from bench.ledger_million import BATCH, REVOKED, build
from bench.load import Requests, drive
from bench.results import LedgerSize, Result, Revocations
from bench.revocation import shards, wait_until_published
from bench.stacks import Stack, ours, signer
from protocol.client import SignerClient
from protocol.errors import Refused
from protocol.messages import CrlRequest, IssueRequest, ListRequest, RevokeRequest
from signerd.authority import Authority
from signerd.clock import Clock, Reading, boot_now
from signerd.identity import load_identity
from signerd.ledger import Ledger
from signerd.ledger_key_file import open_ledger_key

_STARTS = 3
_READY_SECONDS = 60.0
_PATIENCE_SECONDS = 3600.0
_OCSP_CLIENTS = 64
_OCSP_DISTINCT = 2_000
_OCSP_FEW = 100
_DAY = 86_400
_CRLS_TIMED = 1000


class Size(NamedTuple):
    """A ledger that was built: where its signer's state is, and how many certificates it holds."""

    certificates: int
    state: Path
    build_seconds: float


def build_ledgers(ca: Path, work: Path, sizes: Sequence[int], tell: Tell) -> list[Size]:
    """A state with a ledger for each size; 0: a ledger that the signer makes itself."""
    built = []
    for size in sizes:
        state = work / f"ledger-{size}"
        state.mkdir(mode=0o700, parents=True)
        began = time.monotonic()
        if size:
            _build(ca, state, size)
        built.append(Size(size, state, time.monotonic() - began))
        tell(f"  a ledger of {size:,}: {built[-1].build_seconds:.0f} s")
    return built


def _build(ca: Path, state: Path, certificates: int) -> None:
    shutil.copytree(ca / "identity", state / "identity")
    build(state / "ledger.db", certificates, state / "identity", _passphrase(ca))


def _passphrase(ca: Path) -> bytes:
    return (ca / "passphrase").read_bytes().strip()


def contenders(ca: Path, sizes: Sequence[Size]) -> dict[str, Contender]:
    """Our stack on each of the ledgers; a contender's name is the number of certificates."""

    def on(size: Size) -> Contender:
        return lambda: ours(ca, size.state)

    return {str(size.certificates): on(size) for size in sizes}


def start_up(ca: Path, size: Size, csr_pem: str) -> LedgerSize:
    """Starts the signer some times until it has issued: the medians. The ledger is in the page cache."""
    csr = x509.load_pem_x509_csr(csr_pem.encode()).public_bytes(Encoding.DER)
    starts = [_first_certificate(ca, size.state, csr) for _ in range(_STARTS)]
    seconds, memory = (statistics.median(one) for one in zip(*starts, strict=True))
    ledger = size.state / "ledger.db"
    return LedgerSize(size.certificates, size.build_seconds, ledger.stat().st_size / 1e6, seconds, memory)


def _first_certificate(ca: Path, state: Path, csr: bytes) -> tuple[float, float]:
    """Seconds from the start of the process to a certificate, and MiB resident then."""
    began = time.perf_counter()
    with signer(ca, state) as process, contextlib.closing(SignerClient(f"{state}/sign.sock")) as client:
        while time.perf_counter() < began + _READY_SECONDS and process.poll() is None:
            with contextlib.suppress(Refused):
                client.ask_issue(IssueRequest(csr=csr, client="first"))
                seconds = time.perf_counter() - began
                return seconds, Stack("", {"signer": process}, True, state).memory_mib()["signer"]
            time.sleep(0.002)
    raise RuntimeError(f"the signer did not issue: see {state}")


# --- revocation -----------------------------------------------------------------------------------


def revoke_all(ca: Path, work: Path, certificates: int, seconds: int) -> Revocations:
    """Issues about so many certificates, has all that are valid revoked by one request, waits for every CRL, and
    asks for OCSP answers at 64 clients. ``seconds``: of each load. Removes what it made: a GB for 300,000."""
    state = work / f"revoked-{certificates}"
    state.mkdir(mode=0o700, parents=True)
    _build(ca, state, _to_be_built(certificates))
    with ours(ca, state) as stack, contextlib.ExitStack() as clients:
        admin, sign = (
            clients.enter_context(contextlib.closing(SignerClient(f"{state}/{name}.sock", timeout=_PATIENCE_SECONDS)))
            for name in ("admin", "sign")
        )
        time.sleep(2)  # the first CRL of a signer that has just started
        began = time.monotonic()
        reply = admin.ask_revoke(RevokeRequest(reason="superseded", issued_since=0))
        answered = time.monotonic() - began
        wait_until_published(state / "ledger.db", _PATIENCE_SECONDS)
        published = time.monotonic() - began
        crls = {sign.ask_crl(CrlRequest(shard=shard)).crl for shard in shards(state / "ledger.db")}
        serials = _some_revoked(admin)
        signed = _ask_ocsp(stack, _ocsp_requests(ca, serials, nonce=True), seconds)
        kept = _ask_ocsp(stack, _ocsp_requests(ca, serials[:_OCSP_FEW], nonce=False), seconds)
    times = _crl_milliseconds(ca, state)
    shutil.rmtree(state)
    return Revocations(
        revoked=reply.revoked,
        answered_seconds=answered,
        published_seconds=published,
        crls=len(crls),
        crl_bytes_largest=max(map(len, crls)),
        crl_bytes_total=sum(map(len, crls)),
        crl_sign_ms=statistics.median(times),
        crl_sign_ms_longest=max(times),
        ocsp_signed=signed,
        ocsp_kept=kept,
    )


def _to_be_built(valid: int) -> int:
    """How many certificates ``build`` has to make for so many valid ones, and a few more: a tenth of them has
    expired, as coarsely as its batches are, and some are revoked."""
    return int(valid * 1.12) + min(REVOKED, valid // 4) + BATCH


def _some_revoked(admin: SignerClient) -> list[bytes]:
    """Serial numbers of revoked certificates, as many as there are, up to a limit, in no order."""
    serials: list[bytes] = []
    after: int | None = 0
    while after is not None and len(serials) < _OCSP_DISTINCT:
        page = admin.ask_list(ListRequest(state="revoked", after=after, limit=1000))
        serials += [one.serial for one in page.certificates]
        after = page.next
    random.shuffle(serials)
    return serials[:_OCSP_DISTINCT]


def _ocsp_requests(ca: Path, serials: Sequence[bytes], *, nonce: bool) -> list[bytes]:
    """Requests as common clients make them: about one certificate, by SHA-1 (RFC 5019). With a nonce none can be
    answered from memory."""
    certificate = x509.load_pem_x509_certificate((ca / "identity/ca.crt.pem").read_bytes())
    issuer = ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, hashes.SHA1()).build()  # noqa: S303
    requests = []
    for serial in serials:
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
            issuer.issuer_name_hash,
            issuer.issuer_key_hash,
            int.from_bytes(serial),
            hashes.SHA1(),  # noqa: S303
        )
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(random.randbytes(16)), critical=False)  # noqa: S311
        requests.append(builder.build().public_bytes(Encoding.DER))
    return requests


def _ask_ocsp(stack: Stack, requests: Sequence[bytes], seconds: int) -> Result:
    posts = Requests("POST", "application/ocsp-request", requests)
    return drive(stack, f"{stack.base_url}/ocsp", posts, _OCSP_CLIENTS, seconds)


def _crl_milliseconds(ca: Path, state: Path) -> list[float]:
    """How long the signer's loop is held by each of the CRLs.

    By the signer's own code in this process, whose clock is four days ahead: every CRL is due then. What it writes
    goes to a ledger that is thrown away.
    """
    now = int(time.time()) + 4 * _DAY
    passphrase, path = _passphrase(ca), state / "ledger.db"
    identity = load_identity(state / "identity", lambda: passphrase, int(time.time()))
    key = open_ledger_key(state / "identity", passphrase, path)
    clock = Clock(lambda: Reading(now, boot_now(), lambda: True))
    with contextlib.closing(Ledger(path, key, boot_now)) as ledger:
        authority = Authority(identity, ledger, state / "signerd.toml", clock)
        clock.accept()
        authority.revocation.work(now)  # the OCSP responder's certificate, and the first of them
        if times := _timed(lambda: authority.revocation.work(now)):
            return times
        return _timed(lambda: authority.revocation.work(now + 4 * _DAY))  # there is one for all


def _timed(work: Callable[[], bool]) -> list[float]:
    times: list[float] = []
    more = True
    while more and len(times) < _CRLS_TIMED:
        began = time.perf_counter()
        more = work()
        if more:
            times.append((time.perf_counter() - began) * 1000)
    return times
