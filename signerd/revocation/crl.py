"""A CRL's to-be-signed bytes: RFC 5280's TBSCertList, joined from encoded pieces.

The library's builder takes quadratic time in the number of entries. The tests compare the result with it,
byte for byte.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509

from signerd import der
from signerd.certificate import Issuer
from signerd.ledger.revocations import Revoked
from signerd.revocation.reasons import invalidity_extension, reason_extension

_V2 = der.integer(1)
_CRL_NUMBER, _ISSUING_DISTRIBUTION_POINT = (
    der.oid(kind.oid.dotted_string) for kind in (x509.CRLNumber, x509.IssuingDistributionPoint)
)


@dataclass(frozen=True, slots=True)
class Edition:
    """Which CRL of its issuer it is. Times are seconds since the epoch."""

    number: int
    this_update: int
    next_update: int


def to_be_signed(issuer: Issuer, edition: Edition, revoked: Iterable[Revoked], scope: bytes = b"") -> bytes:
    """The DER of the TBSCertList.

    ``scope``: the extension that says which of the issuer's certificates are covered; without one, all are.
    """
    entries = b"".join(map(entry, revoked))
    extensions = (
        issuer.authority_key,
        der.extension(_CRL_NUMBER, False, der.integer(edition.number)),
        scope,
    )
    return der.tlv(
        der.SEQUENCE,
        _V2,
        issuer.signature_algorithm,
        issuer.name,
        der.time(edition.this_update),
        der.time(edition.next_update),
        der.tlv(der.SEQUENCE, entries) if entries else b"",  # RFC 5280, 5.1.2.6: absent rather than empty
        der.tlv(0xA0, der.tlv(der.SEQUENCE, *extensions)),
    )


def entry(revoked: Revoked) -> bytes:
    """One of the revokedCertificates, as version 2 has them (RFC 5280, 5.3)."""
    extensions = reason_extension(revoked.reason) + invalidity_extension(revoked.invalidity_date)
    return der.tlv(
        der.SEQUENCE,
        der.tlv(der.INTEGER, revoked.serial if revoked.serial[0] < 0x80 else b"\0" + revoked.serial),
        _time(revoked.at),
        der.tlv(der.SEQUENCE, extensions) if extensions else b"",
    )


_time = functools.lru_cache(maxsize=1024)(der.time)  # what is revoked in one go has one time


def only_of_shard(urls: Sequence[str]) -> bytes:
    """The extension of a CRL that covers only the certificates which name one of these URLs."""
    return _issuing_distribution_point(urls=urls, only_contains_user_certs=True)


def only_of_cas() -> bytes:
    """The extension of a CRL that covers only CA certificates."""
    return _issuing_distribution_point(only_contains_ca_certs=True)


def _issuing_distribution_point(
    urls: Sequence[str] = (), *, only_contains_user_certs: bool = False, only_contains_ca_certs: bool = False
) -> bytes:
    """Critical, as RFC 5280, 5.2.5 has it: who can't read it must not take the CRL for a complete one."""
    point = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url) for url in urls] or None,
        relative_name=None,
        only_contains_user_certs=only_contains_user_certs,
        only_contains_ca_certs=only_contains_ca_certs,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    return der.extension(_ISSUING_DISTRIBUTION_POINT, True, point.public_bytes())
