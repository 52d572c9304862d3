"""CSRs for tests: honest ones by the openssl command, and hostile ones by a DER builder that signs what it is told.

The DER builder shares no code with signerd, so that a mistake in one is not hidden by the same mistake in the other.
"""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from protocol.errors import ErrorCode, Refused
from signerd.csr import parse_csr

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def assert_refused(der: bytes, why: str, code: ErrorCode = ErrorCode.BAD_CSR) -> None:
    """The parser refuses ``der`` with a sentence that matches ``why`` and is fit for a log."""
    with pytest.raises(Refused, match=why) as refused:
        parse_csr(der)
    assert refused.value.code is code
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 500


def assert_weak(der: bytes, why: str) -> None:
    """The parser refuses ``der`` for its key."""
    assert_refused(der, why, ErrorCode.WEAK_KEY)


def names_of(der: bytes) -> list[str]:
    """The names in ``der`` as text, such as ``dns:web1.example.net``."""
    return [str(name) for name in parse_csr(der).names]


# Options of `openssl genpkey` for each key type.
OPENSSL_KEYS = {
    "rsa2048": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa3072": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"),
    "rsa4096": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"),
    "p256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p384": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "ed25519": ("-algorithm", "ED25519"),
}


def openssl(*arguments: str | Path) -> bytes:
    """What the openssl command prints; an error is an AssertionError with its words."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@cache
def openssl_key(key_type: str) -> bytes:
    """A private key in PEM, made by openssl once for all tests."""
    return openssl("genpkey", *OPENSSL_KEYS[key_type])


def openssl_csr(directory: Path, key_type: str, *options: str, subject: str = "/CN=web1.example.net") -> bytes:
    """A CSR in DER by ``openssl req -new`` with more ``options``, such as ``-addext``."""
    key = directory / f"{key_type}.pem"
    key.write_bytes(openssl_key(key_type))
    return openssl("req", "-new", "-key", key, "-subj", subject, "-outform", "DER", *options)


@cache
def private_key(key_type: str) -> PrivateKey:
    """The same keys as objects, to sign hostile CSRs with."""
    key = serialization.load_pem_private_key(openssl_key(key_type), None)
    assert isinstance(key, PrivateKey)
    return key


# --- DER ----------------------------------------------------------------------------------------

INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER = 0x02, 0x03, 0x04, 0x06
UTF8, PRINTABLE, TELETEX, IA5, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E
SEQUENCE, SET = 0x30, 0x31


def tlv(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    size = len(value)
    if size < 128:
        return bytes([tag, size]) + value
    octets = size.to_bytes(-(-size.bit_length() // 8), "big")
    return bytes([tag, 128 + len(octets)]) + octets + value


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, *parts)


def integer(value: int) -> bytes:
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def bit_string(value: bytes) -> bytes:
    return tlv(BIT_STRING, b"\0", value)


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    encoded = b""
    for arc in (first * 40 + second, *rest):
        octets = [arc & 127]
        while arc := arc >> 7:
            octets.insert(0, arc & 127 | 128)
        encoded += bytes(octets)
    return tlv(OBJECT_IDENTIFIER, encoded)


CN, O, OU, C, SERIAL_NUMBER, DC, EMAIL_ADDRESS = (  # noqa: E741 - as they are written everywhere
    "2.5.4.3",
    "2.5.4.10",
    "2.5.4.11",
    "2.5.4.6",
    "2.5.4.5",
    "0.9.2342.19200300.100.1.25",
    "1.2.840.113549.1.9.1",
)


def rdn(type_: str, value: bytes | str, tag: int = UTF8) -> bytes:
    """A RelativeDistinguishedName with one attribute."""
    value = value.encode() if isinstance(value, str) else value
    return tlv(SET, sequence(oid(type_), tlv(tag, value)))


def dns(name: bytes | str) -> bytes:
    """A dNSName, whatever its bytes are."""
    return tlv(0x82, name.encode() if isinstance(name, str) else name)


SUBJECT_ALT_NAME, BASIC_CONSTRAINTS, KEY_USAGE = "2.5.29.17", "2.5.29.19", "2.5.29.15"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"


def extension(type_: str, value: bytes) -> bytes:
    return sequence(oid(type_), tlv(OCTET_STRING, value))


def san(*general_names: bytes) -> bytes:
    return extension(SUBJECT_ALT_NAME, sequence(*general_names))


def attribute(type_: str, *values: bytes) -> bytes:
    return sequence(oid(type_), tlv(SET, *values))


def extension_request(*extensions: bytes) -> bytes:
    return attribute(EXTENSION_REQUEST, sequence(*extensions))


# --- requests -----------------------------------------------------------------------------------

RSA_ENCRYPTION = sequence(oid("1.2.840.113549.1.1.1"), b"\x05\0")
SHA256_WITH_RSA = sequence(oid("1.2.840.113549.1.1.11"), b"\x05\0")
SHA1_WITH_RSA = sequence(oid("1.2.840.113549.1.1.5"), b"\x05\0")
MD5_WITH_RSA = sequence(oid("1.2.840.113549.1.1.4"), b"\x05\0")
ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"))
ECDSA_WITH_SHA1 = sequence(oid("1.2.840.10045.4.1"))
ED25519 = sequence(oid("1.3.101.112"))


def spki_of(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def rsa_spki(modulus: int, exponent: int = 65537) -> bytes:
    """A SubjectPublicKeyInfo of any two integers."""
    return sequence(RSA_ENCRYPTION, bit_string(sequence(integer(modulus), integer(exponent))))


def signature_by(
    key: PrivateKey, to_be_signed: bytes, hash_: hashes.HashAlgorithm | None = None
) -> tuple[bytes, bytes]:
    """The AlgorithmIdentifier and the signature, with SHA-256 if ``hash_`` names no other."""
    hash_ = hash_ or hashes.SHA256()
    if isinstance(key, rsa.RSAPrivateKey):
        identifiers = {"sha256": SHA256_WITH_RSA, "sha1": SHA1_WITH_RSA, "md5": MD5_WITH_RSA}
        return identifiers[hash_.name], key.sign(to_be_signed, padding.PKCS1v15(), hash_)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        identifiers = {"sha256": ECDSA_WITH_SHA256, "sha1": ECDSA_WITH_SHA1}
        return identifiers[hash_.name], key.sign(to_be_signed, ec.ECDSA(hash_))
    return ED25519, key.sign(to_be_signed)


def request_info(
    spki: bytes,
    subject: Sequence[bytes] = (rdn(CN, "web1.example.net"),),
    attributes: Sequence[bytes] = (),
    version: bytes = integer(0),
) -> bytes:
    """A CertificationRequestInfo (RFC 2986, 4.1) of the pieces as they are."""
    return sequence(version, sequence(*subject), spki, tlv(0xA0, *attributes))


def signed_request(key: PrivateKey, info: bytes, hash_: hashes.HashAlgorithm | None = None) -> bytes:
    """A CertificationRequest around any ``info``, with a valid signature by ``key``."""
    algorithm, signature = signature_by(key, info, hash_)
    return sequence(info, algorithm, bit_string(signature))


def make_csr(
    *,
    key: PrivateKey | None = None,
    subject: Sequence[bytes] = (rdn(CN, "web1.example.net"),),
    attributes: Sequence[bytes] = (),
    version: bytes = integer(0),
    spki: bytes | None = None,
    hash_: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A CSR whose signature is valid, and whose pieces are what the test wants them to be."""
    key = key or private_key("ed25519")
    info = request_info(spki or spki_of(key), subject, attributes, version)
    return signed_request(key, info, hash_)


def csr_for(*general_names: bytes, subject: Sequence[bytes] = ()) -> bytes:
    """A CSR that asks for these subject alternative names."""
    return make_csr(subject=subject, attributes=[extension_request(san(*general_names))])


# --- weak RSA keys ------------------------------------------------------------------------------


def is_prime(number: int) -> bool:
    """A Fermat test: good enough for numbers that nobody chose to fool it."""
    return all(number % small for small in range(3, 1000, 2)) and pow(2, number - 1, number) == 1


def next_prime(number: int) -> int:
    number |= 1
    while not is_prime(number):
        number += 2
    return number


def rsa_key_of(p: int, q: int) -> rsa.RSAPrivateKey:
    """The private key with these two primes and the public exponent 65537."""
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    private = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return private.private_key()
