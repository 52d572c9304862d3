"""The ledger's file read by somebody else: beside a running signer, entry by entry, with the chain done by hand."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path
from typing import Any

from protocol.wire import unpack
from signerd import der


class LedgerReader:
    """Follows a ledger from its first entry on. What does not follow from what was read before is a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = bytes(32)
        self._time = 0
        self.seq = 0  # of the last entry read
        self.started = 0  # the seq of the last start
        self.intents: dict[int, dict[str, Any]] = {}  # of certificates and all else, by seq
        self.signed: set[int] = set()  # the intents that have their signature
        self.certificates: dict[int, bytes] = {}  # DER, by their intent's seq

    def follow(self) -> list[bytes]:
        """Reads what is new; returns the certificates in it."""
        with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as db:
            sql = "SELECT seq, time, kind, body, hash FROM entries WHERE seq >= ? ORDER BY seq"
            rows = db.execute(sql, (self.seq,)).fetchall()
        if self.seq:  # the entry read last must still be there, and be what it was
            assert rows, "the ledger has lost its end"
            assert rows.pop(0)[::4] == (self.seq, self._hash), "the ledger has forgotten what it held"
        return [certificate for row in rows if (certificate := self._read(*row)) is not None]

    def _read(self, seq: int, time: int, kind: str, body: bytes, digest: bytes) -> bytes | None:
        data = self._hash + seq.to_bytes(8, "big") + time.to_bytes(8, "big") + bytes([len(kind)]) + kind.encode() + body
        assert seq == self.seq + 1, f"entry {self.seq + 1} is missing"
        assert hashlib.sha256(data).digest() == digest, f"entry {seq} does not follow the one before it"
        assert time >= self._time, f"the time of entry {seq} falls"
        self.seq, self._time, self._hash = seq, time, digest
        fields = unpack(body)
        if kind == "start":
            self.started = seq
        elif kind == "intent":
            self.intents[seq] = fields
        elif kind == "issued":
            return self._read_signature(fields["intent"], fields["signature"])
        return None

    def _read_signature(self, seq: int, signature: bytes) -> bytes | None:
        assert seq not in self.signed, f"entry {seq} was signed twice"
        self.signed.add(seq)
        intent = self.intents[seq]
        if intent["what"] != "certificate":
            return None
        self.certificates[seq] = der.signed(intent["to_be_signed"], signature)
        return self.certificates[seq]

    @property
    def pending(self) -> list[int]:
        """The intents without a signature."""
        return sorted(self.intents.keys() - self.signed)

    @property
    def left_pending_by_the_start(self) -> list[int]:
        """Those of them that are older than the last start, which is to have completed them."""
        return [seq for seq in self.pending if seq < self.started]
