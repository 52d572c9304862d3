"""What the ledger knows of revocations, as CRLs and OCSP need it. Times are seconds since the epoch."""

from typing import NamedTuple

from signerd.ledger.index import ALL_SHARDS
from signerd.ledger.store import Ledger

_REVOKED = "serial, revoked_at, reason, invalidity_date"


class Revoked(NamedTuple):
    """One revoked certificate."""

    serial: bytes  # big-endian, without leading zeros
    at: int
    reason: str  # as RFC 5280, 5.3.1 names it
    invalidity_date: int | None


class SignedCrl(NamedTuple):
    """The last CRL of a scope: of a shard, or of ``ALL_SHARDS``."""

    scope: int
    seq: int  # of its intent
    number: int
    this_update: int
    next_update: int
    issued: int | None  # seq of the entry with its signature; None: pending
    changed: int  # seq of the last entry that revoked or released in this scope


class Found(NamedTuple):
    """A certificate that a revocation may concern."""

    seq: int
    shard: int
    not_after: int
    reason: str | None  # None: not revoked


def status(ledger: Ledger, serial: bytes) -> tuple[bool, Revoked | None]:
    """Whether there is a certificate with this serial number, and how it is revoked, if it is.

    Its signature may still be to be made, as far as the ledger knows: it follows from what is recorded, so
    that it may be in the world already.
    """
    row = ledger.query(
        f"SELECT {_REVOKED} FROM certificates WHERE serial = ?1"  # noqa: S608 - constants of this file
        " UNION ALL SELECT serial, revoked_at, reason, NULL FROM pruned WHERE serial = ?1",
        serial,
    ).fetchone()
    return row is not None, Revoked(*row) if row is not None and row[1] is not None else None


def listed(ledger: Ledger, scope: int, expiring_from: int) -> list[Revoked]:
    """The revoked certificates of a scope whose notAfter is ``expiring_from`` or later, oldest first."""
    # The planner has no statistics, and would look through all certificates that have not expired.
    index, where = "certificates_listed", ""
    if scope != ALL_SHARDS:
        index, where = "certificates_revoked", f" AND shard = {scope:d}"
    rows = ledger.query(
        f"SELECT {_REVOKED} FROM certificates INDEXED BY {index}"  # noqa: S608 - constants of this file
        f" WHERE revoked_at IS NOT NULL AND not_after >= ?{where} ORDER BY seq",
        expiring_from,
    )
    return [Revoked(*row) for row in rows]


def count_listed(ledger: Ledger, expiring_from: int, limit: int) -> int:
    """How many ``listed`` finds in all shards; it stops counting at ``limit``."""
    (count,) = ledger.query(
        "SELECT count(*) FROM (SELECT 1 FROM certificates INDEXED BY certificates_listed"
        " WHERE revoked_at IS NOT NULL AND not_after >= ? LIMIT ?)",
        expiring_from,
        limit,
    ).fetchone()
    return int(count)


def signed_crls(ledger: Ledger, *scopes: int) -> dict[int, SignedCrl]:
    """The last CRL of each of these scopes that has one; without any named, of all."""
    sql = "SELECT scope, seq, number, this_update, next_update, issued, changed FROM crls"
    if scopes:
        sql += f" WHERE scope IN ({', '.join('?' * len(scopes))})"
    return {row[0]: SignedCrl(*row) for row in ledger.query(sql, *scopes)}


def shard_range(ledger: Ledger) -> range:
    """The shards from that of the oldest certificate that was not pruned to that of the newest."""
    rows = [
        ledger.query(f"SELECT shard FROM certificates ORDER BY seq {order} LIMIT 1").fetchone()  # noqa: S608
        for order in ("ASC", "DESC")
    ]
    first, last = (0 if row is None else int(row[0]) for row in rows)
    return range(first, last + 1)


def base_urls(ledger: Ledger) -> tuple[list[str], int]:
    """Every base URL that certificates may name, and the seq of the entry that brought the last of them."""
    rows = ledger.query("SELECT url, seq FROM base_urls ORDER BY seq").fetchall()
    return [row[0] for row in rows], rows[-1][1] if rows else 0


def find_for_revocation(ledger: Ledger, serial: bytes) -> Found | None:
    """The certificate with this serial number; one that was pruned ended long ago, at whatever time."""
    row = ledger.query(
        "SELECT seq, shard, not_after, reason FROM certificates WHERE serial = ?1"
        " UNION ALL SELECT seq, 0, 0, reason FROM pruned WHERE serial = ?1",
        serial,
    ).fetchone()
    return None if row is None else Found(*row)


def find_between(  # noqa: PLR0913, PLR0917 - the filters of one query
    ledger: Ledger, first: int, last: int, client: str | None, since: int, limit: int
) -> list[Found]:
    """The oldest certificates whose intents have these seqs, both inclusive, and were recorded ``since``: one
    client's, or all."""
    sql = "SELECT seq, shard, not_after, reason FROM certificates WHERE seq BETWEEN ? AND ? AND recorded_at >= ?"
    if client is None:
        rows = ledger.query(f"{sql} ORDER BY seq LIMIT ?", first, last, since, limit)
    else:
        rows = ledger.query(f"{sql} AND client = ? ORDER BY seq LIMIT ?", first, last, since, client, limit)
    return [Found(*row) for row in rows]


def unfinished_sweep(ledger: Ledger) -> int | None:
    """The seq of the entry that says what a sweep has still to do."""
    row = ledger.query("SELECT seq FROM state WHERE name = 'sweep'").fetchone()
    return None if row is None else int(row[0])
