"""A snapshot of the ledger, made while the signer goes on issuing.

SQLite's online backup, all pages in one step: in WAL mode that is one read transaction, hence consistent,
and it does not hold up the writer. It runs in a thread, on a connection of its own.
"""

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

from protocol.errors import ErrorCode, Refused


class Snapshot:
    """A copy of the ledger at ``path``, in a private file beside it until ``close``."""

    def __init__(self, path: Path) -> None:
        self._copy = path.with_name(f"{path.name}.backup")
        self._source = path
        self._failure: str | None = None
        self.served = False  # its beginning was read: the next request for it wants a new one
        remove_snapshot(path)
        os.close(os.open(self._copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._thread = threading.Thread(target=self._make, name="backup", daemon=True)
        self._thread.start()

    def _make(self) -> None:
        try:
            source, target = (sqlite3.connect(path) for path in (self._source, self._copy))
            with contextlib.closing(source), contextlib.closing(target):
                source.backup(target, pages=-1)
        except sqlite3.Error as error:
            self._failure = str(error)

    @property
    def size(self) -> int | None:
        """Bytes; None while it is being made. Raises ``Refused``."""
        if self._thread.is_alive():
            return None
        if self._failure is not None:
            raise Refused(ErrorCode.UNAVAILABLE, f"no snapshot could be made: {self._failure}")
        return self._copy.stat().st_size

    def read(self, offset: int, length: int) -> bytes:
        """A part of it; less than ``length`` bytes at its end."""
        with self._copy.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def close(self) -> None:
        """Removes it."""
        self._thread.join()
        remove_snapshot(self._source)


def remove_snapshot(path: Path) -> None:
    """Removes what a backup that was broken off left beside the ledger at ``path``."""
    for ending in (".backup", ".backup-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
