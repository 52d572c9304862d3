"""A new ledger from the entries of an old one, whatever state the old one's index is in."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from signerd.ledger import schema
from signerd.ledger.chain import GENESIS
from signerd.ledger.verify import apply_again, open_at_rest, read_entries

_STRETCH = 1000  # entries


def rebuild(source: Path, target: Path, at: Callable[[int, int], None] = lambda _done, _total: None) -> int:
    """Writes a ledger with the entries of ``source`` and the index that follows from them to the empty file
    ``target``, which the caller makes durable, and returns how many entries there are. The signer of ``source``
    is to be stopped. ``at`` is told now and then how many entries of how many are done.

    Raises ``ValueError`` where an entry is not what was recorded: from that no index should be made; and
    ``OSError`` or ``sqlite3.Error``. Then ``target`` is of no use.
    """
    with contextlib.closing(open_at_rest(source)) as old:
        if not schema.has_entries(old):
            raise ValueError("it is no ledger of this version of signerd")
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as new:
            return _copy(old, new, at)


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, at: Callable[[int, int], None]) -> int:
    (total,) = old.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
    new.execute("PRAGMA journal_mode = OFF")  # a target that is not finished is of no use
    new.execute("PRAGMA synchronous = OFF")
    schema.create(new)
    new.execute("BEGIN")
    last, before = GENESIS, None
    while last != before:
        before = last
        for entry, problem, head in read_entries(old, before, _STRETCH):
            new.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", entry)
            if problem := problem or apply_again(new, entry):
                raise ValueError(problem)
            last = head
        at(last.seq, total)
    new.execute("COMMIT")
    return last.seq
