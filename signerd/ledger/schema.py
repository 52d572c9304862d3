"""The tables of the ledger's file, and whether a file has these and nothing else.

What else somebody may have put into the file matters: SQLite runs a trigger that stands in it.
"""

import contextlib
import functools
import re
import sqlite3
from collections.abc import Iterator

from signerd.ledger import tables

_APPLICATION_ID = 0x5349474E  # "SIGN"
_FORMAT = 2
_ENTRIES = """
CREATE TABLE IF NOT EXISTS entries (
  seq INTEGER PRIMARY KEY,
  time INTEGER NOT NULL,            -- seconds since the epoch
  kind TEXT NOT NULL,
  body BLOB NOT NULL,               -- a msgpack map
  hash BLOB NOT NULL,               -- SHA-256 over the hash of the entry before, and this entry
  signature BLOB                    -- the ledger key's over the head; null but at the end of a commit
) STRICT;
"""
ENTRIES = "SELECT seq, time, kind, body, hash, signature FROM entries"  # in the order of an ``Entry``
# What reading a damaged file raises: Python can't even say what SQLite says of one, where it quotes the file.
DAMAGE = (sqlite3.Error, UnicodeDecodeError)
# ANALYZE makes these, and they change nothing but speed.
_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat*'"


def create(db: sqlite3.Connection) -> None:
    """Makes the tables in an empty database. Raises ``sqlite3.Error``."""
    db.executescript(
        f"BEGIN; PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_FORMAT};"
        f"{_ENTRIES}{tables.SCHEMA} COMMIT;"
    )


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever made in the database."""
    return not db.execute("SELECT 1 FROM sqlite_schema").fetchall()


def problem(db: sqlite3.Connection) -> str | None:
    """Why a database is no ledger, or None. Raises ``sqlite3.Error`` for what is no database."""
    if not has_entries(db):
        return "is no ledger of this version of signerd"
    if strange := sorted({str(name) for _, name, *_ in _objects(db) ^ _expected()}):
        return f"is no ledger as signerd makes it: {', '.join(strange)}"
    return None


def has_entries(db: sqlite3.Connection) -> bool:
    """Whether a database has a ledger's entries, whatever its index may be like."""
    marks = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    (entries,) = (row for row in _expected() if row[:2] == ("table", "entries"))
    return marks == (_APPLICATION_ID, _FORMAT) and entries in _objects(db)


def _objects(db: sqlite3.Connection) -> frozenset[tuple[str, ...]]:
    return frozenset((*names, _words(sql)) for *names, sql in db.execute(_OBJECTS))


def _words(sql: object) -> str:
    """A statement without what may change from one version of signerd to the next: comments, line breaks."""
    return " ".join(re.sub("--[^\n]*", " ", sql).split()) if isinstance(sql, str) else repr(sql)


@functools.cache
def index_tables() -> dict[str, tuple[str, ...]]:
    """The tables that are derived from the entries, and the columns of each one's primary key."""
    with _empty() as db:
        tables = [name for kind, name, *_ in _objects(db) if kind == "table" and name != "entries"]
        key = "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk"
        return {table: tuple(name for (name,) in db.execute(key, (table,))) for table in sorted(tables)}


@functools.cache
def _expected() -> frozenset[tuple[str, ...]]:
    with _empty() as db:
        return _objects(db)


@contextlib.contextmanager
def _empty() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        create(db)
        yield db
