"""The to-be-signed bytes of the certificate by which the CA lets its OCSP responder answer (RFC 6960, 4.2.2.2)."""

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signerd import der
from signerd.certificate import Issuer, key_identifier

_V3 = der.tlv(0xA0, der.integer(2))
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OCSP responder")]).public_bytes()
_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_CONSTANT = b"".join(
    der.extension(der.oid(value.oid.dotted_string), critical, value.public_bytes())
    for value, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_USAGE, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
        (x509.OCSPNoCheck(), False),  # RFC 6960, 4.2.2.2.1: it lives so shortly that nobody need ask about it
    )
)
_SUBJECT_KEY = der.oid(x509.SubjectKeyIdentifier.oid.dotted_string)


def to_be_signed(issuer: Issuer, spki: bytes, serial: int, not_before: int, not_after: int) -> bytes:
    """The DER of the TBSCertificate for the public key ``spki``. Times are seconds since the epoch, inclusive."""
    extensions = (
        _CONSTANT,
        der.extension(_SUBJECT_KEY, False, der.tlv(der.OCTET_STRING, key_identifier(spki))),
        issuer.authority_key,
    )
    return der.tlv(
        der.SEQUENCE,
        _V3,
        der.integer(serial),
        issuer.signature_algorithm,
        issuer.name,
        der.tlv(der.SEQUENCE, der.time(not_before), der.time(not_after)),
        _SUBJECT,
        spki,
        der.tlv(0xA3, der.tlv(der.SEQUENCE, *extensions)),
    )
