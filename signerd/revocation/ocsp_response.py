"""OCSP responses (RFC 6960, 4.2), joined from encoded pieces. The library's builder answers about a single
certificate only; the tests compare the result with it, byte for byte."""

import enum
from collections.abc import Sequence

from signerd import der
from signerd.ledger.revocations import Revoked
from signerd.revocation.ocsp_request import NONCE
from signerd.revocation.reasons import invalidity_extension, reason_code

ECDSA_WITH_SHA256 = der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2"))  # RFC 5758, 3.2
_BASIC = der.oid("1.3.6.1.5.5.7.48.1.1")
_ENUMERATED = 0x0A


class Failure(enum.IntEnum):
    """OCSPResponseStatus, but for success. Such an answer is not signed."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6


class Plain(bytes, enum.Enum):
    """CertStatus, but for revoked."""

    GOOD = b"\x80\0"
    UNKNOWN = b"\x82\0"


def failure(status: Failure) -> bytes:
    """The whole response."""
    return der.tlv(der.SEQUENCE, der.tlv(_ENUMERATED, bytes((status,))))


def single_response(cert_id: bytes, status: Plain | Revoked, this_update: int, next_update: int) -> bytes:
    """What is said of one certificate; ``cert_id`` as it was asked. Times are seconds since the epoch."""
    extensions = invalidity_extension(status.invalidity_date) if isinstance(status, Revoked) else b""
    return der.tlv(
        der.SEQUENCE,
        cert_id,
        _revoked_info(status) if isinstance(status, Revoked) else status,
        der.generalized_time(this_update),
        der.tlv(0xA0, der.generalized_time(next_update)),
        der.tlv(0xA1, der.tlv(der.SEQUENCE, extensions)) if extensions else b"",
    )


def _revoked_info(revoked: Revoked) -> bytes:
    code = reason_code(revoked.reason)
    return der.tlv(0xA1, der.generalized_time(revoked.at), der.tlv(0xA0, code) if code else b"")


def response_data(key_hash: bytes, produced_at: int, responses: Sequence[bytes], nonce: bytes | None) -> bytes:
    """The to-be-signed ResponseData, by the responder whose key has this SHA-1 (RFC 6960, 4.2.1)."""
    extensions = b""
    if nonce is not None:
        extensions = der.extension(NONCE, False, der.tlv(der.OCTET_STRING, nonce))
    return der.tlv(
        der.SEQUENCE,
        der.tlv(0xA2, der.tlv(der.OCTET_STRING, key_hash)),
        der.generalized_time(produced_at),
        der.tlv(der.SEQUENCE, *responses),
        der.tlv(0xA1, der.tlv(der.SEQUENCE, extensions)) if extensions else b"",
    )


def signed_response(data: bytes, signature: bytes, certificates: Sequence[bytes]) -> bytes:
    """The whole response: ``data``, its signature by ECDSA with SHA-256, and the certificates to check it with,
    the responder's first."""
    basic = der.tlv(
        der.SEQUENCE,
        data,
        ECDSA_WITH_SHA256,
        der.bit_string(signature),
        der.tlv(0xA0, der.tlv(der.SEQUENCE, *certificates)),
    )
    content = der.tlv(der.SEQUENCE, _BASIC, der.tlv(der.OCTET_STRING, basic))
    return der.tlv(der.SEQUENCE, der.tlv(_ENUMERATED, b"\0"), der.tlv(0xA0, content))
