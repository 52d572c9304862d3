"""The OCSP responder (RFC 6960), by delegation: it signs with a key of its own, which lives in memory only.

Its certificate is short-lived, by the CA, and made anew at each start and before it runs out; the CA's key
signs no answer. What is answered comes from the ledger alone.
"""

import collections
import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import Refused
from protocol.messages import OcspReply
from signerd import der
from signerd.certificate import BACKDATING, Issuer, key_identifier
from signerd.key import Intent, RecordedKey
from signerd.ledger import Ledger
from signerd.ledger.revocations import Revoked, status
from signerd.revocation import responder_certificate
from signerd.revocation.ocsp_request import CertId, parse_query
from signerd.revocation.ocsp_response import (
    Failure,
    Plain,
    failure,
    response_data,
    signed_response,
    single_response,
)
from signerd.revocation.this_update import this_update

_log = logging.getLogger(__name__)

CERTIFICATES_MAX = 16  # in one request: they cost the event loop a look-up each
_KEPT = 4096  # answers in memory: some 5 MiB, and a kilobyte each for every intermediate certificate
_ECDSA = ec.ECDSA(hashes.SHA256())
_HASHES = {
    der.oid(oid): name
    for oid, name in (
        ("1.3.14.3.2.26", "sha1"),
        ("2.16.840.1.101.3.4.2.1", "sha256"),
        ("2.16.840.1.101.3.4.2.2", "sha384"),
        ("2.16.840.1.101.3.4.2.3", "sha512"),
    )
}


class _Delegation(NamedTuple):
    """The responder's key, and the certificate by which the CA lets it answer."""

    key: ec.EllipticCurvePrivateKey
    key_hash: bytes  # RFC 6960, 4.2.1: SHA-1 of the public key's bits
    certificate: bytes
    not_before: int
    not_after: int


class _Kept(NamedTuple):
    made_at: int
    reply: OcspReply


class Responder:
    """Answers OCSP requests. ``put_in_force`` comes first.

    ``intermediates``: what lies between the responder's certificate and the root, which goes with each answer: who
    trusts the root alone needs it (RFC 6960, 4.2.1).
    """

    def __init__(
        self, ledger: Ledger, key: RecordedKey, new_serial: Callable[[], int], intermediates: Sequence[bytes]
    ) -> None:
        self._intermediates = tuple(intermediates)
        self._ledger = ledger
        self._key = key
        self._new_serial = new_serial
        self._delegation: _Delegation | None = None
        self._kept: collections.OrderedDict[bytes, _Kept] = collections.OrderedDict()

    def put_in_force(self, issuer: Issuer, lifetime: int) -> None:
        """From now on it answers for ``issuer``, and an answer is good for ``lifetime`` seconds."""
        self._issuer = issuer
        self._lifetime = lifetime
        key_bits = _public_key_bits(issuer.certificate)
        self._hashes = {oid: (_digest(name, issuer.name), _digest(name, key_bits)) for oid, name in _HASHES.items()}
        self.forget()

    def forget(self) -> None:
        """Something has changed: no answer is given again."""
        self._kept.clear()

    def renew_if_due(self, now: int) -> None:
        """Sees to it that the certificate outlives the answers. Raises ``Refused`` if the ledger can't be written."""
        have, end = self._delegation, self._issuer.not_after
        if have is not None and have.not_before <= now and (have.not_after >= min(now + self._lifetime, end)):
            return
        if now >= end:
            return
        key = ec.generate_private_key(ec.SECP256R1())
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        not_before, not_after = now - BACKDATING, min(now + 2 * self._lifetime, end)
        serial = self._new_serial()
        to_be_signed = responder_certificate.to_be_signed(self._issuer, spki, serial, not_before, not_after)
        facts = {"serial": der.integer(serial)[2:], "not_before": not_before, "not_after": not_after}
        [signature] = self._key.sign([Intent(to_be_signed, "responder", facts)], max(now, self._ledger.head.time))
        certificate = der.signed(to_be_signed, signature)
        self._delegation = _Delegation(key, key_identifier(spki), certificate, not_before, not_after)
        self.forget()
        _log.info("the OCSP responder has a new certificate")

    def answer(self, data: bytes, now: int) -> OcspReply:
        """The answer to the request in ``data``, whatever that is."""
        try:
            return self._answer(data, now)
        except Exception:
            _log.exception("answering an OCSP request")
            return _failed(Failure.INTERNAL_ERROR)

    def _answer(self, data: bytes, now: int) -> OcspReply:
        try:
            query = parse_query(data)
        except ValueError:
            return _failed(Failure.MALFORMED_REQUEST)
        if len(query.ids) > CERTIFICATES_MAX or not any(map(self._is_ours, query.ids)):
            return _failed(Failure.UNAUTHORIZED)
        what = b"".join(one.whole for one in query.ids)
        if query.nonce is None and (kept := self._recall(what, now)) is not None:
            return kept
        states = [self._status(one) for one in query.ids]
        reply = self._sign(query.ids, states, query.nonce, now)
        if reply.next_update is not None:
            self._kept[what] = _Kept(now, reply)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return reply

    def _is_ours(self, one: CertId) -> bool:
        """Whether the CertID's issuer is this CA."""
        return self._hashes.get(one.algorithm) == (one.issuer_name_hash, one.issuer_key_hash)

    def _status(self, one: CertId) -> Plain | Revoked:
        """RFC 6960, 2.2."""
        if not self._is_ours(one):
            return Plain.UNKNOWN
        exists, revoked = status(self._ledger, one.serial)
        return revoked or (Plain.GOOD if exists else Plain.UNKNOWN)

    def _recall(self, what: bytes, now: int) -> OcspReply | None:
        """The answer that was given before, in the first half of its life."""
        kept = self._kept.get(what)
        if kept is None or not kept.made_at <= now < kept.made_at + self._lifetime // 2:
            return None
        self._kept.move_to_end(what)
        return kept.reply

    def _sign(
        self, ids: Sequence[CertId], states: Sequence[Plain | Revoked], nonce: bytes | None, now: int
    ) -> OcspReply:
        try:
            self.renew_if_due(now)
        except Refused as refusal:
            _log.error("the OCSP responder gets no new certificate: %s", refusal)
        have = self._delegation
        if have is None or not have.not_before <= now < have.not_after:
            return _failed(Failure.TRY_LATER)
        since = this_update(now, [state for state in states if isinstance(state, Revoked)])
        until = min(now + self._lifetime, have.not_after)
        singles = [single_response(one.whole, state, since, until) for one, state in zip(ids, states, strict=True)]
        data = response_data(have.key_hash, now, singles, nonce)
        response = signed_response(data, have.key.sign(data, _ECDSA), (have.certificate, *self._intermediates))
        if nonce is not None or Plain.UNKNOWN in states:  # for this asker alone, or may soon be otherwise
            return OcspReply(response, None, None)
        return OcspReply(response, since, until)


def _digest(algorithm: str, data: bytes) -> bytes:
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()


def _public_key_bits(certificate: x509.Certificate) -> bytes:
    """The subjectPublicKey as it stands in the certificate: what issuerKeyHash is over (RFC 6960, 4.1.1)."""
    (to_be_signed,) = der.parts(certificate.tbs_certificate_bytes)
    fields = [part for part in der.parts(to_be_signed.value) if part.tag != 0xA0]  # all but the version
    _, bits = der.parts(fields[5].value)
    return bits.value[1:]


def _failed(why: Failure) -> OcspReply:
    return OcspReply(failure(why), None, None)
