"""A new ledger from the entries of an old one, whatever state the old one's index is in."""

import contextlib
import os
import sqlite3
from pathlib import Path

from signerd.files import sync_directory
from signerd.ledger import schema
from signerd.ledger.chain import GENESIS
from signerd.ledger.verify import apply_again, open_at_rest, read_entries

_STRETCH = 1000  # entries


def rebuild(source: Path, target: Path) -> int:
    """Writes a ledger with the entries of ``source`` and the index that follows from them to the new file
    ``target``, durably, and returns how many entries there are. The signer of ``source`` is to be stopped.

    Raises ``ValueError`` where an entry is not what was recorded: from that no index should be made; and
    ``OSError`` or ``sqlite3.Error``. Then there is no ``target``.
    """
    with contextlib.closing(open_at_rest(source)) as old:
        if not schema.has_entries(old):
            raise ValueError("it is no ledger of this version of signerd")
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as new:
                entries = _copy(old, new)
            _sync(target)
        except BaseException:
            target.unlink()
            raise
    return entries


def _copy(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    new.execute("PRAGMA journal_mode = OFF")  # a target that is not finished is removed
    new.execute("PRAGMA synchronous = OFF")
    schema.create(new)
    new.execute("BEGIN")
    last, before = GENESIS, None
    while last != before:
        before = last
        for entry, problem, head in read_entries(old, before, _STRETCH):
            new.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", entry)
            if problem := problem or apply_again(new, entry):
                raise ValueError(problem)
            last = head
    new.execute("COMMIT")
    return last.seq


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)
