"""The ledger's file as SQLite opens it, and the lock that keeps a second signer off it."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from protocol.errors import ConfigurationError
from signerd.files import refuse_unless_guarded
from signerd.ledger import schema

LOG_BYTES = 16 * 1024 * 1024  # of the write-ahead log, between backups
_LITTLE_ROOM = 64 * 1024  # bytes: less than SQLite takes to open a file for writing


def if_full(path: Path) -> str:
    """A word on the disk, where that is why: SQLite calls it an I/O error when it can't make a file."""
    with contextlib.suppress(OSError):
        status = os.statvfs(path.parent)
        if status.f_bavail * status.f_frsize < _LITTLE_ROOM:
            return "; the disk is full"
    return ""


def bytes_on_disk(path: Path) -> int:
    """What the ledger takes: its file, and the write-ahead log beside it."""
    return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists())


def check_guarded(path: Path) -> None:
    """Sees to it that nobody else can write the ledger, put another in its place, or read it: raises
    ``ConfigurationError``, and makes the file where it is missing (what SQLite makes beside it has its mode)."""
    is_open = False  # whether others may enter the directory
    with contextlib.suppress(FileNotFoundError):
        status = path.parent.stat()
        refuse_unless_guarded(path.parent, status, secret=False)
        is_open = bool(status.st_mode & 0o011)
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}.mark")):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            refuse_unless_guarded(file, file.stat(), secret=is_open)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def lock(path: Path) -> int:
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


@contextlib.contextmanager
def without_signer(path: Path) -> Iterator[None]:
    """Keeps signers off the ledger, for what reads it as it is at rest. Beside a backup there is no lock, and none
    is made. Raises ``BlockingIOError`` where a signer has the ledger open, and ``OSError``."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            file = stack.enter_context(Path(f"{path}.lock").open("rb"))
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Makes the tables where the file is new; else sees to it that it is a ledger. Raises ``sqlite3.Error`` and
    ``ConfigurationError``."""
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
