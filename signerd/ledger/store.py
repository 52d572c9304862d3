"""The ledger's SQLite file: what is in it when ``commit`` returns survives SIGKILL and power loss.

The first failed write or fsync is final: from then on the ledger takes nothing more, and since the key
signs only what was committed, no signature leaves. Nothing is retried over a failure, because after a
failed fsync the kernel may have dropped the pages that it could not write. A restart reads what the
disk really holds and goes on from there.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.wire import pack, unpack
from signerd.ledger import index, schema
from signerd.ledger.chain import GENESIS, Entry, Head, Kind, link, problem_with
from signerd.ledger.verify import Stretch, verify_stretch

_log = logging.getLogger(__name__)

_COMMITS_AVERAGED = 16
_LITTLE_ROOM = 64 * 1024  # bytes: less than SQLite takes to open a file for writing
LOG_BYTES = 16 * 1024 * 1024  # of the write-ahead log, between backups
_TAIL = 256  # entries whose chain is checked at each start; `ca_admin verify` checks them all


class Ledger:
    """The one writer of the ledger at ``path``; ``open`` makes it where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commit_seconds = 0.0  # what a commit takes, lately
        self._failure: str | None = None
        with contextlib.ExitStack() as undo:
            self._lock = _lock(path)
            undo.callback(os.close, self._lock)
            try:
                # check_same_thread stays on: the event loop's thread is the only one that touches it.
                self._db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
                undo.callback(self._db.close)
                _prepare(self._db, path)
                self.head = self._checked_head()
            except schema.DAMAGE as error:
                raise ConfigurationError(f"{path}: not a usable ledger: {error}{_if_full(path)}") from None
            undo.pop_all()

    # --- writing ------------------------------------------------------------------------------

    def append(self, now: int, kind: Kind, body: dict[str, Any], *, exact_time: bool = False) -> int:
        """Adds an entry to the open transaction and returns its seq. Durable only after ``commit``.

        ``exact_time``: refuse (``unavailable``) when the wall clock runs behind the last entry; without
        it such an entry gets the last one's time, so that a freeze or a revocation is never held up.
        """
        if exact_time and (problem := self.problem(now)) is not None:
            raise Refused(ErrorCode.UNAVAILABLE, problem)
        packed = pack(body)
        entry = link(self.head, max(now, self.head.time), kind, packed)
        with self._final_failure():
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", entry)
            index.apply(self._db, entry.seq, entry.time, kind, body)
        self.head = entry.head
        return entry.seq

    def commit(self) -> None:
        """Makes all that was appended durable: returns after the fsync."""
        with self._final_failure():
            if self._db.in_transaction:
                before = time.perf_counter()
                self._db.execute("COMMIT")
                self.commit_seconds += (time.perf_counter() - before - self.commit_seconds) / _COMMITS_AVERAGED

    @contextlib.contextmanager
    def _final_failure(self) -> Iterator[None]:
        if self._failure is not None:
            raise Refused(ErrorCode.UNAVAILABLE, self._failure)
        try:
            yield
        except sqlite3.Error as error:
            self._failure = f"the ledger can't be written ({error}{_if_full(self.path)}); the signer needs a restart"
            _log.critical("%s", self._failure)
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            raise Refused(ErrorCode.UNAVAILABLE, self._failure) from None

    def problem(self, now: int) -> str | None:
        """Why nothing can be issued at ``now``: a failed write, or a clock behind the last entry; or None."""
        if self._failure is None and now < self.head.time:
            return f"the clock is {self.head.time - now} s behind the last entry of the ledger"
        return self._failure

    @property
    def failure(self) -> str | None:
        """Why the ledger takes no more entries, or None."""
        return self._failure

    def close(self) -> None:
        """Commits what is open and closes the file."""
        with contextlib.suppress(Refused):
            self.commit()
        self._db.close()
        os.close(self._lock)

    # --- reading ------------------------------------------------------------------------------

    def query(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """A read over the entries and the index tables; sees what was appended and not yet committed."""
        return self._db.execute(sql, parameters)

    def query_named(self, sql: str, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        """The same with named parameters."""
        return self._db.execute(sql, parameters)

    def entry(self, seq: int) -> Entry:
        """The entry ``seq``. Raises ``KeyError``."""
        row = self.query("SELECT seq, time, kind, body, hash FROM entries WHERE seq = ?", seq).fetchone()
        if row is None:
            raise KeyError(seq)
        return Entry(*row)

    def body(self, seq: int) -> dict[str, Any]:
        """The body of the entry ``seq``, decoded. Raises ``KeyError``."""
        return unpack(self.entry(seq).body)

    def pending_intents(self) -> list[int]:
        """The seqs of the intents without a signature, oldest first."""
        pending = "SELECT seq FROM certificates WHERE issued IS NULL UNION SELECT seq FROM pending ORDER BY seq"
        return [row[0] for row in self.query(pending)]

    def verify_stretch(self, before: Head, limit: int) -> Stretch:
        """Checks up to ``limit`` entries after ``before``; see ``signerd.ledger.verify``."""
        stretch = verify_stretch(self._db, before, limit)
        at_the_end = stretch.head.seq in {before.seq, self.head.seq}
        if at_the_end and stretch.head[::2] != self.head[::2]:
            problem = f"the end is not what it was: the signer has recorded entry {self.head.seq}"
            return stretch._replace(problems=(*stretch.problems, problem))
        return stretch

    @property
    def size(self) -> int:
        """Bytes on the disk: the file, and the write-ahead log beside it."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def first_seq_after(self, time: int) -> int:
        """The seq of the first entry later than ``time``; one past the last if there is none."""
        low, high = 1, self.head.seq + 1
        while low < high:  # the times never fall
            middle = (low + high) // 2
            # Or the next one, should it be missing: `ca_admin verify` is what complains of that.
            sql = "SELECT seq, time FROM entries WHERE seq >= ? ORDER BY seq LIMIT 1"
            seq, found = self.query(sql, middle).fetchone()
            low, high = (low, middle) if found > time else (seq + 1, high)
        return low

    def state(self, name: str) -> str | None:
        """A value of the index's state table."""
        row = self.query("SELECT value FROM state WHERE name = ?", name).fetchone()
        return None if row is None else str(row[0])

    def state_seq(self, name: str) -> int:
        """The entry that this value follows from; 0 if there is none."""
        row = self.query("SELECT seq FROM state WHERE name = ?", name).fetchone()
        return 0 if row is None else int(row[0])

    def _checked_head(self) -> Head:
        """The last entry's head, after a look at the chain of the last entries."""
        rows = self.query(
            "SELECT seq, time, kind, body, hash FROM entries ORDER BY seq DESC LIMIT ?", _TAIL + 1
        ).fetchall()[::-1]
        if not rows:
            return GENESIS
        before = Entry(*rows.pop(0)).head if len(rows) > _TAIL else GENESIS
        for row in rows:
            if (problem := problem_with(before, row)) is not None:
                raise ConfigurationError(f"the ledger is damaged: {problem}; see `ca_admin verify`")
            before = Entry(*row).head
        return before


def _if_full(path: Path) -> str:
    """A word on the disk, where that is why: SQLite calls it an I/O error when it can't make a file."""
    with contextlib.suppress(OSError):
        status = os.statvfs(path.parent)
        if status.f_bavail * status.f_frsize < _LITTLE_ROOM:
            return "; the disk is full"
    return ""


def _lock(path: Path) -> int:
    """A descriptor that holds the lock of the ledger: a second writer would fork the chain."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}.lock: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigurationError(f"{path} is in use by another ca_signerd") from None
    return descriptor


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA trusted_schema = OFF")
    empty = schema.is_empty(db)
    if not empty and (problem := schema.problem(db)) is not None:
        raise ConfigurationError(f"{path} {problem}")
    # Not before that: it writes to the file, which may be somebody else's.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # an fsync of the write-ahead log at each commit
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")  # what it grew by during a backup is given back
    if empty:
        schema.create(db)
