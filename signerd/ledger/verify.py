"""Whether the ledger still says what was recorded: the chain, and the index that search and revocation use.

The chain is checked in stretches, each from where the one before ended, so that a ledger of any size is
checked while the signer goes on issuing. After a broken entry the check goes on from the hash that stands
there: every break is found, not only the first. What a chain alone can't show is that its end was cut off
or the whole file replaced by an older one; a checkpoint kept elsewhere shows that (``signerd.checkpoint``).
"""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from protocol.wire import WireError, unpack
from signerd.ledger.chain import Entry, Head, Kind, problem_with
from signerd.ledger.index import HOLD

_COLUMNS = ("serial", "client", "profile", "subject", "shard", "not_before", "not_after")


class Stretch(NamedTuple):
    """What was found in a stretch of the chain, and where the next one begins."""

    head: Head
    problems: tuple[str, ...]


def verify_stretch(db: sqlite3.Connection, before: Head, limit: int, now: int) -> Stretch:
    """Checks up to ``limit`` entries after ``before``."""
    rows = db.execute(
        "SELECT seq, time, kind, body, hash FROM entries WHERE seq > ? ORDER BY seq LIMIT ?", (before.seq, limit)
    ).fetchall()
    problems = []
    for row in rows:
        if (problem := problem_with(before, row)) is not None:
            problems.append(problem)
        else:
            problems += _problems_within(db, Entry(*row), now)
        before = _stored_head(row)
    return Stretch(before, tuple(problems))


def _stored_head(row: tuple[Any, ...]) -> Head:
    seq, time, _, _, digest = row
    whole = isinstance(digest, bytes) and len(digest) == 32
    return Head(seq, time if isinstance(time, int) else 0, digest if whole else bytes(32))


def _problems_within(db: sqlite3.Connection, entry: Entry, now: int) -> Iterator[str]:
    """What is wrong with the meaning of an entry whose hash is right, or with the index rows that follow from it."""
    try:
        body = unpack(entry.body)
    except WireError as error:
        yield f"entry {entry.seq} can't be read: {error}"
        return
    match entry.kind:
        case Kind.INTENT if body["what"] == "certificate":
            yield from _certificate_problems(db, entry.seq, body, now)
        case Kind.ISSUED:
            yield from _signature_problems(db, entry.seq, body)
        case Kind.REVOKED:
            yield from _revocation_problems(db, entry.seq, body, now)


def _certificate_problems(db: sqlite3.Connection, seq: int, body: dict[str, Any], now: int) -> Iterator[str]:
    sql = f"SELECT {', '.join(_COLUMNS)} FROM certificates WHERE seq = ?"  # noqa: S608 - constants of this file
    row = db.execute(sql, (seq,)).fetchone()
    if row is None:
        if body["not_after"] >= now:  # else it was pruned
            yield f"the index has lost the certificate of entry {seq}"
        return
    wrong = [name for name, value in zip(_COLUMNS, row, strict=True) if body[name] != value]
    if wrong:
        yield f"the index is wrong about the certificate of entry {seq}: {', '.join(wrong)}"
    for name in body["names"]:
        if db.execute("SELECT 1 FROM names WHERE name = ? AND seq = ?", (name, seq)).fetchone() is None:
            yield f"the index has lost the name {name} of entry {seq}"


def _signature_problems(db: sqlite3.Connection, seq: int, body: dict[str, Any]) -> Iterator[str]:
    row = db.execute("SELECT issued FROM certificates WHERE seq = ?", (body["intent"],)).fetchone()
    if row is not None and row[0] != seq:
        yield f"the index is wrong about the signature of entry {body['intent']}"


def _revocation_problems(db: sqlite3.Connection, seq: int, body: dict[str, Any], now: int) -> Iterator[str]:
    """A revocation that the index has forgotten would be missing from CRL and OCSP. A hold may have been
    released since."""
    for certificate in body["certificates"]:
        row = db.execute("SELECT revoked_at, not_after FROM certificates WHERE seq = ?", (certificate,)).fetchone()
        if row is not None and row[0] is None and not (body["reason"] == HOLD and _released(db, seq, certificate)):
            yield f"the index has forgotten that entry {seq} revoked the certificate of entry {certificate}"


def _released(db: sqlite3.Connection, since: int, certificate: int) -> bool:
    rows = db.execute("SELECT body FROM entries WHERE kind = ? AND seq > ?", (Kind.RELEASED, since))
    return any(certificate in unpack(body)["certificates"] for (body,) in rows)
