"""Whether the ledger still says what was recorded: the chain, and the index that search and revocation use.

The chain is checked in stretches, each from where the one before ended, so that a ledger of any size is
checked while the signer goes on issuing. After a broken entry the check goes on from the hash that stands
there: every break is found, not only the first. Whoever can write the file can also compute a chain of hashes; so
each commit's signature by the ledger key is checked, and that the CA's key signed the statement which names that
key. ``Trust`` is what the CA's certificate is needed for. What all this can't show is that the end was cut off or
the whole file replaced by an older one; a checkpoint kept elsewhere shows that (``signerd.checkpoint``).

Whatever stands in the file, it is said in words, and nothing is raised.
"""

import bisect
import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from protocol.wire import WireError, unpack
from signerd.ledger import index, schema
from signerd.ledger.agreement import Agreement
from signerd.ledger.chain import GENESIS, Entry, Head, Kind, problem_with
from signerd.ledger.ledger_key import is_head_signed

STRETCH_ENTRIES_MAX = 64  # 8 ms of the event loop
_STRETCH_EFFORT = 5000  # certificates in entries about revocations: 10 ms
_STRETCH_BYTES = 1024 * 1024  # of bodies: a CRL's intent holds all of the CRL
_PROBLEMS_MAX = 100  # in one stretch: a reply is to fit into its frame
_PROBLEM_LENGTH = 400
_EVER = 2**63 - 1
# The kind as bytes: what is no UTF-8 any more would keep the row from being read.
_ROWS = (
    "SELECT seq, time, iif(typeof(kind) = 'text', CAST(kind AS BLOB), NULL), body, hash, signature FROM entries"
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)
_STATEMENTS = (
    "SELECT ledger_keys.seq, intent.body, issued.body FROM ledger_keys"
    " JOIN entries AS intent ON intent.seq = ledger_keys.seq JOIN entries AS issued ON issued.seq = ledger_keys.issued"
    " ORDER BY ledger_keys.seq"
)


class Trust(Protocol):
    """What the CA's certificate says of entries."""

    def ledger_key(self, statement: bytes, signature: bytes) -> bytes | None:
        """The public key that a statement names; None unless the CA's key signed it."""

    def certificate_problem(self, to_be_signed: bytes, facts: Mapping[str, Any]) -> str | None:
        """Where a certificate to be signed is not what its entry says beside it."""


class Stretch(NamedTuple):
    """What was found in a stretch of the chain, and where the next one begins."""

    head: Head
    problems: tuple[str, ...]


def verify_stretch(db: sqlite3.Connection, before: Head, limit: int, trust: Trust, signed_until: int) -> Stretch:
    """Checks up to ``limit`` entries after ``before``, and the index rows that follow from them. It may stop
    earlier; where it did not get on at all, ``before`` was the last entry. What comes after ``signed_until`` is of
    a commit that is under way."""
    found: list[str] = []
    try:
        if before == GENESIS and (problem := schema.problem(db)) is not None:
            found.append(f"the file {problem}")
        agreement, content = Agreement(db), _Content(db, trust)
        last = before
        for entry, problem, head in read_entries(db, before, min(limit, STRETCH_ENTRIES_MAX)):
            found += [problem] if problem else agreement.problems_with(entry)
            found += content.problems_with(entry, must_be_signed=entry.seq == signed_until)
            last = head
            if agreement.effort > _STRETCH_EFFORT:
                break
        end = last.seq if db.execute("SELECT 1 FROM entries WHERE seq > ?", (last.seq,)).fetchone() else _EVER
        found += agreement.rows_without_entry(min(before.seq + 1, _EVER) if before.seq else -_EVER, end)
        if before == GENESIS:
            found += _before_the_first(db)
    except schema.DAMAGE as error:
        return Stretch(before, (*_bounded(found), f"the file can't be read on after entry {before.seq}: {error}"))
    return Stretch(last, _bounded(found))


class Stated(NamedTuple):
    """A statement of the CA's: from entry ``seq`` on its ledger is signed by ``key``, a raw public key."""

    seq: int
    key: bytes
    text: bytes
    signature: bytes


def statements(db: sqlite3.Connection, trust: Trust) -> list[Stated]:
    """The CA's statements about ledger keys, oldest first. Raises ``sqlite3.Error``."""
    found = []
    for seq, intent, issued in db.execute(_STATEMENTS):
        # Somebody may have written nonsense: that is no statement.
        with contextlib.suppress(WireError, LookupError, TypeError, ValueError):
            text, signature = unpack(intent)["to_be_signed"], unpack(issued)["signature"]
            if (key := trust.ledger_key(text, signature)) is not None:
                found.append(Stated(seq, key, text, signature))
    return found


class _Content:
    """What entries are worth: who signed their commit, and whether certificates are what is said of them."""

    def __init__(self, db: sqlite3.Connection, trust: Trust) -> None:
        self._trust = trust
        stated = statements(db, trust)
        self._since = [one.seq for one in stated]  # from which entry on
        self._keys = [one.key for one in stated]  # which key signs

    def problems_with(self, entry: Entry, *, must_be_signed: bool) -> Iterator[str]:
        """``must_be_signed``: the entry ends the last commit."""
        if entry.seq == 1 and not self._keys:
            yield "no statement of the CA says by which key commits are signed"
        if entry.signature is not None and self._keys:
            # What came before the first statement was signed by the same key: the CA's own was another one then.
            place = max(bisect.bisect_right(self._since, entry.seq) - 1, 0)
            if not is_head_signed(self._keys[place], entry.head, entry.signature):
                yield f"the signature at entry {entry.seq} is not by the ledger key"
        elif must_be_signed:
            yield f"entry {entry.seq}, the last, is not signed by the ledger key"
        if entry.kind == Kind.INTENT and (problem := self._certificate_problem(entry.body)) is not None:
            yield f"the certificate of entry {entry.seq} is not what the entry says: {problem}"

    def _certificate_problem(self, body: bytes) -> str | None:
        try:
            facts = unpack(body)
            if facts["what"] != "certificate":
                return None
            return self._trust.certificate_problem(facts["to_be_signed"], facts)
        except (WireError, LookupError, TypeError, ValueError, AttributeError) as error:
            return f"it can't be read ({type(error).__name__})"


def _bounded(problems: list[str]) -> tuple[str, ...]:
    said = tuple(problem[:_PROBLEM_LENGTH] for problem in problems[:_PROBLEMS_MAX])
    more = len(problems) - len(said)
    return (*said, f"and {more} problems more in this stretch") if more else said


def read_entries(db: sqlite3.Connection, before: Head, limit: int) -> Iterator[tuple[Entry, str | None, Head]]:
    """The next entries after ``before``, ``limit`` at most, what is wrong with each in the chain, and what the
    one after it builds on. Raises ``sqlite3.Error``."""
    size = 0
    for seq, time, kind, body, digest, signature in db.execute(_ROWS, (before.seq, limit)):
        name = kind.decode(errors="replace") if isinstance(kind, bytes) else kind
        row = (seq, time, name, body, digest, signature)
        problem = problem_with(before, row)
        before = _stored_head(row)
        yield Entry(*row), problem, before
        size += len(body) if isinstance(body, bytes) else 0
        if size > _STRETCH_BYTES:
            return


def _stored_head(row: tuple[Any, ...]) -> Head:
    seq, time, _, _, digest, _ = row
    whole = isinstance(digest, bytes) and len(digest) == 32
    return Head(seq, time if isinstance(time, int) else 0, digest if whole else bytes(32))


def _before_the_first(db: sqlite3.Connection) -> Iterator[str]:
    for (seq,) in db.execute("SELECT seq FROM entries WHERE seq < 1 LIMIT 10"):
        yield f"entry {seq} was never recorded: the first is 1"


def apply_again(db: sqlite3.Connection, entry: Entry, read: index.ReadFact | None = None) -> str | None:
    """Has the index in ``db`` know an entry more, or says why that can't be. ``read``: where the entries before it
    are, if that is elsewhere."""
    try:
        fact = index.Fact(entry.seq, entry.time, entry.kind, unpack(entry.body))
        index.apply(db, [fact], read or index.facts_in(db))
    except WireError as error:
        return f"entry {entry.seq} can't be read: {error}"
    except sqlite3.IntegrityError as error:
        return f"entry {entry.seq} contradicts one before it: {error}"
    except (sqlite3.Error, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return f"entry {entry.seq} is not what a {entry.kind} entry is ({type(error).__name__})"
    return None


def open_at_rest(path: Path) -> sqlite3.Connection:
    """A backup, or the ledger of a signer that is stopped, as it is now, to be read only. Raises ``OSError`` if
    the file can't be opened, and ``sqlite3.Error`` if it is no database."""
    with path.open("rb"):
        pass  # what is wrong with the path is said better here than by SQLite
    # Without a write-ahead log beside it the file is all there is; then SQLite need not make one to read.
    whole = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro{whole}", uri=True, isolation_level=None)
    try:
        db.text_factory = lambda octets: octets.decode(errors="replace")  # a flipped bit is no error here
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("BEGIN")  # one state of it, whatever a signer may do meanwhile
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except UnicodeDecodeError:
        db.close()
        raise sqlite3.DatabaseError("its schema is damaged") from None
    except BaseException:
        db.close()
        raise
    return db


def named_certificate(path: Path) -> bytes:
    """The CA's certificate (DER) that the last start in the file names. Raises ``OSError``, ``sqlite3.Error``, and
    ``ValueError`` where there is none."""
    with contextlib.closing(open_at_rest(path)) as db:
        if (problem := schema.problem(db)) is not None:
            raise sqlite3.DatabaseError(f"it {problem}")
        sql = f"SELECT body FROM entries WHERE kind = '{Kind.START}' ORDER BY seq DESC LIMIT 1"  # noqa: S608 - a constant
        row = db.execute(sql).fetchone()
    try:
        return bytes(unpack(row[0])["certificate"])
    except (WireError, LookupError, TypeError):
        raise ValueError("no start of a signer is recorded") from None


class LedgerFile:
    """A backup, or the ledger of a signer that is stopped, to be verified from its first entry to its last.

    It is only read. As the stretches go on, the index is made anew beside it, in a temporary file of SQLite's;
    the last stretch tells where the two differ. ``entries`` is the seq of the last entry. ``trust``: None where
    the signer itself is asking, which looks at the end's signature when it opens the ledger.
    """

    def __init__(self, path: Path, trust: Trust | None) -> None:
        """Raises ``OSError`` if the file can't be opened, and ``sqlite3.Error`` if it is no database."""
        self._db = open_at_rest(path)
        self._trust = trust
        self._anew = sqlite3.connect("", isolation_level=None)
        try:
            self._problem = schema.problem(self._db)
            sql = "SELECT coalesce(max(seq), 0) FROM entries"
            self.entries = 0 if self._problem else int(self._db.execute(sql).fetchone()[0])
            schema.create(self._anew)
            self._anew.execute("PRAGMA journal_mode = OFF")
            self._anew.execute("BEGIN")
        except BaseException:
            self.close()
            raise
        self._last = GENESIS
        self._indexed = 0 if self._problem else index.indexed_until(self._db)

    def close(self) -> None:
        """Lets go of it."""
        self._db.close()
        self._anew.close()

    def check_next(self, limit: int) -> Stretch:
        """Checks up to ``limit`` entries more, and after the last of them the index and the file as a whole."""
        if self._problem is not None:
            return Stretch(self._last, (f"the file {self._problem}",))
        found = list(_before_the_first(self._db)) if self._last == GENESIS else []
        try:
            content = None if self._trust is None else _Content(self._db, self._trust)
            read = index.facts_in(self._db)
            for entry, problem, last in read_entries(self._db, self._last, limit):
                if self._last.seq == self._indexed:
                    found += self._compare()
                self._last = last
                if problem := problem or apply_again(self._anew, entry, read):
                    found.append(problem)
                if content is not None:
                    found += content.problems_with(entry, must_be_signed=entry.seq == self.entries)
            if self._last.seq == self.entries:
                found += self._end()
        except schema.DAMAGE as error:
            found.append(f"the file can't be read on after entry {self._last.seq}: {error}")
        return Stretch(self._last, _bounded(found))

    def _end(self) -> Iterator[str]:
        if self._indexed >= self.entries:
            yield from self._compare()
        for (verdict,) in self._db.execute(f"PRAGMA integrity_check({_PROBLEMS_MAX})"):
            if verdict != "ok":
                yield f"the file is damaged: {verdict}"

    def _compare(self) -> Iterator[str]:
        """Where the index is not what the entries up to the last that it knows make of it."""
        for table, key in schema.index_tables().items():
            in_order = f"SELECT * FROM {table} ORDER BY {', '.join(key)}"  # noqa: S608 - names of the schema
            rows, anew = self._db.execute(in_order), self._anew.execute(in_order)
            columns = [column[0] for column in rows.description]
            differences = _differences(rows, anew, [columns.index(name) for name in key])
            for found, expected in itertools.islice(differences, _PROBLEMS_MAX):
                yield f"the index is wrong about {_difference(table, columns, found, expected)}"


Row = tuple[Any, ...]


def _differences(
    rows: Iterator[Row], expected: Iterator[Row], key: list[int]
) -> Iterator[tuple[Row | None, Row | None]]:
    """The rows of one that the other does not have, in pairs where both have one with that key. Both are in
    the order of their keys."""

    def place(row: Row) -> list[tuple[str, Any]]:
        return [(type(row[index]).__name__, row[index]) for index in key]

    one, other = next(rows, None), next(expected, None)
    while one is not None or other is not None:
        if one == other:
            one, other = next(rows, None), next(expected, None)
        elif other is None or (one is not None and place(one) < place(other)):
            yield one, None
            one = next(rows, None)
        elif one is None or place(other) < place(one):
            yield None, other
            other = next(expected, None)
        else:
            yield one, other
            one, other = next(rows, None), next(expected, None)


def _difference(table: str, columns: list[str], found: Row | None, expected: Row | None) -> str:
    if found is None or expected is None:
        row = dict(zip(columns, expected or found or (), strict=True))
        said = ", ".join(f"{name} {value!r}" for name, value in row.items() if value is not None)
        return f"{table}: {'a row too many' if expected is None else 'a row is missing'} ({said})"
    wrong = [
        f"{name} is {one!r} and not {other!r}"
        for name, one, other in zip(columns, found, expected, strict=True)
        if one != other
    ]
    return f"{table}, {columns[0]} {expected[0]!r}: {', '.join(wrong)}"
