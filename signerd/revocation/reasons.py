"""Why a certificate is revoked, and how CRL and OCSP say so. The same pieces of DER serve both: RFC 6960,
4.4.5 takes its single extensions over from RFC 5280's CRL entry extensions."""

import functools

from cryptography.x509.oid import CRLEntryExtensionOID

from signerd import der
from signerd.ledger.index import HOLD

KEY_COMPROMISE = "keyCompromise"
RELEASE = "removeFromCRL"  # no reason to revoke: it takes a certificateHold back

# RFC 5280, 5.3.1. cACompromise and aACompromise are among them: they say whose key leaked, not whose
# certificate is revoked.
REASONS = {
    "unspecified": 0,
    KEY_COMPROMISE: 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    HOLD: 6,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
# What a holder can know. A hold is the operator's to set, for only the operator can take it back.
HOLDER_REASONS = ("unspecified", KEY_COMPROMISE, "affiliationChanged", "superseded", "cessationOfOperation")

_ENUMERATED = 0x0A
_REASON_CODE, _INVALIDITY_DATE = (
    der.oid(oid.dotted_string) for oid in (CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE)
)


@functools.cache
def reason_code(reason: str) -> bytes:
    """A CRLReason; empty for "unspecified", which is left out (RFC 5280, 5.3.1)."""
    code = REASONS[reason]
    return der.tlv(_ENUMERATED, bytes((code,))) if code else b""


@functools.cache
def reason_extension(reason: str) -> bytes:
    """The reasonCode extension of a CRL entry, or nothing."""
    code = reason_code(reason)
    return der.extension(_REASON_CODE, False, code) if code else b""


@functools.lru_cache(maxsize=1024)
def invalidity_extension(date: int | None) -> bytes:
    """The invalidityDate extension (RFC 5280, 5.3.2), or nothing. Seconds since the epoch."""
    return b"" if date is None else der.extension(_INVALIDITY_DATE, False, der.generalized_time(date))
