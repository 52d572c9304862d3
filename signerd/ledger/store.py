"""The ledger's SQLite file: what is in it when ``commit`` returns survives SIGKILL and power loss.

The first failed write or fsync is final: from then on the ledger takes nothing more, and since the key
signs only what was committed, no signature leaves. Nothing is retried over a failure, because after a
failed fsync the kernel may have dropped the pages that it could not write. A restart reads what the
disk really holds and goes on from there.

A commit may go on beside the loop, which meanwhile prepares what comes next: whatever needs the file waits for it.

What is durable is the entries. The index follows them when it is read, when there is a moment for it, or when
it has fallen behind by so much; and a start brings it up to date.

The last entry of each commit is signed by the ledger key. A ledger whose end is not, or whose entries from the
first pending intent on don't lead to that end, is not opened: what ``signerd.key`` signs again after a crash is what
this signer itself recorded. A ledger that went further than it now does (``signerd.ledger.mark``) is opened, and
takes nothing until an operator has accepted that. One that came from elsewhere is checked as a whole first.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.wire import pack, unpack
from signerd.histogram import CommitTimes
from signerd.ledger import index, schema
from signerd.ledger.chain import Entry, Head, Kind, link
from signerd.ledger.file import bytes_on_disk, check_guarded, if_full, lock, prepare
from signerd.ledger.index import Fact
from signerd.ledger.ledger_key import LedgerKey
from signerd.ledger.mark import MarkFile, ReadBoot, no_boot
from signerd.ledger.opening import check_chain, check_unless_left_so, checked_head, last_start_before, lost
from signerd.ledger.space import Space
from signerd.ledger.times import Times
from signerd.ledger.verify import Stretch, Trust, apply_again, verify_stretch
from signerd.ledger.weight import packed_rows, rows, written
from signerd.second_thread import SecondThread

_log = logging.getLogger(__name__)

_BACKLOG = 512  # entries, at which the index is brought up to date, which takes some 4 ms,
_BACKLOG_ROWS = 8192  # or rows of it, where there are many names
_RECOVERED = ("certificates", "ledger_keys")  # the tables of what is signed again after a crash


class Ledger:
    """The one writer of the ledger at ``path``, which is made where it is missing. ``close`` when done.

    ``key`` signs its commits, and has signed the last, unless that was ``signed_by`` another (its raw public key).
    ``boot`` is what the mark says of the moment.
    """

    def __init__(self, path: Path, key: LedgerKey, boot: ReadBoot = no_boot, signed_by: bytes | None = None) -> None:
        self.path = path
        self.commits = CommitTimes()
        self.key = key
        self._boot, self._moment = boot, boot()  # and when the time of the last entry was
        self._failure: str | None = None
        self._commits = SecondThread("commit")
        self._commit_under_way: tuple[Future[float], Head] | None = None  # and the last entry in it
        self._unwritten: list[Entry] = []  # appended, and neither committed nor read yet
        self._backlog: list[Fact] = []  # what the index does not know yet
        self._backlog_rows = 0  # that the index gets by it
        self._serials: set[bytes] = set()  # of the certificates in there
        self.space = Space(path)
        self.space.make_room()
        with contextlib.ExitStack() as undo:
            check_guarded(path)
            self._lock = lock(path)
            undo.callback(os.close, self._lock)
            self._mark = MarkFile(path)
            undo.callback(self._mark.close)
            self.mark = self._mark.read()  # when it was opened
            try:
                # Before SQLite has it open: to close it again here would take that one's locks away (fcntl(2)).
                check_unless_left_so(path, self.mark)
                # Of the event loop's thread, but for a commit that is under way: see ``_db``.
                self._connection = sqlite3.connect(
                    path, isolation_level=None, cached_statements=64, check_same_thread=False
                )
                undo.callback(self._connection.close)
                prepare(self._db, path)
                self.head = self._durable = checked_head(self._db, path, signed_by or key.public)
                self._catch_up()
                self._db.execute("COMMIT")
                if pending := self.pending_intents():  # it may lie further back than what was checked
                    check_chain(self._db, pending[0] - 1)
                self.times = Times(self)
                self.lost = lost(self._db, self.head, self.mark)
            except schema.DAMAGE as error:
                raise ConfigurationError(f"{path}: not a usable ledger: {error}{if_full(path)}") from None
            undo.pop_all()

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection, once no commit is under way."""
        self.wait()
        return self._connection

    # --- writing ------------------------------------------------------------------------------

    def append(self, now: int, kind: Kind, body: dict[str, Any]) -> int:
        """Adds an entry to the open transaction and returns its seq. Durable only after ``commit``.

        The times rise: where ``now`` lies before the last entry, the entry gets that one's time. ``Kind.CLOCK``
        alone is dated as it is said. Raises ``Refused`` (``unavailable``).
        """
        if (problem := self.problem) is not None:
            raise Refused(ErrorCode.UNAVAILABLE, problem)
        entry = link(self.head, now if kind is Kind.CLOCK else max(now, self.head.time), kind, pack(body))
        self._unwritten.append(entry)
        self._backlog.append(Fact(entry.seq, entry.time, kind, body))
        self._backlog_rows += rows(body)
        if entry.time != self.head.time or kind is Kind.CLOCK:
            self._moment = self._boot()
        self.head = entry.head
        return entry.seq

    def accept(self, now: int, body: dict[str, Any]) -> None:
        """Takes the ledger as it is, though its end went missing; durable when it returns. Raises ``Refused``."""
        lost, self.lost = self.lost, None
        self.append(now, Kind.ACCEPTED, {**body, "why": lost, "mark": self.mark and [*self.mark.head[::2]]})
        self.commit()

    def commit(self, *, then: Callable[[], None] | None = None) -> None:
        """Makes all that was appended durable: returns after the fsync. With ``then`` it returns at once; whatever
        needs the file waits for the fsync, and after it ``then`` is called, in another thread."""
        with self._final_failure():
            self._write(sign=True)
            if len(self._backlog) >= _BACKLOG or self._backlog_rows >= _BACKLOG_ROWS:
                self._index(index.settled(self._backlog))
            if self._db.in_transaction:
                if then is None:
                    self._committed(self._commit_now(), self.head)
                else:
                    outcome = self._commits.begin(self._commit_now)
                    self._commit_under_way = outcome, self.head
                    outcome.add_done_callback(lambda _: then())
            elif then is not None:
                then()

    @property
    def is_committing(self) -> bool:
        """Whether an fsync is under way."""
        return self._commit_under_way is not None and not self._commit_under_way[0].done()

    def _commit_now(self) -> float:
        before = time.perf_counter()
        self._connection.execute("COMMIT")
        return time.perf_counter() - before

    def _committed(self, seconds: float, last: Head) -> None:
        self.commits.took(seconds)
        self._durable = last
        with contextlib.suppress(OSError):  # then it says that the ledger went less far: no harm
            self._mark.write(last, self._moment)

    def wait(self) -> None:
        """Waits for the commit that is under way. What goes wrong with it shows as ``failure``."""
        if self._commit_under_way is not None:
            (outcome, last), self._commit_under_way = self._commit_under_way, None
            try:
                self._committed(outcome.result(), last)
            except sqlite3.Error as error:
                self._fail(error)

    def ensure_durable(self, seq: int) -> None:
        """Returns when this entry is durable. Raises ``Refused`` if it can't be."""
        if seq > self._durable.seq:
            self.wait()
        if seq > self._durable.seq:
            self.commit()

    def settle(self) -> None:
        """Commits, with the index brought up to date."""
        with self._final_failure():
            self._index_all()
        self.commit()

    def _write(self, *, sign: bool = False) -> None:
        """Writes what was appended; with ``sign`` it is the end of a commit."""
        is_signed = False
        if self._unwritten:
            if sign:
                self._unwritten[-1] = self._unwritten[-1]._replace(signature=self.key.sign_head(self.head))
                is_signed = True
            self._begin()
            self._claim_serials()
            self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", self._unwritten)
            self._unwritten.clear()
        if sign and not is_signed and self.head.seq > self._durable.seq:  # a read had it written before
            signed = self.key.sign_head(self.head), self.head.seq
            self._db.execute("UPDATE entries SET signature = ? WHERE seq = ?", signed)

    def _claim_serials(self) -> None:
        """Sees to it that no certificate before those that are about to be recorded had one of their serials."""
        new = [
            fact.body["serial"]
            for fact in self._backlog[len(self._backlog) - len(self._unwritten) :]
            if index.is_certificate(fact)
        ]
        before = len(self._serials)
        self._serials.update(new)
        if len(self._serials) < before + len(new) or (new and index.any_known(self._db, new)):
            raise sqlite3.IntegrityError("another certificate has the serial number")

    def _index(self, count: int) -> None:
        """Has the index know so many entries of the backlog."""
        if count:
            self._begin()
            index.apply(self._db, self._backlog[:count], index.facts_in(self._connection))
            del self._backlog[:count]
            self._backlog_rows = sum(rows(fact.body) for fact in self._backlog)
            self._serials = {fact.body["serial"] for fact in self._backlog if index.is_certificate(fact)}

    def _index_all(self) -> None:
        self._write()
        self._index(len(self._backlog))

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self.space.make_room(lambda: written(self._backlog_rows, self.size))
            self._db.execute("BEGIN IMMEDIATE")

    def _catch_up(self) -> None:
        """Has the index know what was recorded since. Raises ``sqlite3.Error``, ``ConfigurationError``."""
        problem, indexed = None, index.indexed_until(self._db)
        if indexed > self.head.seq:
            problem = f"the index knows entry {indexed}, and the last is {self.head.seq}"
        behind = self._db.execute(f"{schema.ENTRIES} WHERE seq > ? ORDER BY seq", (indexed,)).fetchall()
        self.space.make_room(lambda: written(sum(packed_rows(row[3]) for row in behind), self.size))
        self._begin()
        for row in behind:
            problem = problem or apply_again(self._db, Entry(*row))
        if problem is not None:
            raise ConfigurationError(f"the ledger is damaged: {problem}; see `ca_admin verify`")

    @contextlib.contextmanager
    def _final_failure(self) -> Iterator[None]:
        self.wait()
        if self._failure is not None:
            raise Refused(ErrorCode.UNAVAILABLE, self._failure)
        try:
            yield
        except sqlite3.Error as error:
            self._fail(error)
            raise Refused(ErrorCode.UNAVAILABLE, str(self._failure)) from None

    def _fail(self, error: sqlite3.Error) -> None:
        """Takes nothing more, and goes back to what is durable: reads, which go on, see the index of that, in a
        transaction that is never committed."""
        self._failure = f"the ledger can't be written ({error}{if_full(self.path)}); the signer needs a restart"
        _log.critical("%s", self._failure)
        self._unwritten.clear()
        self._backlog.clear()
        self._backlog_rows = 0
        with contextlib.suppress(sqlite3.Error):
            self._db.rollback()
            try:
                self._catch_up()
            except (sqlite3.Error, ConfigurationError):
                self._db.rollback()

    @property
    def problem(self) -> str | None:
        """Why the ledger takes no more entries: a failed write, or an end that went missing; or None."""
        return self._failure or self.lost

    def close(self) -> None:
        """Commits what is open and closes the file."""
        with contextlib.suppress(Refused):
            self.settle()
        self._commits.close()
        self._db.close()
        self._mark.close()
        os.close(self._lock)

    # --- reading ------------------------------------------------------------------------------

    def query(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """A read over the entries and the index tables; sees what was appended and not yet committed."""
        self._show_all()
        return self._db.execute(sql, parameters)

    def query_named(self, sql: str, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        """The same with named parameters."""
        self._show_all()
        return self._db.execute(sql, parameters)

    def _show_all(self) -> None:
        """Writes what a read is to see; where that fails, the read sees what is durable."""
        if self._backlog:
            with contextlib.suppress(Refused), self._final_failure():
                self._index_all()

    def has_certificate(self, serial: bytes) -> bool:
        """Whether a certificate with this serial number was ever recorded, be it pruned since."""
        return serial in self._serials or index.any_known(self._db, [serial])

    def entry(self, seq: int) -> Entry:
        """The entry ``seq``. Raises ``KeyError``."""
        row = self.query(f"{schema.ENTRIES} WHERE seq = ?", seq).fetchone()
        if row is None:
            raise KeyError(seq)
        return Entry(*row)

    def body(self, seq: int) -> dict[str, Any]:
        """The body of the entry ``seq``, decoded. Raises ``KeyError``."""
        return unpack(self.entry(seq).body)

    def pending_intents(self) -> list[int]:
        """The seqs of the intents that a client may be waiting for, or the ledger itself: certificates and the ledger
        key's statements without a signature, oldest first. All else is made anew instead."""
        pending = "SELECT seq FROM {} WHERE issued IS NULL"
        return [row[0] for row in self.query(" UNION ".join(map(pending.format, _RECOVERED)) + " ORDER BY seq")]

    def last_start_before(self, seq: int) -> int:
        """The last entry ``start`` before ``seq``, which was seen to lead to the end. Raises ``ConfigurationError``."""
        return last_start_before(self._db, seq)

    def verify_stretch(self, before: Head, limit: int, trust: Trust) -> Stretch:
        """Checks up to ``limit`` entries after ``before``; see ``signerd.ledger.verify``."""
        self._show_all()
        stretch = verify_stretch(self._db, before, limit, trust, signed_until=self._durable.seq)
        at_the_end = stretch.head.seq in {before.seq, self.head.seq}
        if at_the_end and stretch.head[::2] != self.head[::2]:
            problem = f"the end is not what it was: the signer has recorded entry {self.head.seq}"
            return stretch._replace(problems=(*stretch.problems, problem))
        return stretch

    @property
    def size(self) -> int:
        """Bytes on the disk: the file, and the write-ahead log beside it."""
        return bytes_on_disk(self.path)

    def state(self, name: str) -> str | None:
        """A value of the index's state table."""
        row = self.query("SELECT value FROM state WHERE name = ?", name).fetchone()
        return None if row is None else str(row[0])

    def state_seq(self, name: str) -> int:
        """The entry that this value follows from; 0 if there is none."""
        row = self.query("SELECT seq FROM state WHERE name = ?", name).fetchone()
        return 0 if row is None else int(row[0])
