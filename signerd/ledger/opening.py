"""What a ledger has to be before it is gone on with: what is read from a file is input, and here it is believed."""

import contextlib
import sqlite3
from pathlib import Path

from protocol.errors import ConfigurationError
from signerd.ledger import schema
from signerd.ledger.chain import GENESIS, Entry, Head, problem_with
from signerd.ledger.ledger_key import is_head_signed
from signerd.ledger.mark import Mark
from signerd.ledger.verify import open_at_rest

_TAIL = 256  # entries whose chain is checked at each start; `ca_admin verify` checks them all
_ACCEPT = "Restore it, or accept it as it is by `ca_admin accept`"


def is_new(path: Path) -> bool:
    """Whether there is no entry at ``path`` yet, as far as can be told. What else may be wrong with the file is said
    when it is opened."""
    try:
        with contextlib.closing(open_at_rest(path)) as db:
            return schema.is_empty(db) or not db.execute("SELECT 1 FROM entries LIMIT 1").fetchall()
    except FileNotFoundError:
        return True
    except (OSError, *schema.DAMAGE):
        return False


def checked_head(db: sqlite3.Connection, path: Path, signed_by: bytes) -> Head:
    """The last entry's head, after a look at the chain of the last entries and at the signature over it, which is to
    be by the raw public key ``signed_by``. Raises ``ConfigurationError`` and ``sqlite3.Error``."""
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
    head = check_chain(db, last - _TAIL)
    row = db.execute("SELECT signature FROM entries WHERE seq = ?", (head.seq,)).fetchone()
    if row is not None and not is_head_signed(signed_by, head, row[0]):
        raise ConfigurationError(
            f"{path}: the last entry, {head.seq}, is not signed by this CA's ledger key: somebody else wrote it, or the"
            " key is another ledger's; see `ca_admin verify`"
        )
    return head


def check_chain(db: sqlite3.Connection, after: int) -> Head:
    """Checks that each entry after ``after`` follows from the one before, and returns the last one's head. Raises
    ``ConfigurationError`` and ``sqlite3.Error``."""
    before, check = GENESIS, after < 1
    for row in db.execute(f"{schema.ENTRIES} WHERE seq >= ? ORDER BY seq", (after,)):
        if check and (problem := problem_with(before, row)) is not None:
            raise ConfigurationError(f"the ledger is damaged: {problem}; see `ca_admin verify`")
        before, check = Entry(*row).head, True
    return before


def lost(db: sqlite3.Connection, head: Head, mark: Mark | None) -> str | None:
    """Why the file is not all that there was, by the mark beside it; or None."""
    if mark is None or mark.head.seq == 0:
        return None
    had = mark.head
    if had.seq > head.seq:
        return (
            f"the ledger ends at entry {head.seq}, and once went to entry {had.seq}: the end went missing, or an older"
            f" ledger was put in its place. {_ACCEPT}"
        )
    row = db.execute("SELECT hash FROM entries WHERE seq = ?", (had.seq,)).fetchone()
    if row != (had.hash,):
        return (
            f"entry {had.seq} is not the one that was recorded here: another ledger was put in place of this one."
            f" {_ACCEPT}"
        )
    return None
