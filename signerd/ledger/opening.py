"""What a ledger has to be before it is gone on with: what is read from a file is input, and here it is believed."""

import contextlib
import logging
import sqlite3
from pathlib import Path

from protocol.errors import ConfigurationError
from signerd.ledger import schema
from signerd.ledger.chain import GENESIS, Entry, Head, Kind, problem_with
from signerd.ledger.ledger_key import is_head_signed
from signerd.ledger.mark import Mark
from signerd.ledger.verify import LedgerFile, open_at_rest

_log = logging.getLogger(__name__)

_TAIL = 256  # entries whose chain is checked at each start; `ca_admin verify` checks them all
_LAG = 4096  # entries that a kill may leave the mark behind: two batches, and what follows from them
_STRETCH = 1000  # entries
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


def check_unless_left_so(path: Path, mark: Mark | None) -> None:
    """Checks a file from its first entry to its last, and that its index is what these make of it, where ``mark`` does
    not say that a signer left it here.

    The index is signed by nobody: a backup in which it has forgotten a revocation has every signature that it had. Nor
    does the end's signature say anything of older entries to who doesn't follow the chain. Raises
    ``ConfigurationError``, and ``sqlite3.Error`` and ``OSError`` where the file can't be read.
    """
    if _was_left_so(path, mark):
        return
    with contextlib.closing(LedgerFile(path, None)) as file:
        _log.warning("%s came from elsewhere: all its %d entries are checked first", path, file.entries)
        end = file.check_next(_STRETCH)
        while not end.problems and end.head.seq < file.entries:
            end = file.check_next(_STRETCH)
    if end.problems:
        raise ConfigurationError(f"the ledger is damaged: {end.problems[0]}; see `ca_admin verify`")


def _was_left_so(path: Path, mark: Mark | None) -> bool:
    """Whether the signer's mark is at the end of the file, or as far before it as a kill may leave it; or there is no
    ledger yet, or none at all, which is said when it is opened. What ends in a backup may be that backup, though
    nothing was recorded since."""
    with contextlib.closing(open_at_rest(path)) as db:
        if schema.is_empty(db) or schema.problem(db) is not None:
            return True
        if mark is None:
            return False
        last, kind = db.execute("SELECT seq, kind FROM entries ORDER BY seq DESC LIMIT 1").fetchone() or (0, "")
        marked = db.execute("SELECT hash FROM entries WHERE seq = ?", (mark.head.seq,)).fetchone()
    return marked == (mark.head.hash,) and last - mark.head.seq <= _LAG and kind != Kind.BACKUP


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


def last_start_before(db: sqlite3.Connection, seq: int) -> int:
    """The last entry ``start`` before ``seq``, which is seen to lead to the end. Raises ``ConfigurationError``."""
    sql = "SELECT coalesce(max(seq), 0) FROM entries INDEXED BY entries_start WHERE kind = 'start' AND seq < ?"
    (start,) = db.execute(sql, (seq,)).fetchone()
    check_chain(db, start - 1)
    return int(start)


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
