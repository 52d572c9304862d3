"""What an entry is, and the hash that binds it to the one before it. Pure functions."""

import enum
import hashlib
import struct
from typing import Any, NamedTuple

_FIXED = struct.Struct(">32sQQB")  # the hash before, seq, time, length of the kind's name


class Kind(enum.StrEnum):
    """What an entry records. The names are part of the hash: they are never renamed."""

    START = "start"  # the signer came up, with which certificate
    POLICY = "policy"  # a policy came into force
    INTENT = "intent"  # these bytes are about to be signed
    ISSUED = "issued"  # and this is the signature
    REFUSED = "refused"  # by a quota, or by the circuit breaker
    REVOKED = "revoked"  # by an operator, or by the holder of the key
    RELEASED = "released"  # from a certificateHold
    BLOCKED = "blocked"  # keys that leaked, and get no certificate any more
    UNBLOCKED = "unblocked"  # and some that had not
    FREEZE = "freeze"
    THAW = "thaw"
    BACKUP = "backup"  # a snapshot was taken
    PRUNED = "pruned"  # expired certificates left the index
    CLOCK = "clock"  # from here on the times follow another clock: the only entry whose time may fall
    ACCEPTED = "accepted"  # an operator took the ledger as it is, though its end had gone missing


_KINDS = frozenset(Kind)


class Head(NamedTuple):
    """The last entry's place in the chain: what a checkpoint states, and the next entry builds on."""

    seq: int
    time: int  # seconds since the epoch
    hash: bytes


GENESIS = Head(0, 0, bytes(32))


class Entry(NamedTuple):
    """One fact. ``body`` is a msgpack map; ``hash`` covers all of it and the hash before. The last entry of a commit
    has the ledger key's ``signature`` over its head (``signerd.ledger.ledger_key``)."""

    seq: int
    time: int
    kind: str
    body: bytes
    hash: bytes
    signature: bytes | None = None

    @property
    def head(self) -> Head:
        """The chain's head, were this the last entry."""
        return Head(self.seq, self.time, self.hash)


def link(before: Head, time: int, kind: str, body: bytes) -> Entry:
    """The entry that follows ``before``."""
    return Entry(before.seq + 1, time, kind, body, entry_hash(before.hash, before.seq + 1, time, kind, body))


def entry_hash(before: bytes, seq: int, time: int, kind: str, body: bytes) -> bytes:
    """SHA-256 over the hash before, seq, time, kind and body, each of which has one reading only."""
    name = kind.encode()
    return hashlib.sha256(_FIXED.pack(before, seq, time, len(name)) + name + body).digest()


def problem_with(before: Head, row: tuple[Any, ...]) -> str | None:
    """What is wrong with ``row``, an entry's fields, as the entry that follows ``before``, or None."""
    seq, time, kind, body, digest, _ = row
    if seq != before.seq + 1:
        return f"entry {before.seq + 1} is missing: {seq} follows {before.seq}"
    if not (isinstance(time, int) and isinstance(kind, str) and isinstance(body, bytes)):
        return f"entry {seq} has a field of another type"
    if not 0 <= time < 2**63 or len(kind.encode(errors="replace")) > 255:
        return f"entry {seq} has a field out of range"
    if entry_hash(before.hash, seq, time, kind, body) != digest:
        return f"entry {seq} is not what was recorded, or does not follow entry {before.seq}"
    return _problem_with_time(before, seq, time, kind)


def _problem_with_time(before: Head, seq: int, time: int, kind: str) -> str | None:
    if kind not in _KINDS:
        return f"entry {seq} is of a kind that this version of signerd does not know: {kind!r}"
    if time < before.time and kind != Kind.CLOCK:
        return f"the time of entry {seq} falls, and no entry says that the clock was set"
    return None
