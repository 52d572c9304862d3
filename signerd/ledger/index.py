"""Tables for search, derived from the entries: every row follows from ``apply``, live and on a rebuild."""

import sqlite3
from typing import Any

from signerd.ledger.chain import Kind

HOLD = "certificateHold"  # the one reason that can be taken back (RFC 5280, 5.3.1)

SCHEMA = """
CREATE TABLE IF NOT EXISTS certificates (
  seq INTEGER PRIMARY KEY,          -- of the intent
  serial BLOB NOT NULL UNIQUE,      -- the ledger refuses a second one
  client TEXT NOT NULL,
  profile TEXT NOT NULL,
  subject TEXT NOT NULL,
  shard INTEGER NOT NULL,           -- of the CRL that its distribution point names
  recorded_at INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  issued INTEGER,                   -- seq of the entry with the signature; null: pending
  revoked_at INTEGER,
  reason TEXT,                      -- as RFC 5280, 5.3.1 names it
  invalidity_date INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS names (
  name TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (name, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS idempotency (
  client TEXT NOT NULL,
  key TEXT NOT NULL,
  csr BLOB NOT NULL,                -- SHA-256 of its DER
  seq INTEGER NOT NULL,
  PRIMARY KEY (client, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending (
  seq INTEGER PRIMARY KEY           -- of an intent other than a certificate's, without a signature
) STRICT;
CREATE TABLE IF NOT EXISTS state (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS certificates_pending ON certificates (seq) WHERE issued IS NULL;
CREATE INDEX IF NOT EXISTS certificates_revoked ON certificates (shard, seq) WHERE revoked_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS certificates_client ON certificates (client, seq);
CREATE INDEX IF NOT EXISTS certificates_expiry ON certificates (not_after, revoked_at);
CREATE INDEX IF NOT EXISTS certificates_held ON certificates (seq) WHERE reason = 'certificateHold';
"""


def apply(db: sqlite3.Connection, seq: int, time: int, kind: str, body: dict[str, Any]) -> None:
    """Brings the tables up to date with one entry, inside the transaction that records it."""
    match kind:
        case Kind.INTENT if body["what"] == "certificate":
            _apply_certificate(db, seq, time, body)
        case Kind.INTENT:
            db.execute("INSERT INTO pending VALUES (?)", (seq,))
        case Kind.ISSUED:
            updated = db.execute("UPDATE certificates SET issued = ? WHERE seq = ?", (seq, body["intent"]))
            if updated.rowcount == 0:
                db.execute("DELETE FROM pending WHERE seq = ?", (body["intent"],))
        case Kind.FREEZE:
            db.execute("INSERT OR REPLACE INTO state VALUES ('frozen', ?)", (body["why"] or "by an operator",))
        case Kind.THAW:
            db.execute("DELETE FROM state WHERE name = 'frozen'")


def _apply_certificate(db: sqlite3.Connection, seq: int, time: int, body: dict[str, Any]) -> None:
    db.execute(
        "INSERT INTO certificates (seq, serial, client, profile, subject, shard, recorded_at,"
        " not_before, not_after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            seq,
            body["serial"],
            body["client"],
            body["profile"],
            body["subject"],
            body["shard"],
            time,
            body["not_before"],
            body["not_after"],
        ),
    )
    db.executemany("INSERT INTO names VALUES (?, ?)", [(name, seq) for name in body["names"]])
    if body["idempotency_key"] is not None:
        db.execute(
            "INSERT INTO idempotency VALUES (?, ?, ?, ?)",
            (body["client"], body["idempotency_key"], body["csr"], seq),
        )
