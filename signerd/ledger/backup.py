"""Backups: a snapshot of the ledger, made while the signer goes on issuing, and read in parts.

SQLite's online backup under one read transaction: in WAL mode that is the ledger as of one moment, and holds
up no writer. It runs in a thread, on a connection of its own, in small steps. The copy stands beside the
ledger until it is whole; then its name is removed, and the open file is read: whatever ends the signer, no
copy stays behind but one that was half made, which the next start removes.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from pathlib import Path
from urllib.parse import quote

from protocol.errors import ErrorCode, Refused
from signerd.ledger.chain import Kind
from signerd.ledger.file import bytes_on_disk
from signerd.ledger.store import Ledger

_log = logging.getLogger(__name__)

PART_BYTES = 192 * 1024  # in a reply: below the frame's cap
IDLE_SECONDS = 60  # without a request, until a snapshot is given up
_RESERVE_BYTES = 64 * 1024 * 1024  # of the disk, that a snapshot leaves to the ledger
_STEP_PAGES = 256  # 1 MiB
_STEP_PAUSE = 0.001  # seconds: the disk is the ledger's too


class Backups:
    """The one snapshot that there is at a time. Of one thread, but for the making."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._snapshot: _Snapshot | None = None
        _copy_of(ledger.path).unlink(missing_ok=True)

    def part(self, asker: object, offset: int, record: dict[str, str], now: int) -> tuple[int | None, bytes]:
        """The size of the snapshot, None while it is being made, and what it holds from ``offset`` on.

        Offset 0 begins a new one, with ``record`` as its entry's body, unless this ``asker``'s is being made.
        With the last part it is gone. ``asker`` is one object for one connection: parts of two snapshots would
        make no ledger. Raises ``Refused``.
        """
        snapshot = self._snapshot
        if snapshot is not None and snapshot.asker is not asker:
            if now - snapshot.last_asked < IDLE_SECONDS:
                raise Refused(ErrorCode.BUSY, "another backup is under way")
            snapshot = None
        if offset == 0 and (snapshot is None or snapshot.is_served):
            snapshot = self._begin(asker, record, now)
        if snapshot is None:
            raise Refused(ErrorCode.NOT_FOUND, "there is no snapshot of yours: begin at offset 0")
        snapshot.last_asked = now
        try:
            total, data = snapshot.part(offset)
        except Refused:
            self.close()
            raise
        if total is not None and offset + len(data) >= total:
            self.close()
        return total, data

    def give_up_idle(self, now: int) -> None:
        """Removes a snapshot that nobody asks for any more."""
        if self._snapshot is not None and now - self._snapshot.last_asked >= IDLE_SECONDS:
            _log.warning("a backup was not fetched to its end")
            self.close()

    def close(self) -> None:
        """Removes the snapshot, if there is one."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    def _begin(self, asker: object, record: dict[str, str], now: int) -> "_Snapshot":
        self.close()
        _check_space(self._ledger.path)
        self._ledger.append(now, Kind.BACKUP, record)
        self._ledger.settle()  # what the snapshot's own connection is to see
        self._snapshot = _Snapshot(self._ledger.path, asker)
        return self._snapshot


class _Snapshot:
    """A copy of the ledger at ``path``, for one asker."""

    def __init__(self, path: Path, asker: object) -> None:
        self.asker = asker
        self.last_asked = 0
        self.is_served = False  # its beginning was read: the next request for it wants a new one
        self._path = path
        self._copy = _copy_of(path)
        self._file: int | None = None
        self._failure: str | None = None
        self._given_up = threading.Event()
        # Nobody else may read it, from its first moment on.
        os.close(os.open(self._copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._thread = threading.Thread(target=self._make, name="backup", daemon=True)
        self._thread.start()

    def _make(self) -> None:
        try:
            self._copy_all()
            self._file = os.open(self._copy, os.O_RDONLY | os.O_CLOEXEC)
        except sqlite3.Error as error:
            self._failure = str(error)
        except OSError as error:
            self._failure = error.strerror or "it was given up"
        finally:
            self._copy.unlink(missing_ok=True)

    def _copy_all(self) -> None:
        source = sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True, isolation_level=None)
        target = sqlite3.connect(self._copy, isolation_level=None)
        with contextlib.closing(source), contextlib.closing(target):
            for pragma in ("journal_mode = OFF", "synchronous = OFF"):
                target.execute(f"PRAGMA {pragma}")
            source.execute("BEGIN")  # without it each step would see another moment, and begin anew
            source.execute("SELECT 1 FROM entries LIMIT 1").fetchone()
            source.backup(target, pages=_STEP_PAGES, progress=self._after_step)

    def _after_step(self, _status: int, _remaining: int, _total: int) -> None:
        if self._given_up.wait(_STEP_PAUSE):
            raise InterruptedError

    def part(self, offset: int) -> tuple[int | None, bytes]:
        """As ``Backups.part``."""
        if self._thread.is_alive():
            return None, b""
        if self._file is None:
            _log.error("no snapshot could be made: %s", self._failure)
            raise Refused(ErrorCode.UNAVAILABLE, f"no snapshot could be made: {self._failure}")
        self.is_served = True
        total = os.fstat(self._file).st_size
        return total, os.pread(self._file, PART_BYTES, min(offset, total))

    def close(self) -> None:
        self._given_up.set()
        self._thread.join()  # which takes one step at most
        if self._file is not None:
            os.close(self._file)


def _copy_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.backup")


def _check_space(path: Path) -> None:
    """Raises ``Refused`` where a copy would leave the ledger too little room: a full disk ends issuance."""
    disk = os.statvfs(path.parent)
    needed = bytes_on_disk(path)
    needed += needed // 2 + _RESERVE_BYTES  # the write-ahead log grows for as long as the snapshot is being made
    if disk.f_bavail * disk.f_frsize < needed:
        raise Refused(ErrorCode.UNAVAILABLE, f"a snapshot needs {needed >> 20} MiB on the ledger's disk, and has less")
