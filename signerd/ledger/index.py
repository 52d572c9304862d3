"""Tables for search, derived from the entries: every row follows from ``apply``, live and on a rebuild.

The index may lag behind the entries, for what is recorded is the entries: rows that are written many at a time
cost a third. ``indexed_until`` tells how far it has got, and whoever opens a ledger brings it up to date.
"""

import collections
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from protocol.wire import unpack
from signerd.ledger.chain import Kind
from signerd.ledger.weight import weight

HOLD = "certificateHold"  # the one reason that can be taken back (RFC 5280, 5.3.1)
ALL_SHARDS = -1  # the scope of a CRL that lists every revoked certificate
CA_CERTIFICATES = -2  # the scope of a CRL that is about no others
_EVER = 2**63 - 1


class Fact(NamedTuple):
    """An entry with its body decoded."""

    seq: int
    time: int
    kind: str
    body: Mapping[str, Any]


def is_certificate(fact: Fact) -> bool:
    """Whether it is the intent to sign a certificate."""
    return fact.kind == Kind.INTENT and bool(fact.body["what"] == "certificate")


def settled(backlog: Sequence[Fact]) -> int:
    """How many entries of a backlog there are before those certificates at its end that are about to be signed."""
    count = len(backlog)
    while count and is_certificate(backlog[count - 1]):
        count -= 1
    return count


def indexed_until(db: sqlite3.Connection) -> int:
    """The seq of the last entry that the index knows."""
    row = db.execute("SELECT seq FROM progress").fetchone()
    return 0 if row is None else int(row[0])


ReadFact = Callable[[int], "Fact"]


def facts_in(db: sqlite3.Connection) -> ReadFact:
    """What reads entries out of ``db``."""

    def read(seq: int) -> Fact:
        time, kind, body = db.execute("SELECT time, kind, body FROM entries WHERE seq = ?", (seq,)).fetchone()
        return Fact(seq, time, kind, unpack(body))

    return read


def apply(db: sqlite3.Connection, facts: Iterable[Fact], read: ReadFact) -> None:
    """Brings the tables up to date with these entries, which follow those that it knows, inside a transaction.

    Certificates that follow each other are written together, with their signatures where these follow too. ``read``
    is for entries before those: what was pruned can come back.
    """
    certificates: dict[int, dict[str, Any]] = {}
    seq = 0
    for fact in facts:
        seq = fact.seq
        if is_certificate(fact):
            certificates[seq] = _row_of(fact)
        elif fact.kind == Kind.ISSUED and fact.body["intent"] in certificates:
            certificates[fact.body["intent"]]["issued"] = seq
        else:
            _apply_certificates(db, certificates)
            certificates.clear()
            if fact.kind == Kind.CLOCK:
                _apply_clock(db, fact.seq, fact.time, read)
            else:
                _apply(db, *fact)
    _apply_certificates(db, certificates)
    db.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (seq,))


def _row_of(fact: Fact) -> dict[str, Any]:
    """What is written of a certificate before its signature is known."""
    return {
        **fact.body,
        "seq": fact.seq,
        "time": fact.time,
        "issued": None,
        "bytes": weight(fact.body["to_be_signed"], fact.body),
    }


def _apply(db: sqlite3.Connection, seq: int, time: int, kind: str, body: Mapping[str, Any]) -> None:
    match kind:
        case Kind.INTENT:
            _apply_intent(db, seq, body)
        case Kind.ISSUED:
            _apply_signature(db, seq, body["intent"])
        case Kind.REVOKED | Kind.RELEASED:
            _apply_revocation(db, seq, time, body)
        case Kind.BLOCKED | Kind.UNBLOCKED:
            rows = ((key, kind == Kind.BLOCKED, seq) for key in body["keys"])
            db.executemany("INSERT OR REPLACE INTO blocked_keys VALUES (?, ?, ?)", rows)
        case Kind.POLICY:
            db.execute("INSERT OR IGNORE INTO base_urls SELECT ?1, ?2 WHERE ?1 IS NOT NULL", (body["base_url"], seq))
        case Kind.PRUNED:
            _apply_pruning(db, seq, body["not_after"], body["seq"])
        case Kind.FREEZE:
            _set_state(db, seq, "frozen", body["why"] or "by an operator")
        case Kind.THAW:
            db.execute("DELETE FROM state WHERE name = 'frozen'")
            _set_state(db, seq, "thawed", "")


def _apply_intent(db: sqlite3.Connection, seq: int, body: Mapping[str, Any]) -> None:
    """Of anything but a certificate."""
    if "scope" in body:
        _apply_crl(db, seq, body)
    elif body["what"] == "ledger_key":
        db.execute("INSERT INTO ledger_keys VALUES (?, ?, NULL)", (seq, body["key"]))


def _set_state(db: sqlite3.Connection, seq: int, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (name, value, seq))


def _number(column: str, where: str = "") -> str:
    return f"1 + {_last(column, where)}"


def _last(column: str, where: str = "") -> str:
    last = f"SELECT {column} FROM certificates {where} ORDER BY seq DESC LIMIT 1"  # noqa: S608 - of this file's words
    return f"coalesce(({last}), 0)"


_INSERT_CERTIFICATE = f"""
INSERT INTO certificates (
  seq, recorded_at, serial, client, profile, subject, shard, not_before, not_after, spki, idempotency_key,
  proof_id, issued,
  of_all, of_client, of_profile, bytes, bytes_until)
VALUES (:seq, :time, :serial, :client, :profile, :subject, :shard, :not_before, :not_after, :spki, :idempotency_key,
  :proof_id, :issued,
  {_number("of_all")}, {_number("of_client", "WHERE client = :client")},
  {_number("of_profile", "WHERE profile = :profile")}, :bytes, {_last("bytes_until")} + :bytes)
"""  # noqa: S608 - of this file's words
_INSERT_EXPIRIES = """
INSERT INTO expiries VALUES (?, ?) ON CONFLICT DO UPDATE SET certificates = certificates + excluded.certificates
"""


def any_known(
    db: sqlite3.Connection, serials: Collection[bytes], tables: Iterable[str] = ("certificates", "pruned")
) -> bool:
    """Whether a certificate that is indexed, or was and is pruned, has one of these serial numbers."""
    places = ", ".join("?" * len(serials))
    sql = "SELECT 1 FROM {} WHERE serial IN ({})"
    return any(db.execute(sql.format(table, places), [*serials]).fetchone() for table in tables)


def _apply_certificates(db: sqlite3.Connection, certificates: Mapping[int, Mapping[str, Any]]) -> None:
    if not certificates:
        return
    rows = certificates.values()
    if any_known(db, [row["serial"] for row in rows], ["pruned"]):  # of the others the table itself takes care
        raise sqlite3.IntegrityError("a pruned certificate has the serial number")
    db.executemany(_INSERT_CERTIFICATE, rows)
    db.executemany("INSERT INTO names VALUES (?, ?)", [(name, row["seq"]) for row in rows for name in row["names"]])
    hours = collections.Counter(row["not_after"] // 3600 for row in rows)
    db.executemany(_INSERT_EXPIRIES, hours.items())


def _apply_signature(db: sqlite3.Connection, seq: int, intent: int) -> None:
    updated = db.execute("UPDATE certificates SET issued = ? WHERE seq = ?", (seq, intent))
    if updated.rowcount == 0:
        for table in ("crls", "ledger_keys"):
            db.execute(f"UPDATE {table} SET issued = ? WHERE seq = ?", (seq, intent))  # noqa: S608 - constants


def _apply_crl(db: sqlite3.Connection, seq: int, body: Mapping[str, Any]) -> None:
    db.execute(
        "INSERT INTO crls VALUES (?, ?, ?, ?, ?, NULL, 0) ON CONFLICT (scope) DO UPDATE SET seq = excluded.seq,"
        " number = excluded.number, this_update = excluded.this_update, next_update = excluded.next_update,"
        " issued = NULL",
        (body["scope"], seq, body["number"], body["this_update"], body["next_update"]),
    )


def _apply_revocation(db: sqlite3.Connection, seq: int, time: int, body: Mapping[str, Any]) -> None:
    """Revokes or, without a reason, releases the certificates of an entry."""
    reason = body.get("reason")
    db.execute(
        # The first time stays: a hold that becomes final counts from the hold on, as X.509 has it.
        "UPDATE certificates SET revoked_at = iif(?1 IS NULL, NULL, coalesce(revoked_at, ?2)), reason = ?1,"
        " invalidity_date = ?3, changed = ?5 WHERE seq IN (SELECT value FROM json_each(?4))",
        (reason, time, body.get("invalidity_date"), json.dumps(body["certificates"]), seq),
    )
    if body.get("then") is not None:
        _set_state(db, seq, "sweep", "")
    elif "then" in body:
        db.execute("DELETE FROM state WHERE name = 'sweep'")
    db.execute(
        "UPDATE crls SET changed = ? WHERE scope = ? OR scope IN (SELECT value FROM json_each(?))",
        (seq, ALL_SHARDS, json.dumps(body["shards"])),
    )


# What of a certificate's row its entry does not say.
_STATE = ("issued", "changed", "revoked_at", "reason", "invalidity_date")
_PRUNED = ", ".join(("seq", "serial", "not_after", *_STATE))


def _apply_pruning(db: sqlite3.Connection, seq: int, not_after: int, last: int) -> None:
    """Takes the certificates up to this place, in the order of their ends, out of what is searched."""
    place = (not_after, last)
    db.execute(
        f"INSERT INTO pruned ({_PRUNED}) SELECT {_PRUNED} FROM certificates WHERE (not_after, seq) <= (?, ?)",  # noqa: S608
        place,
    )
    db.execute("DELETE FROM names WHERE seq IN (SELECT seq FROM certificates WHERE (not_after, seq) <= (?, ?))", place)
    db.execute(
        "UPDATE expiries SET certificates = certificates - gone.number FROM"
        " (SELECT not_after / 3600 AS hour, count(*) AS number FROM certificates"
        " WHERE (not_after, seq) <= (?, ?) GROUP BY 1) AS gone WHERE expiries.hour = gone.hour",
        place,
    )
    db.execute("DELETE FROM expiries WHERE certificates = 0")
    db.execute("DELETE FROM certificates WHERE (not_after, seq) <= (?, ?)", place)
    _set_state(db, seq, "pruned", f"{not_after} {last}")


_NUMBER_ANEW = """
UPDATE certificates
SET of_all = n.of_all, of_client = n.of_client, of_profile = n.of_profile, bytes_until = n.bytes_until
FROM (SELECT seq AS at, row_number() OVER (ORDER BY seq) AS of_all,
  row_number() OVER (PARTITION BY client ORDER BY seq) AS of_client,
  row_number() OVER (PARTITION BY profile ORDER BY seq) AS of_profile,
  sum(bytes) OVER (ORDER BY seq) AS bytes_until FROM certificates) AS n WHERE seq = n.at
"""


def _apply_clock(db: sqlite3.Connection, seq: int, time: int, read: ReadFact) -> None:
    """Brings back what was pruned by a clock that was wrong: certificates that have not ended at ``time``."""
    back = db.execute(f"SELECT seq, {', '.join(_STATE)} FROM pruned WHERE not_after >= ?", (time,)).fetchall()  # noqa: S608
    if not back:
        return
    db.execute("DELETE FROM pruned WHERE not_after >= ?", (time,))
    _apply_certificates(db, {certificate: _row_of(read(certificate)) for certificate, *_ in back})
    columns = ", ".join(f"{column} = ?" for column in _STATE)
    db.executemany(
        f"UPDATE certificates SET {columns} WHERE seq = ?",  # noqa: S608 - of this file's words
        [(*state, certificate) for certificate, *state in back],
    )
    db.execute(_NUMBER_ANEW)
    (value,) = db.execute("SELECT value FROM state WHERE name = 'pruned'").fetchone()
    not_after, last = min(tuple(map(int, str(value).split())), (time - 1, _EVER))
    _set_state(db, seq, "pruned", f"{not_after} {last}")
