"""Whether a certificate can serve as this CA's own: what is checked of it, wherever its file lies.

Times are integer seconds since the epoch. Each check raises ConfigurationError with one line that begins
with ``where``: the file that the certificate was read from.
"""

import logging
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import PublicKeyAlgorithmOID

from protocol.errors import ConfigurationError

_E = TypeVar("_E", bound=x509.ExtensionType)

_log = logging.getLogger(__name__)

# RSASSA-PSS keys (RFC 4055) are missing on purpose: such a key must not make PKCS#1 v1.5 signatures.
_KEY_ALGORITHMS = {
    PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5,
    PublicKeyAlgorithmOID.EC_PUBLIC_KEY,
    PublicKeyAlgorithmOID.ED25519,
}
_ACCEPTED_KEYS = "RSA of 2048 to 8192 bits with the exponent 65537, P-256, P-384 and Ed25519 are accepted"

_BROKEN_HASHES = (hashes.SHA1, hashes.MD5)

_EXPIRES_SOON_SECONDS = 30 * 86_400

# The key and the name stay, so whatever it issued stays valid under the new one.
_RENEW = "make it anew for the same key and subject: ca_create_identity --renew"


def load_chain(pem: bytes, where: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, in its order; at least one."""
    if b"PRIVATE KEY-----" in pem:
        raise ConfigurationError(f"{where} holds a private key, yet this file is handed out: remove it there")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what cryptography warns of is refused or logged here
            chain = tuple(x509.load_pem_x509_certificates(pem))
            for certificate in chain:  # these are parsed when touched
                _ = certificate.extensions, certificate.subject, certificate.issuer
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ConfigurationError(f"{where} holds no readable PEM certificate: {_reason(error)}") from error
    return chain


def check_own_certificate(certificate: x509.Certificate, where: str, now: int) -> None:
    """Refuses a certificate whose key can't be this CA's; warns of what some clients won't take."""
    _check_is_ca(certificate, where)
    _check_dates(certificate, where, now)
    _check_public_key(certificate, where)
    _check_signature_hash(certificate, where)
    _warn_of_shortcomings(certificate, where)
    left = _seconds(certificate.not_valid_after_utc) - now
    if left < _EXPIRES_SOON_SECONDS:
        _log.warning("%s expires at %s, in %d days", where, _text(certificate.not_valid_after_utc), left // 86_400)


def check_chain(chain: Sequence[x509.Certificate], where: str, now: int) -> None:
    """Refuses a chain in which a certificate isn't issued by the next one, or an issuer can't be one.

    The root may be present or left out (RFC 5246, 7.4.2, has the same order).
    """
    for position in range(1, len(chain)):
        certificate, issuer = chain[position - 1 : position + 1]
        link = f"{where}, certificate {position + 1} ({issuer.subject.rfc4514_string()})"
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise ConfigurationError(
                f"{link} didn't issue the one before it; the CA's own comes first, then its issuer, and so on"
            ) from error
        _check_is_ca(issuer, link)
        _check_dates(issuer, link, now)
        _check_signature_hash(issuer, link)
        _check_path_length(chain[:position], issuer, link)


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether the certificate's own key signed it, by whatever hash."""
    if certificate.issuer != certificate.subject:
        return False
    key, digest = certificate.public_key(), certificate.signature_hash_algorithm
    signature, to_be_signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        # verify_directly_issued_by refuses the broken hashes, whatever the signature.
        if isinstance(digest, _BROKEN_HASHES) and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, to_be_signed, padding.PKCS1v15(), digest)
        elif isinstance(digest, _BROKEN_HASHES) and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, to_be_signed, ec.ECDSA(digest))
        else:
            certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_is_ca(certificate: x509.Certificate, where: str) -> None:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None:
        raise ConfigurationError(f"{where} is no CA certificate, as it has no basicConstraints; {_RENEW}")
    if not constraints.value.ca:
        raise ConfigurationError(f"{where} is no CA certificate (basicConstraints CA:FALSE)")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None:
        lacking = [
            name
            for name, granted in (
                ("keyCertSign", usage.value.key_cert_sign),
                ("cRLSign", usage.value.crl_sign),
            )
            if not granted
        ]
        if lacking:
            raise ConfigurationError(f"{where} can't serve, as its keyUsage lacks {' and '.join(lacking)}; {_RENEW}")
    if not list(certificate.subject):
        raise ConfigurationError(f"{where} has no subject, and an issuer must have one (RFC 5280, 4.1.2.4)")


def _check_dates(certificate: x509.Certificate, where: str, now: int) -> None:
    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < _seconds(not_before):
        raise ConfigurationError(f"{where} is not valid before {_text(not_before)}, and it is {_text(_time(now))}")
    if now > _seconds(not_after):  # inclusive (RFC 5280, 4.1.2.5)
        raise ConfigurationError(f"{where} expired: it was valid until {_text(not_after)}; {_RENEW}")


def _check_public_key(certificate: x509.Certificate, where: str) -> None:
    problem = None
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key, problem = None, "can't be read"
    if certificate.public_key_algorithm_oid not in _KEY_ALGORITHMS:
        problem = f"is of a kind that isn't supported ({certificate.public_key_algorithm_oid.dotted_string})"
    elif isinstance(key, rsa.RSAPublicKey) and not 2048 <= key.key_size <= 8192:
        problem = f"is RSA of {key.key_size} bits"
    elif isinstance(key, rsa.RSAPublicKey) and key.public_numbers().e != 65537:
        problem = f"is RSA with the exponent {key.public_numbers().e}"
    elif isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        problem = f"is on the curve {key.curve.name}"
    elif isinstance(key, ec.EllipticCurvePublicKey) and _spki(key) not in certificate.tbs_certificate_bytes:
        problem = "spells its curve out or compresses its point (RFC 5480, 2.1.1 and 2.2)"
    if problem:
        raise ConfigurationError(f"the key of {where} {problem}: {_ACCEPTED_KEYS}")


def _check_signature_hash(certificate: x509.Certificate, where: str) -> None:
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        oid = certificate.signature_algorithm_oid.dotted_string
        raise ConfigurationError(f"{where} is signed by an algorithm that isn't supported ({oid})") from None
    if not isinstance(digest, _BROKEN_HASHES):
        return
    name = digest.name.upper()
    if not is_self_signed(certificate):
        raise ConfigurationError(f"{where} is signed with {name}, which clients refuse: have its issuer sign it anew")
    # A root is trusted for lying in a trust store. Its own signature protects nothing.
    _log.warning("%s is signed with %s; being self-signed, it can serve", where, name)


def _check_path_length(below: Sequence[x509.Certificate], issuer: x509.Certificate, where: str) -> None:
    constraints = _extension(issuer, x509.BasicConstraints)
    length = None if constraints is None else constraints.value.path_length
    # Self-issued certificates don't count (RFC 5280, 4.2.1.9).
    deep = sum(certificate.subject != certificate.issuer for certificate in below)
    if length is not None and deep > length:
        raise ConfigurationError(f"{where} allows {length} CA certificates below it (pathlen), and {deep} are there")


def _warn_of_shortcomings(certificate: x509.Certificate, where: str) -> None:
    """What RFC 5280 requires of a CA certificate, old tools left out and most clients overlook.

    ssl_api's own certificates are version 1 *with* a (not critical) basicConstraints and nothing else.
    """
    constraints = _extension(certificate, x509.BasicConstraints)
    shortcomings = [
        text
        for text, present in (
            ("it is of version 1", certificate.version is x509.Version.v1),
            ("its basicConstraints aren't critical", constraints is not None and not constraints.critical),
            ("it has no keyUsage", _extension(certificate, x509.KeyUsage) is None),
            ("it has no subjectKeyIdentifier", _extension(certificate, x509.SubjectKeyIdentifier) is None),
        )
        if present
    ]
    if shortcomings:
        _log.warning("%s can serve, but strict clients refuse it: %s; %s", where, ", ".join(shortcomings), _RENEW)


def _extension(certificate: x509.Certificate, kind: type[_E]) -> x509.Extension[_E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


def _reason(error: Exception) -> str:
    return str(error).split(" See ")[0].split("\n")[0].rstrip(".") or type(error).__name__
