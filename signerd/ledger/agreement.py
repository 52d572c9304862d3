"""Whether the index agrees with the entries, a stretch of entries at a time and while the signer goes on.

Both ways: what follows from an entry stands in the index, and each row about a certificate follows from
entries. Every such row names the entries that it follows from, so that each check is a look-up or two. It
covers what issuance, search and revocation rely on. That the index is, to the last row, what the entries
make of it, is shown by making it anew: for a file at rest (``signerd.ledger.verify``).
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from protocol.wire import WireError, unpack
from signerd.ledger.chain import Entry, Kind
from signerd.ledger.index import ALL_SHARDS
from signerd.ledger.weight import weight

_AS_RECORDED = (
    *("serial", "client", "profile", "subject", "shard", "not_before", "not_after", "spki"),
    *("idempotency_key", "proof_id"),
)  # columns that say what the entry says
_COLUMNS = (*_AS_RECORDED, "recorded_at", "bytes", "issued", "changed", "revoked_at", "reason", "invalidity_date")
_CERTIFICATE = f"SELECT {', '.join(_COLUMNS)} FROM certificates WHERE seq = ?"  # noqa: S608 - constants
_CRL = ("number", "this_update", "next_update")
# What rises from each certificate to the next, and within what.
_NUMBERS = {"of_all": "", "of_client": "client", "of_profile": "profile", "bytes_until": ""}
# For each table the rows of which bear the seq of an entry: the one that they follow from.
_TABLES = ("certificates", "pruned", "names", "ledger_keys", "crls", "blocked_keys", "base_urls", "state")
# Of the certificates in an entry about revocations, those whose row has not heard of it.
_FORGOTTEN = """
SELECT value FROM json_each(?1)
LEFT JOIN certificates ON certificates.seq = value LEFT JOIN pruned ON pruned.seq = value
WHERE ifnull(certificates.seq, pruned.seq) IS NOT NULL AND ifnull(ifnull(certificates.changed, pruned.changed), 0) < ?2
"""
_TABLES_OF_INTENTS = {"certificate": ("certificates", "pruned", "names"), "ledger_key": ("ledger_keys",)}
_KEPT = 16  # entries about revocations, decoded: one may be about 4,000 certificates


class _Change(NamedTuple):
    """What an entry did to the certificates that it names."""

    time: int
    reason: str | None  # None: they were released
    invalidity_date: int | None
    certificates: frozenset[int]


class Agreement:
    """Compares entries with the index in ``db``. For one stretch: it remembers what it read.

    ``effort``: the certificates that were looked up besides those recorded in the entries themselves.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.effort = 0
        self._changes: dict[int, _Change | None] = {}
        self._sources: dict[str, set[int]] = {table: set() for table in _TABLES}
        self._pruned_until = self._read_pruned()

    def problems_with(self, entry: Entry) -> Iterator[str]:
        """Where the index disagrees with an entry whose hash is right, or why that can't be said."""
        try:
            yield from self._problems(entry, unpack(entry.body))
        except WireError as error:
            yield f"entry {entry.seq} can't be read: {error}"
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            yield f"entry {entry.seq} is not what a {entry.kind} entry is ({type(error).__name__})"

    def rows_without_entry(self, first: int, last: int) -> Iterator[str]:
        """Rows that claim to follow from an entry from ``first`` to ``last``, and from none of those seen."""
        for table, sources in self._sources.items():
            rows = self._db.execute(f"SELECT DISTINCT seq FROM {table} WHERE seq BETWEEN ? AND ?", (first, last))  # noqa: S608
            for (seq,) in rows:
                if seq not in sources:
                    yield f"the index has {table} of entry {seq}, which says nothing of the kind"

    def _problems(self, entry: Entry, body: Mapping[str, Any]) -> Iterator[str]:
        for table in _tables_that_follow(entry.kind, body):
            self._sources[table].add(entry.seq)
        match entry.kind:
            case Kind.INTENT:
                yield from self._intent(entry, body)
            case Kind.ISSUED:
                yield from self._signature(entry.seq, body["intent"])
            case Kind.REVOKED | Kind.RELEASED:
                yield from self._revocation(entry.seq, body)
            case Kind.BLOCKED | Kind.UNBLOCKED:
                yield from self._blocked_keys(entry, body)
            case Kind.POLICY if body["base_url"] is not None:
                yield from self._base_url(entry.seq, body["base_url"])
            case Kind.FREEZE | Kind.THAW | Kind.PRUNED:
                yield from self._state(entry, body)

    def _intent(self, entry: Entry, body: Mapping[str, Any]) -> Iterator[str]:
        if body["what"] == "certificate":
            yield from self._certificate(entry, body)
        elif "scope" in body:
            yield from self._crl(entry, body)
        elif body["what"] == "ledger_key" and self._ledger_key(entry.seq) != body["key"]:
            yield f"the index is wrong about the ledger key of entry {entry.seq}"

    def _ledger_key(self, seq: int) -> bytes | None:
        row = self._one("SELECT key FROM ledger_keys WHERE seq = ?", seq)
        return None if row is None else row[0]

    def _one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(sql, parameters).fetchone()
        return row

    # --- certificates -----------------------------------------------------------------------------

    def _certificate(self, entry: Entry, body: Mapping[str, Any]) -> Iterator[str]:
        found = self._one(_CERTIFICATE, entry.seq)
        if (body["not_after"], entry.seq) <= self._pruned_until:
            yield from self._pruned(entry.seq, body, is_listed=found is not None)
            return
        if found is None:
            yield f"the index has lost the certificate of entry {entry.seq}"
            return
        row = dict(zip(_COLUMNS, found, strict=True))
        wrong = [name for name in _AS_RECORDED if row[name] != body[name]]
        wrong += ["recorded_at"] if row["recorded_at"] != entry.time else []
        wrong += ["bytes"] if row["bytes"] != weight(body["to_be_signed"], body) else []
        if wrong:
            yield f"the index is wrong about the certificate of entry {entry.seq}: {', '.join(wrong)}"
        yield from self._numbers(entry.seq, body)
        indexed = {name for (name,) in self._db.execute("SELECT name FROM names WHERE seq = ?", (entry.seq,))}
        if strange := sorted(indexed ^ set(body["names"])):
            yield f"the index is wrong about the names of entry {entry.seq}: {', '.join(strange)}"
        if not self._is_signature_of(row["issued"], entry.seq):
            yield f"the index is wrong about the signature of entry {entry.seq}"
        if not self._follows(row, entry.seq):
            yield f"the index is wrong about the revocation of the certificate of entry {entry.seq}"

    def _numbers(self, seq: int, body: Mapping[str, Any]) -> Iterator[str]:
        """The numbers that quotas are counted by. Where they rise from each certificate to the next, no count
        is below what was issued; they rise by more than one where certificates in between were pruned."""
        for column, group in _NUMBERS.items():
            rows = f"SELECT {column} FROM certificates WHERE " + (f"{group} = ?2 AND " if group else "?2 = '' AND ")  # noqa: S608
            one, before = (
                self._one(f"{rows} seq {relation} ORDER BY seq DESC LIMIT 1", seq, body[group] if group else "")
                for relation in ("= ?1", "< ?1")
            )
            if one is not None and one[0] <= (before[0] if before is not None else 0):
                yield f"the index is wrong about the number ({column}) of the certificate of entry {seq}"

    def _read_pruned(self) -> tuple[int, int]:
        """Up to where certificates were pruned, in the order of their ends."""
        row = self._one("SELECT value FROM state WHERE name = 'pruned'")
        try:
            until, last = map(int, str(row[0]).split()) if row is not None else (0, 0)
        except ValueError:  # which ``_state`` complains of
            return 0, 0
        return until, last

    def _pruned(self, seq: int, body: Mapping[str, Any], *, is_listed: bool) -> Iterator[str]:
        row = self._one("SELECT serial, issued FROM pruned WHERE seq = ?", seq)
        right = row is not None and row[0] == body["serial"] and self._is_signature_of(row[1], seq)
        if is_listed or not right:
            yield f"the index is wrong about the certificate of entry {seq}, which was pruned"

    def _is_signature_of(self, issued: int | None, intent: int) -> bool:
        """Whether entry ``issued`` holds the signature of ``intent``. That None is right shows at that entry."""
        if issued is None:
            return True
        row = self._one("SELECT kind, body FROM entries WHERE seq = ?", issued)
        return row is not None and row[0] == Kind.ISSUED and unpack(row[1]).get("intent") == intent

    def _follows(self, row: Mapping[str, Any], seq: int) -> bool:
        """Whether a certificate's state follows from the entry that the row says changed it last."""
        at, reason, date = row["revoked_at"], row["reason"], row["invalidity_date"]
        if row["changed"] is None:
            return (at, reason, date) == (None, None, None)
        change = self._change(row["changed"])
        if change is None or seq not in change.certificates:
            return False
        if change.reason is None:
            return (at, reason, date) == (None, None, None)
        # Since the hold, if one went before.
        return (reason, date) == (change.reason, change.invalidity_date) and at is not None and at <= change.time

    def _change(self, seq: int) -> _Change | None:
        if seq not in self._changes:
            if len(self._changes) >= _KEPT:
                self._changes.clear()
            self._changes[seq] = self._read_change(seq)
        return self._changes[seq]

    def _read_change(self, seq: int) -> _Change | None:
        row = self._one("SELECT time, kind, body FROM entries WHERE seq = ?", seq)
        if row is None or row[1] not in {Kind.REVOKED, Kind.RELEASED}:
            return None
        body = unpack(row[2])
        reason = body["reason"] if row[1] == Kind.REVOKED else None
        return _Change(row[0], reason, body.get("invalidity_date"), frozenset(body["certificates"]))

    # --- what else there is -------------------------------------------------------------------------

    def _signature(self, seq: int, intent: int) -> Iterator[str]:
        for table in ("certificates", "pruned", "crls", "ledger_keys"):
            row = self._one(f"SELECT issued FROM {table} WHERE seq = ?", intent)  # noqa: S608 - constants
            if row is not None and row[0] != seq:
                yield f"the index is wrong about the signature of entry {intent}"

    def _revocation(self, seq: int, body: Mapping[str, Any]) -> Iterator[str]:
        """A revocation that the index has forgotten would be missing from CRL and OCSP."""
        self.effort += len(body["certificates"])
        for (certificate,) in self._db.execute(_FORGOTTEN, (json.dumps(body["certificates"]), seq)):
            yield f"the index has forgotten what entry {seq} says of the certificate of entry {certificate}"
        for scope in (ALL_SHARDS, *body["shards"]):
            if self._one("SELECT 1 FROM crls WHERE scope = ? AND seq < ? AND changed < ?", scope, seq, seq) is not None:
                yield f"the index has forgotten that entry {seq} makes the CRL of scope {scope} outdated"

    def _crl(self, entry: Entry, body: Mapping[str, Any]) -> Iterator[str]:
        if len(body["sha256"]) != hashlib.sha256().digest_size:
            yield f"entry {entry.seq} does not say which CRL was signed"
        row = self._one(f"SELECT seq, {', '.join(_CRL)} FROM crls WHERE scope = ?", body["scope"])  # noqa: S608
        if row is None or row[0] < entry.seq or (row[0] == entry.seq and row[1:] != tuple(body[name] for name in _CRL)):
            yield f"the index is wrong about the CRL of entry {entry.seq}"

    def _blocked_keys(self, entry: Entry, body: Mapping[str, Any]) -> Iterator[str]:
        """A blocked key that the index has forgotten would get a certificate."""
        self.effort += len(body["keys"])
        for key in body["keys"]:
            row = self._one("SELECT blocked, seq FROM blocked_keys WHERE spki = ?", key)
            if row is None or row[1] < entry.seq or (row[1] == entry.seq and row[0] != (entry.kind == Kind.BLOCKED)):
                yield f"the index has forgotten, or is wrong about, the key {key.hex()} of entry {entry.seq}"

    def _base_url(self, seq: int, url: str) -> Iterator[str]:
        row = self._one("SELECT seq FROM base_urls WHERE url = ?", url)
        others = self._one("SELECT 1 FROM base_urls WHERE seq = ? AND url != ?", seq, url)
        if row is None or row[0] > seq or others is not None:
            yield f"the index is wrong about the base URL of entry {seq}"

    def _state(self, entry: Entry, body: Mapping[str, Any]) -> Iterator[str]:
        """Whether the state knows this entry, or a later one of its kind."""
        name = {Kind.FREEZE: "frozen", Kind.THAW: "thawed", Kind.PRUNED: "pruned"}[Kind(entry.kind)]
        known = dict(self._db.execute("SELECT name, seq FROM state"))
        overtaken = entry.kind == Kind.FREEZE and known.get("thawed", 0) > entry.seq
        wrong = known.get(name, 0) < entry.seq and not overtaken
        if entry.kind == Kind.THAW and known.get("frozen", entry.seq) < entry.seq:
            wrong = True
        if known.get(name) == entry.seq:
            row = self._one("SELECT value FROM state WHERE name = ?", name)
            wrong = row != (self._state_value(entry.kind, body),)
        if wrong:
            yield f"the index has forgotten, or is wrong about, entry {entry.seq} ({entry.kind})"

    @staticmethod
    def _state_value(kind: str, body: Mapping[str, Any]) -> str:
        if kind == Kind.PRUNED:
            return f"{body['not_after']} {body['seq']}"
        return (body["why"] or "by an operator") if kind == Kind.FREEZE else ""


def _tables_that_follow(kind: str, body: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that may have rows that follow from such an entry."""
    tables: tuple[str, ...] = ()
    match kind:
        case Kind.INTENT if "scope" in body:
            tables = ("crls",)
        case Kind.INTENT:
            tables = _TABLES_OF_INTENTS.get(body["what"], ())
        case Kind.BLOCKED | Kind.UNBLOCKED:
            tables = ("blocked_keys",)
        case Kind.POLICY if body["base_url"] is not None:
            tables = ("base_urls",)
        case Kind.FREEZE | Kind.THAW | Kind.PRUNED | Kind.CLOCK:
            tables = ("state",)
        case Kind.REVOKED | Kind.RELEASED if body.get("then") is not None:
            tables = ("state",)
    return tables
