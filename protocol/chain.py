"""The certificates that go with a certificate."""

from collections.abc import Iterable

from cryptography import x509


def without_root(chain: Iterable[bytes]) -> list[bytes]:
    """The chain (DER) less its self-issued certificates: who verifies has the root already (RFC 8446, 4.4.2)."""
    certificates = ((der, x509.load_der_x509_certificate(der)) for der in chain)
    return [der for der, certificate in certificates if certificate.subject != certificate.issuer]
