"""Keys that leaked: where a certificate was revoked for keyCompromise, its key gets no other one, whoever asks.

That a key is blocked, and that it was a mistake, are entries of the ledger. Nearly every key that is looked up is not
blocked: a filter in memory says so, without a look at the ledger, which may be in the middle of an fsync.
"""

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Collection, Container, Sequence
from typing import NamedTuple

from protocol.errors import ErrorCode, Refused
from protocol.messages import UnblockReply, UnblockRequest
from signerd.ledger import Kind, Ledger
from signerd.ledger.revocations import find_for_revocation

_log = logging.getLogger(__name__)
_FILTER_BITS = 20  # 128 KiB: with 10,000 keys in it one look-up in a hundred is for nothing
SHOWN_MAX = 100  # other certificates with the same key that a reply names


class Holder(NamedTuple):
    """A certificate that has a key."""

    seq: int
    serial: bytes
    client: str
    recorded_at: int


class CompromisedKeys(Container[bytes]):
    """Those on the ledger; as a container, of their SubjectPublicKeyInfos."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._filter = bytearray(1 << _FILTER_BITS >> 3)
        for (key,) in ledger.query("SELECT spki FROM blocked_keys WHERE blocked"):
            self.note(key)

    def __contains__(self, spki: object) -> bool:
        return isinstance(spki, bytes) and self.has(hashlib.sha256(spki).digest())

    def has(self, key: bytes) -> bool:
        """Whether the key with this hash is blocked."""
        byte, bit = _place(key)
        if not self._filter[byte] & bit:
            return False
        return self._ledger.query("SELECT 1 FROM blocked_keys WHERE spki = ? AND blocked", key).fetchone() is not None

    def block(self, certificates: Sequence[int], asker: str, now: int) -> list[bytes]:
        """Blocks the keys of these certificates, named by the seqs of their intents; durable with the next commit.
        Returns the hashes of those that were not blocked before. Raises ``Refused``."""
        keys = sorted(key for key in self.keys_of(certificates) if not self.has(key))
        if keys:
            self._ledger.append(now, Kind.BLOCKED, {"keys": keys, "asker": asker})
            for key in keys:
                self.note(key)
        return keys

    def unblock(self, request: UnblockRequest, asker: str, now: int) -> UnblockReply:
        """Takes back that keys are blocked, durably. Raises ``Refused``: ``not_found`` for a serial number that no
        certificate has, ``unavailable``."""
        named = {*request.keys, *self.keys_of([self._seq_of(serial) for serial in request.serials])}
        keys = sorted(key for key in named if self.has(key))
        if keys:
            self._ledger.append(now, Kind.UNBLOCKED, {"keys": keys, "why": request.why, "asker": asker})
            self._ledger.commit()
            _log.warning("unblocked by %s: keys %s", asker, " ".join(key.hex() for key in keys))
        return UnblockReply(unblocked=len(keys), unchanged=len(named) - len(keys))

    def others(
        self, keys: Collection[bytes], now: int, limit: int, meant: Callable[[Holder], bool]
    ) -> tuple[bytes, ...]:
        """The serial numbers of the certificates with these keys that are alive, but for those that are ``meant``."""
        sql = (
            f"SELECT seq, serial, client, recorded_at FROM certificates WHERE spki IN ({', '.join('?' * len(keys))})"  # noqa: S608
            " AND not_after >= ? AND (reason IS NULL OR reason = 'certificateHold')"
        )
        holders = (Holder(*row) for row in self._ledger.query(sql, *keys, now))
        return tuple(itertools.islice((holder.serial for holder in holders if not meant(holder)), limit))

    def keys_of(self, seqs: Sequence[int]) -> set[bytes]:
        """The hashes of the keys of these certificates, named by the seqs of their intents."""
        which = "seq IN (SELECT value FROM json_each(?))"
        rows = self._ledger.query(f"SELECT spki FROM certificates WHERE {which}", json.dumps(seqs))  # noqa: S608
        found = {key for (key,) in rows}
        pruned = self._ledger.query(f"SELECT seq FROM pruned WHERE {which}", json.dumps(seqs)).fetchall()  # noqa: S608
        return found | {self._ledger.body(seq)["spki"] for (seq,) in pruned}

    def _seq_of(self, serial: bytes) -> int:
        found = find_for_revocation(self._ledger, serial.lstrip(b"\0"))
        if found is None:
            raise Refused(ErrorCode.NOT_FOUND, f"no certificate has the serial number {serial.lstrip(bytes(1)).hex()}")
        return found.seq

    def note(self, key: bytes) -> None:
        """Has the filter know a key that may be blocked from now on."""
        byte, bit = _place(key)
        self._filter[byte] |= bit


def _place(key: bytes) -> tuple[int, int]:
    """Where the filter has a key: byte and bit."""
    number = int.from_bytes(key[:4], "big") >> (32 - _FILTER_BITS)
    return number >> 3, 1 << (number & 7)
