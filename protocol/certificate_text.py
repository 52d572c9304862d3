"""A to-be-signed certificate as text, for people who ask what they would get."""

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)
# OIDs by the names that RFC 5280 gives them, spelled as the library spells them.
_OID_NAMES = {
    oid: name.lower()
    for names in (ExtendedKeyUsageOID, AuthorityInformationAccessOID)
    for name, oid in vars(names).items()
    if isinstance(oid, x509.ObjectIdentifier)
}


def describe_to_be_signed(der: bytes) -> str:
    """The certificate that ``der``, a TBSCertificate, would become, in lines; its serial number is left out,
    for it is drawn when the certificate is issued. Raises ValueError if ``der`` is none."""
    certificate = x509.load_der_x509_certificate(_with_empty_signature(der))
    return "\n".join(_lines(certificate)) + "\n"


def describe_certificate(der: bytes) -> str:
    """The certificate ``der`` in lines, its fingerprint last. Raises ValueError if it is none."""
    certificate = x509.load_der_x509_certificate(der)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return "\n".join([*_lines(certificate), f"SHA-256: {fingerprint}"]) + "\n"


def _lines(certificate: x509.Certificate) -> Iterator[str]:
    yield f"Subject: {certificate.subject.rfc4514_string() or '(empty)'}"
    yield f"Issuer: {certificate.issuer.rfc4514_string()}"
    yield f"Not before: {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    yield f"Not after: {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    yield f"Public key: {_key(certificate)}"
    for extension in certificate.extensions:
        critical = " (critical)" if extension.critical else ""
        yield f"{_extension_name(extension)}{critical}: {_extension_text(extension.value)}"


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA, {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC, {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey")


def _extension_name(extension: x509.Extension[x509.ExtensionType]) -> str:
    if isinstance(extension.value, x509.UnrecognizedExtension):
        return extension.oid.dotted_string
    return type(extension.value).__name__


def _oid_name(oid: x509.ObjectIdentifier) -> str:
    return _OID_NAMES.get(oid, oid.dotted_string)


def _extension_text(value: x509.ExtensionType) -> str:
    """What the extension says, comma-separated; in hex where this knows no better."""
    match value:
        case x509.SubjectAlternativeName():
            words = [str(name.value) for name in value]
        case x509.BasicConstraints():
            words = [f"CA:{str(value.ca).upper()}"]
        case x509.KeyUsage():
            words = [usage for usage in _KEY_USAGES if getattr(value, usage)]
        case x509.ExtendedKeyUsage():
            words = [_oid_name(oid) for oid in value]
        case x509.SubjectKeyIdentifier():
            words = [value.digest.hex()]
        case x509.AuthorityKeyIdentifier() if value.key_identifier:
            words = [value.key_identifier.hex()]
        case x509.CRLDistributionPoints():
            words = [str(name.value) for point in value for name in point.full_name or ()]
        case x509.AuthorityInformationAccess():
            words = [f"{_oid_name(d.access_method)} {d.access_location.value}" for d in value]
        case _:
            words = [value.public_bytes().hex()]
    return ", ".join(words)


def _with_empty_signature(tbs: bytes) -> bytes:
    """A Certificate (RFC 5280, 4.1) around ``tbs``: its own signature algorithm, and a signature of no bits."""
    fields, _ = _value(tbs, 0)
    position = fields
    for _ in range(2):  # past version and serial number, to the signature algorithm
        _, position = _value(tbs, position)
    _, end = _value(tbs, position)
    return _sequence(tbs + tbs[position:end] + b"\x03\x01\x00")


def _value(der: bytes, position: int) -> tuple[int, int]:
    """Where the value of the element at ``position`` begins and ends."""
    try:
        length, begin = der[position + 1], position + 2
    except IndexError:
        raise ValueError("truncated DER") from None
    if length & 0x80:
        octets = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + octets]), begin + octets
    return begin, begin + length


def _sequence(content: bytes) -> bytes:
    length = len(content)
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return b"\x30" + (bytes([length]) if length < 0x80 else bytes([0x80 | len(octets)]) + octets) + content
