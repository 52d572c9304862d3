"""A certificate's to-be-signed bytes, from a grant of the policy: RFC 5280's TBSCertificate.

Nothing here is copied from a CSR but what the policy granted: subject, names and public key. CA:FALSE,
the key usage, the issuer and the version are constants of this file, and no profile has a field for them.
"""

import functools
import hashlib
import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID

from signerd import der
from signerd.csr import SubjectAttribute
from signerd.key import CaPublicKey, signature_hash
from signerd.policy.decide import Grant
from signerd.policy.names import Name
from signerd.policy.policy import LIFETIME_MIN
from signerd.policy.usages import TIME_STAMPING, key_usages

BACKDATING = 60  # seconds that notBefore lies back, for clocks that run behind
CRL_SHARD_CERTIFICATES = 3_000  # so many certificates share a CRL: if all are revoked, it still fits into a frame

_V3 = der.tlv(0xA0, der.integer(2))
_SAN, _SKI = (
    der.oid(kind.dotted_string) for kind in (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.SUBJECT_KEY_IDENTIFIER)
)
_SHA1_BYTES = 20
_SKI_HEAD = der.extension(_SKI, False, der.tlv(der.OCTET_STRING, bytes(_SHA1_BYTES)))[:-_SHA1_BYTES]


class Validity(NamedTuple):
    """Both ends inclusive (RFC 5280, 4.1.2.5), seconds since the epoch."""

    not_before: int
    not_after: int


class Issuer:
    """What every certificate of one CA has in common, encoded once.

    ``certificate``: the CA's own. ``base_url``: where CRL, OCSP and the CA certificate are fetched.
    Encoded, for CRLs too: ``name``, ``signature_algorithm``, ``authority_key`` (the extension). ``key_identifier``
    is what that extension says.
    """

    def __init__(self, certificate: x509.Certificate, base_url: str | None) -> None:
        public_key = certificate.public_key()
        assert isinstance(public_key, CaPublicKey)  # noqa: S101 - load_identity() took no other
        self.certificate = certificate
        self.public_key = public_key
        self.not_after = int(certificate.not_valid_after_utc.timestamp())
        self._base_url = base_url
        self.name = certificate.subject.public_bytes()
        self.signature_algorithm = _algorithm_identifier(public_key)
        authority_key = _authority_key_identifier(certificate)
        self.key_identifier = authority_key.key_identifier or b""  # which both ways of making one give
        self.authority_key = _extension(authority_key, critical=False)
        self._access = _extension(_information_access(base_url), critical=False) if base_url else b""

    def problem(self, now: int) -> str | None:
        """Why no leaf can be issued: the CA's own certificate ends before the shortest of them would; or None."""
        in_time = self.not_after >= now - BACKDATING + LIFETIME_MIN - 1
        return None if in_time else "the CA's own certificate has ended, or is about to"

    def validity(self, lifetime: int, now: int) -> Validity:
        """From a minute back, for exactly ``lifetime`` seconds, and never past the issuer's own end."""
        not_before = now - BACKDATING
        return Validity(not_before, min(not_before + lifetime - 1, self.not_after))

    def to_be_signed(self, grant: Grant, serial: int, validity: Validity, shard: int) -> bytes:
        """The DER of the TBSCertificate."""
        extensions = (
            _constant_extensions(grant.csr.key_type, grant.profile.extended_key_usage),
            names_extension(grant.names, critical=not grant.subject),
            _SKI_HEAD + key_identifier(grant.csr.spki),
            self.authority_key,
            _distribution_point(self._base_url, shard) if self._base_url else b"",
            self._access,
            *[der.extension(der.oid(wish.oid), wish.critical, wish.value) for wish in grant.extensions],
        )
        return der.tlv(
            der.SEQUENCE,
            _V3,
            der.integer(serial),
            self.signature_algorithm,
            self.name,
            _validity(validity),
            _subject(grant.subject),
            grant.csr.spki,
            der.tlv(0xA3, der.tlv(der.SEQUENCE, *extensions)),
        )


def key_identifier(spki: bytes) -> bytes:
    """SHA-1 of the subjectPublicKey's bits (RFC 5280, 4.2.1.2, method 1)."""
    (info,) = der.parts(spki)
    _, bits = der.parts(info.value)
    return hashlib.sha1(bits.value[1:], usedforsecurity=False).digest()


def key_identifier_of(certificate: x509.Certificate) -> bytes:
    """The same of a certificate's key."""
    return key_identifier(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


_ESCAPED = {ord(character): f"\\{character}" for character in ',+"\\<>;='}  # RFC 4514, 2.4


def subject_text(subject: Sequence[SubjectAttribute]) -> str:
    """The subject as people write it: "CN=web1.example.net,O=Example"; what would end a value is escaped."""
    return ",".join([f"{name}={value.translate(_ESCAPED)}" for name, _, value in subject])


def _algorithm_identifier(public_key: CaPublicKey) -> bytes:
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return der.tlv(der.SEQUENCE, der.oid("1.3.101.112"))  # RFC 8410, 3: no parameters
    sha384 = getattr(signature_hash(public_key), "name", "") == "sha384"
    if hasattr(public_key, "curve"):  # RFC 5758, 3.2: no parameters
        return der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.4.3.3" if sha384 else "1.2.840.10045.4.3.2"))
    return der.tlv(der.SEQUENCE, der.oid("1.2.840.113549.1.1.11"), b"\x05\0")  # RFC 4055, 5: NULL


def _extension(value: x509.ExtensionType, *, critical: bool) -> bytes:
    return der.extension(der.oid(value.oid.dotted_string), critical, value.public_bytes())


def _authority_key_identifier(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = certificate.public_key()
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)  # type: ignore[arg-type] # see Issuer
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _information_access(base_url: str) -> x509.AuthorityInformationAccess:
    return x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(method, x509.UniformResourceIdentifier(f"{base_url}/{path}"))
            for method, path in (
                (AuthorityInformationAccessOID.OCSP, "ocsp"),
                (AuthorityInformationAccessOID.CA_ISSUERS, "ca.der"),
            )
        ]
    )


def shard_url(base_url: str, shard: int) -> str:
    """Where the CRL of a shard is: in the certificate's distribution point and in the CRL's own."""
    return f"{base_url}/crl/{shard}.crl"


@functools.lru_cache(maxsize=256)  # the certificates of a second share theirs
def _validity(validity: Validity) -> bytes:
    return der.tlv(der.SEQUENCE, der.time(validity.not_before), der.time(validity.not_after))


@functools.lru_cache(maxsize=64)
def _distribution_point(base_url: str, shard: int) -> bytes:
    location = x509.UniformResourceIdentifier(shard_url(base_url, shard))
    points = x509.CRLDistributionPoints([x509.DistributionPoint([location], None, None, None)])
    return _extension(points, critical=False)


@functools.lru_cache(maxsize=256)
def _constant_extensions(key_type: str, extended_key_usage: tuple[str, ...]) -> bytes:
    """basicConstraints, keyUsage and extKeyUsage; the last is critical for time stamps (RFC 3161, 2.3)."""
    may = key_usages(key_type, extended_key_usage)
    usage = x509.KeyUsage(
        digital_signature="digitalSignature" in may,
        key_encipherment="keyEncipherment" in may,
        key_agreement="keyAgreement" in may,
        content_commitment=False,
        data_encipherment=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    extended = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in extended_key_usage])
    return b"".join(
        (
            _extension(x509.BasicConstraints(ca=False, path_length=None), critical=True),
            _extension(usage, critical=True),
            _extension(extended, critical=TIME_STAMPING in extended_key_usage),
        )
    )


_GENERAL_NAME_TAGS = {"dns": 0x82, "email": 0x81, "uri": 0x86, "ip": 0x87}  # RFC 5280, 4.2.1.6


def names_extension(names: Sequence[Name], *, critical: bool) -> bytes:
    """subjectAltName; critical where the subject is empty (RFC 5280, 4.2.1.6)."""
    encoded = [
        der.tlv(_GENERAL_NAME_TAGS[kind], ipaddress.ip_address(value).packed if kind == "ip" else value.encode("ascii"))
        for kind, value in names
    ]
    return der.extension(_SAN, critical, der.tlv(der.SEQUENCE, *encoded))


_STRING_TYPES = {
    NameOID.COUNTRY_NAME: 0x13,
    NameOID.SERIAL_NUMBER: 0x13,
    NameOID.EMAIL_ADDRESS: 0x16,
    NameOID.DOMAIN_COMPONENT: 0x16,
}


def _subject(attributes: Sequence[SubjectAttribute]) -> bytes:
    """A Name with one attribute in each RelativeDistinguishedName (RFC 5280, 4.1.2.4)."""
    encoded = [
        der.tlv(
            der.SET,
            der.tlv(der.SEQUENCE, _oid(attribute.oid), der.tlv(_string_type(attribute.oid), attribute.value.encode())),
        )
        for attribute in attributes
    ]
    return der.tlv(der.SEQUENCE, *encoded)


@functools.lru_cache(maxsize=64)
def _oid(dotted: str) -> bytes:
    return der.oid(dotted)


@functools.lru_cache(maxsize=64)
def _string_type(dotted: str) -> int:
    return _STRING_TYPES.get(x509.ObjectIdentifier(dotted), 0x0C)
