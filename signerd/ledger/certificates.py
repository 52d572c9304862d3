"""Certificates on the ledger: looked up in the index, put together from their entries."""

import enum
from dataclasses import dataclass
from typing import Any

from signerd import der
from signerd.ledger.index import HOLD
from signerd.ledger.store import Ledger

COLUMNS = "seq, serial, client, profile, subject, shard, not_before, not_after, issued, revoked_at, reason"


class State(enum.StrEnum):
    """What a certificate is at a moment."""

    VALID = "valid"
    REVOKED = "revoked"
    HOLD = "hold"
    EXPIRED = "expired"
    PENDING = "pending"  # its intent is recorded, its signature not yet


@dataclass(frozen=True, slots=True)
class Record:
    """One certificate. Times are seconds since the epoch."""

    ledger: Ledger
    seq: int
    serial: bytes
    client: str
    profile: str
    subject: str
    shard: int
    not_before: int
    not_after: int
    issued: int | None
    revoked_at: int | None
    reason: str | None
    state: State

    @property
    def names(self) -> tuple[str, ...]:
        """Its names, as "dns:web1.example.net"."""
        return tuple(self.ledger.body(self.seq)["names"])

    @property
    def der(self) -> bytes:
        """The certificate. Raises ``KeyError`` while it is pending."""
        if self.issued is None:
            raise KeyError(self.seq)
        to_be_signed = self.ledger.body(self.seq)["to_be_signed"]
        signature = self.ledger.body(self.issued)["signature"]
        return der.signed(to_be_signed, signature)


def find(ledger: Ledger, serial: bytes, now: int) -> Record | None:
    """The certificate with this serial number, also if it was pruned, or None."""
    row = ledger.query(f"SELECT {COLUMNS} FROM certificates WHERE serial = ?", serial).fetchone()  # noqa: S608
    row = row or _pruned(ledger, serial)
    return None if row is None else record_of(ledger, row, now)


def _pruned(ledger: Ledger, serial: bytes) -> tuple[Any, ...] | None:
    """What the index still has of a pruned certificate, and the rest from its entry, as a row of ``COLUMNS``."""
    sql = "SELECT seq, issued, revoked_at, reason FROM pruned WHERE serial = ?"
    if (row := ledger.query(sql, serial).fetchone()) is None:
        return None
    seq, issued, revoked_at, reason = row
    body = ledger.body(seq)
    columns = ("client", "profile", "subject", "shard", "not_before", "not_after")
    return (seq, serial, *(body[column] for column in columns), issued, revoked_at, reason)


def by_seq(ledger: Ledger, seq: int, now: int) -> Record:
    """The certificate whose intent is entry ``seq``. Raises ``KeyError``."""
    row = ledger.query(f"SELECT {COLUMNS} FROM certificates WHERE seq = ?", seq).fetchone()  # noqa: S608
    if row is None:
        raise KeyError(seq)
    return record_of(ledger, row, now)


def record_of(ledger: Ledger, row: tuple[Any, ...], now: int) -> Record:
    """A row of ``COLUMNS``."""
    seq, serial, client, profile, subject, shard, not_before, not_after, issued, revoked_at, reason = row
    if revoked_at is not None:
        state = State.HOLD if reason == HOLD else State.REVOKED
    elif not_after < now:
        state = State.EXPIRED
    else:
        state = State.PENDING if issued is None else State.VALID
    return Record(
        ledger, seq, serial, client, profile, subject, shard,
        not_before, not_after, issued, revoked_at, reason, state,
    )  # fmt: skip
