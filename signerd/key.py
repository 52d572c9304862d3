"""The recorded key: the only holder of the CA's private key, and it signs only what is on the ledger.

``sign`` takes to-be-signed bytes, records them, waits for the fsync, signs, records the signatures.
Every signature it makes is deterministic (RSA PKCS#1 v1.5, RFC 8017; Ed25519, RFC 8032; ECDSA as in
RFC 6979), hence a function of the recorded intent. So a crash between the record and the answer loses
nothing and leaves nothing unknown: ``recover`` signs each certificate that is pending again and gets the same bytes.

What it signs then is read from a file. The ledger has seen to it that its own key signed the commit (``ledger.store``);
and what doesn't fit the facts that are recorded beside it is never signed.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from signerd.ledger import Kind, Ledger
from signerd.second_thread import SecondThread

_log = logging.getLogger(__name__)

CaPrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
CaPublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be signed, and what the ledger is to know about it."""

    to_be_signed: bytes  # DER
    what: str  # "certificate", "crl", …
    facts: Mapping[str, Any]  # more fields of the entry, by which the index finds it
    by_hash: bool = False  # whether the entry has the bytes' SHA-256 alone: who asks keeps them, or makes others

    def body(self) -> dict[str, Any]:
        """The entry's."""
        if self.by_hash:
            return {"what": self.what, "sha256": hashlib.sha256(self.to_be_signed).digest(), **self.facts}
        return {"what": self.what, "to_be_signed": self.to_be_signed, **self.facts}


def signature_hash(public_key: CaPublicKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """The hash that this CA key signs with: of the key's strength (RFC 5480, 4); None for Ed25519."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return None
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


class RecordedKey:
    """Signs batches of intents; see the module's text."""

    def __init__(self, private_key: CaPrivateKey, ledger: Ledger) -> None:
        self.__sign = _signing_function(private_key)
        self._ledger = ledger
        self._tickets = 0
        self.__recorded: dict[int, tuple[list[int], list[bytes]]] = {}  # by ticket: entries, and what to sign
        self._second = SecondThread("sign") if _is_slow(private_key) else None

    def sign(self, intents: Sequence[Intent], now: int) -> list[bytes]:
        """The signatures, in order. Raises ``Refused`` (``unavailable``), and then nothing was signed that
        is not on the ledger, and no signature leaves."""
        return self.sign_recorded(self.record(intents, now), now)

    def record(self, intents: Sequence[Intent], now: int, *, then: Callable[[], None] | None = None) -> int:
        """The first half of ``sign``, up to the fsync (see ``Ledger.commit`` for ``then``). Returns what
        ``sign_recorded`` takes. Raises as ``sign`` does."""
        recorded = [self._ledger.append(now, Kind.INTENT, intent.body()) for intent in intents]
        self._ledger.commit(then=then)
        self._tickets += 1
        self.__recorded[self._tickets] = recorded, [intent.to_be_signed for intent in intents]
        return self._tickets

    def sign_recorded(self, ticket: int, now: int) -> list[bytes]:
        """The second half, once: it waits until all of it is durable. Raises as ``sign`` does."""
        recorded, to_be_signed = self.__recorded.pop(ticket)
        self._ledger.ensure_durable(max(recorded, default=0))
        signatures = self._signatures(to_be_signed)
        for seq, signature in zip(recorded, signatures, strict=True):
            self._complete(seq, signature, now)
        return signatures

    def recover(self, now: int, problem_with: Callable[[int, Mapping[str, Any]], str | None]) -> int:
        """Signs what a crash left without a signature and somebody may be waiting for; returns how much that was.

        ``problem_with`` says of an intent, by seq and body, why it is not to be signed. That stays pending, for ever.
        """
        signed = 0
        for seq in self._ledger.pending_intents():
            body = self._ledger.body(seq)
            if (problem := problem_with(seq, body)) is not None:
                _log.critical(
                    "entry %d of the ledger is never signed: its bytes are not what it says: %s", seq, problem
                )
                continue
            self._complete(seq, self.__sign(body["to_be_signed"]), now)
            signed += 1
        self._ledger.commit()
        return signed

    def _complete(self, seq: int, signature: bytes, now: int) -> None:
        # Made durable by the next commit, or by recovery: it follows from the intent.
        self._ledger.append(now, Kind.ISSUED, {"intent": seq, "signature": signature})

    def _signatures(self, batch: Sequence[bytes]) -> list[bytes]:
        """Signs what is recorded."""
        if self._second is None:
            return [self.__sign(data) for data in batch]
        return self._second.map(self.__sign, batch)


def _is_slow(key: CaPrivateKey) -> bool:
    """Whether a signature takes 150 µs and more: RSA and P-384; P-256 and Ed25519 take some 20."""
    return isinstance(key, rsa.RSAPrivateKey) or getattr(key, "key_size", 0) > 256


def _signing_function(key: CaPrivateKey) -> Callable[[bytes], bytes]:
    algorithm = signature_hash(key.public_key())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign
    assert algorithm is not None  # noqa: S101 - signature_hash() has none for Ed25519 alone
    if isinstance(key, rsa.RSAPrivateKey):
        scheme = padding.PKCS1v15()
        return lambda data: key.sign(data, scheme, algorithm)
    ecdsa = ec.ECDSA(algorithm, deterministic_signing=True)
    return lambda data: key.sign(data, ecdsa)
