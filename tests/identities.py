"""Identities for tests: proper ones, those of the old tool, and broken ones made to order."""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocol.errors import ConfigurationError
from signerd.identity import Identity, load_identity
from signerd.new_identity import create_identity

PASSPHRASE = b"correct horse battery staple"
NOW = int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp())
DAY = 86_400

CA_USAGE = ("key_cert_sign", "crl_sign")
CA_CONSTRAINTS = x509.BasicConstraints(ca=True, path_length=None)


def make_identity(
    directory: Path,
    *,
    key: str = "p256",
    subject: Sequence[tuple[str, str]] = (("CN", "Test CA"), ("O", "Tests")),
    lifetime_seconds: int = 3650 * DAY,
    now: int = NOW,
) -> Identity:
    """A new root in ``directory``, its key encrypted with PASSPHRASE."""
    return create_identity(directory, subject, lifetime_seconds, key, PASSPHRASE, now)


def load(directory: Path, *, passphrase: bytes = PASSPHRASE, now: int = NOW) -> Identity:
    """The identity in ``directory``, its key encrypted with ``passphrase``, if at all."""
    return load_identity(directory, lambda: passphrase, now)


def refusal(directory: Path, *, passphrase: bytes = PASSPHRASE, now: int = NOW) -> str:
    """The line that loading is refused with; it names a path, and is one line."""
    with pytest.raises(ConfigurationError) as refused:
        load(directory, passphrase=passphrase, now=now)
    message = str(refused.value)
    assert "\n" not in message
    assert str(directory) in message
    return message


def valid_identity(directory: Path) -> Path:
    """An identity that loads, for a test to break."""
    key = p256()
    write_identity(directory, [ca_certificate(key)], key)
    load(directory)
    return directory


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """What openssl prints. Fails, with its complaint, when it does."""
    command = ["openssl", *map(str, arguments)]
    result = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if result.returncode:
        raise AssertionError(f"{' '.join(command)}: {result.stderr.decode()}")
    return result.stdout


def make_old_identity(directory: Path, *, days: int = 3650) -> None:
    """An identity by the recipe that ssl_api's users had: RSA-2048, Proc-Type: 4,ENCRYPTED, ca.cert.pem."""
    directory.mkdir(mode=0o700, parents=True)
    key, plain = directory / "ca.private_key.pem", directory / "plain.pem"
    password = f"pass:{PASSPHRASE.decode()}"
    subject = "/C=US/CN=ca.net/L=Palm Beach/O=Random Authority, Inc./ST=Florida/emailAddress=ca@ca.net"
    openssl("genrsa", "-out", plain, "2048")
    openssl("rsa", "-aes128", "-traditional", "-in", plain, "-out", key, "-passout", password)
    openssl("rsa", "-in", plain, "-pubout", "-out", directory / "ca.public_key.pem")
    openssl("req", "-new", "-key", plain, "-subj", subject, "-out", directory / "ca.csr.pem")
    openssl(
        *("req", "-x509", "-key", plain, "-subj", subject, "-days", str(days)),
        *("-out", directory / "ca.cert.pem"),
    )
    plain.unlink()
    key.chmod(0o600)


def write_identity(
    directory: Path,
    certificates: Iterable[x509.Certificate],
    key: CertificateIssuerPrivateKeyTypes,
    *,
    certificate_name: str = "ca.crt.pem",
) -> Path:
    """The files that load_identity needs; the key isn't encrypted, which spares the tests scrypt."""
    directory.mkdir(mode=0o700, exist_ok=True)
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    (directory / certificate_name).write_bytes(pem)
    write_key(directory, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return directory


def write_key(directory: Path, pem: bytes) -> None:
    """``pem`` as the private key's file, readable by nobody else."""
    path = directory / "ca.private_key.pem"
    path.write_bytes(pem)
    path.chmod(0o600)


def ca_certificate(
    key: CertificateIssuerPrivateKeyTypes,
    *,
    name: str | None = "Test CA",
    issuer: str | None = None,
    issuer_key: CertificateIssuerPrivateKeyTypes | None = None,
    constraints: x509.BasicConstraints | None = CA_CONSTRAINTS,
    usage: Sequence[str] | None = CA_USAGE,
    not_before: int = NOW - DAY,
    not_after: int = NOW + 365 * DAY,
) -> x509.Certificate:
    """A CA certificate that is in order but for what the test asks; self-signed without ``issuer_key``."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(common_name(name if issuer is None else issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    if usage is not None:
        builder = builder.add_extension(key_usage(usage), critical=True)
    signer = key if issuer_key is None else issuer_key
    if signer is not key:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(authority, critical=False)
    hashless = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(signer, None if hashless else hashes.SHA256())


def common_name(name: str | None) -> x509.Name:
    return x509.Name([] if name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def key_usage(granted: Sequence[str]) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in granted for name in names})


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def ssl_api_certificate(key: rsa.RSAPrivateKey, *, version: int, serial: bytes, ca: bool = True) -> x509.Certificate:
    """A certificate as ssl_api made its own: SHA-1 and a basicConstraints that isn't critical.

    Its early releases set version 3 and the serial number 1; later ones forgot the version, which makes it
    1 *with* extensions, and took a SHA-1 for the serial number, 21 bytes of DER at times. No tool of today
    makes those, so a proper certificate is taken apart and signed again.
    """
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca.net"),
            x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "ca@ca.net"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW - DAY, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 3650 * DAY, UTC))
    )
    if ca:
        builder = builder.add_extension(CA_CONSTRAINTS, critical=False)
    to_be_signed = builder.sign(key, hashes.SHA256()).tbs_certificate_bytes
    version_and_serial, sha256, sha1 = (
        bytes.fromhex("a003020102 020101"),
        bytes.fromhex("300d06092a864886f70d01010b0500"),
        bytes.fromhex("300d06092a864886f70d0101050500"),
    )
    _, rest = to_be_signed.split(version_and_serial, maxsplit=1)
    explicit_version = bytes.fromhex("a003020102") if version == 3 else b""
    to_be_signed = der(0x30, explicit_version + der(0x02, serial) + rest.replace(sha256, sha1, 1))
    signature = key.sign(to_be_signed, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - as it was
    return x509.load_der_x509_certificate(der(0x30, to_be_signed + sha1 + der(0x03, b"\0" + signature)))


def der(tag: int, content: bytes) -> bytes:
    """One DER element (X.690, 8.1)."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


# A user and a group that own nothing on the machine; no account is needed for a process to run as them.
OTHER_UID = 54_321


def unprivileged(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Python ``code`` in a process that isn't root: as OTHER_UID if the tests run as root, else as they do."""
    drop = ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups"]
    command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-W", "error", "-c", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def run_unprivileged(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same, until its end."""
    with unprivileged(code, *arguments) as process:
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
