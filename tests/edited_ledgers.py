"""Ledgers with something of everything in them, and what somebody might do to their files."""

import contextlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from protocol.messages import IssueReply, RevokeRequest, UnblockRequest
from signerd.authority import Authority
from signerd.checkpoint import make_checkpoint
from signerd.ledger import Head
from signerd.ledger.chain import GENESIS
from signerd.ledger.verify import LedgerFile, named_certificate
from signerd.trust import CaTrust
from tests.authorities import LocalAuthority, ca_of, local_authority
from tests.csrs import csr_for, dns, make_csr, private_key
from tests.identities import DAY

BUSY_POLICY = """
base_url = 'http://ca.example.net'
[profile.server]
[profile.short]
lifetime = '1h'
[quota]
per_client = '12/day'
"""


def serial_of(certificate: x509.Certificate) -> bytes:
    number = certificate.serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def issue(local: LocalAuthority, name: str, client: str = "web1", **wishes: Any) -> bytes:
    """A certificate for ``NAME.example.net``; returns its serial number."""
    answer = local.ask(csr_for(dns(f"{name}.example.net"), dns("shared.example.net")), client, **wishes)
    assert isinstance(answer, IssueReply), answer
    return answer.serial


def revoke(local: LocalAuthority, serials: Sequence[bytes], reason: str) -> None:
    local.authority.revocation.revoke(RevokeRequest(reason=reason, serials=tuple(serials)), "admin 0", local.now)


def checkpoint(local: LocalAuthority) -> str:
    authority = local.authority
    return make_checkpoint(authority.key, authority.issuer.certificate, local.ledger.head, local.now)


def sign_crls(local: LocalAuthority) -> None:
    while local.authority.revocation.work(local.now):
        pass
    local.ledger.commit()


def prune_all(local: LocalAuthority) -> None:
    """As the signer does, once in a second, until there is nothing left to prune."""
    before = -1
    while before != (before := local.ledger.head.seq):
        local.authority.tend(local.now)
    local.ledger.commit()


def busy_ledger(directory: Path) -> Path:
    """The file of a ledger in which every kind of entry and every state of a certificate occurs."""
    with local_authority(directory, BUSY_POLICY) as local:
        old = [issue(local, f"old{n}", profile="short") for n in range(4)]
        revoke(local, old[:1], "superseded")
        local.now += 2 * 3600
        sign_crls(local)
        local.now += 40 * DAY
        prune_all(local)
        serials = [issue(local, f"host{n}", f"web{n % 3}", idempotency_key=f"key {n}") for n in range(8)]
        issue(local, "plain", lifetime=3600)
        revoke(local, serials[:2], "keyCompromise")
        local.authority.revocation.compromised.unblock(UnblockRequest(serials=tuple(serials[:1])), "admin 0", local.now)
        revoke(local, serials[2:5], "certificateHold")
        local.now += 60
        revoke(local, serials[2:3], "removeFromCRL")
        revoke(local, serials[3:4], "cessationOfOperation")
        sign_crls(local)
        checkpoint(local)
        while isinstance(local.ask(csr_for(dns("many.example.net")), "greedy"), IssueReply):
            pass
        leaked = local.ask(make_csr(key=private_key("p256")), "leaky")
        assert isinstance(leaked, IssueReply)
        revoke(local, [leaked.serial], "keyCompromise")
        local.authority.freeze("a drill", local.now)
        local.authority.thaw("the drill is over", local.now)
        local.authority.freeze("in earnest", local.now)
        local.now += 2 * 3600
        local.restart()
        _, _ = local.authority.backups.part(object(), 0, {"asker": "admin 0"}, local.now)
        local.authority.close()
    return local.ledger_path


@contextlib.contextmanager
def editing(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, to be changed behind the ledger's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def trust_of(path: Path) -> CaTrust:
    """What the certificate that a ledger names makes of it; that of these tests' authorities, where it names none."""
    with contextlib.suppress(OSError, ValueError, sqlite3.Error, UnsupportedAlgorithm):
        return CaTrust(x509.load_der_x509_certificate(named_certificate(path)))
    return CaTrust(ca_of("p256")[0])


def problems_of(path: Path, stretch: int = 1000) -> list[str]:
    """All that the check of a file at rest complains of."""
    with contextlib.closing(LedgerFile(path, trust_of(path))) as file:
        end = file.check_next(stretch)
        found, before = list(end.problems), GENESIS
        while end.head != before and end.head.seq != file.entries:
            before, end = end.head, file.check_next(stretch)
            found += end.problems
        return found


def problems_online(local: LocalAuthority | Authority, stretch: int = 1000) -> list[str]:
    """All that the check of the running signer's ledger complains of."""
    authority = local if isinstance(local, Authority) else local.authority
    ledger, head, before = local.ledger, GENESIS, None
    found: list[str] = []
    while head != before:
        before = head
        end = ledger.verify_stretch(Head(head.seq, 0, head.hash), stretch, authority.trust)
        found += end.problems
        head = end.head
    return found


def flipped(value: Any, chance: random.Random) -> Any:
    """A value of a column with one bit changed."""
    if isinstance(value, int):
        return value ^ 1 << chance.randrange(63)
    octets = bytearray(value.encode() if isinstance(value, str) else value)
    octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
    return octets.decode(errors="surrogateescape") if isinstance(value, str) else bytes(octets)
