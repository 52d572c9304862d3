"""What tests say of certificates, in plain words. Other ends decide where they can: openssl, GnuTLS, the library."""

import subprocess
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

E = TypeVar("E", bound=x509.ExtensionType)

_CA_USAGES = ("key_cert_sign", "crl_sign")


def load(der: bytes) -> x509.Certificate:
    """The certificate in ``der``, with every part decoded: what can't be read fails here."""
    certificate = x509.load_der_x509_certificate(der)
    _ = certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key()
    assert certificate.public_bytes(Encoding.DER) == der
    return certificate


def extension(certificate: x509.Certificate, kind: type[E]) -> x509.Extension[E]:
    """The extension of this kind. Fails where there is none."""
    return certificate.extensions.get_extension_for_class(kind)


def names_of(certificate: x509.Certificate) -> list[str]:
    """Its subject alternative names, in order, as they are written."""
    return [str(name.value) for name in extension(certificate, x509.SubjectAlternativeName).value]


def seconds(moment: datetime) -> int:
    """A certificate's time as seconds since the epoch."""
    return int(moment.timestamp())


def lifetime_of(certificate: x509.Certificate) -> int:
    """Seconds from notBefore to notAfter, both included (RFC 5280, 4.1.2.5)."""
    return seconds(certificate.not_valid_after_utc) - seconds(certificate.not_valid_before_utc) + 1


def assert_is_leaf(certificate: x509.Certificate) -> None:
    """A certificate that can't be an authority, by any of the ways in which RFC 5280 lets one be."""
    assert certificate.version is x509.Version.v3
    assert 0 < certificate.serial_number < 2**159
    constraints = extension(certificate, x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert constraints.value.path_length is None
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert not any(getattr(usage.value, name) for name in _CA_USAGES)
    purposes = set(extension(certificate, x509.ExtendedKeyUsage).value)
    assert purposes
    assert not purposes & {ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.OCSP_SIGNING}
    oids = [found.oid for found in certificate.extensions]
    assert len(set(oids)) == len(oids)
    assert x509.NameConstraints.oid not in oids


def assert_is_ca(certificate: x509.Certificate) -> None:
    """A certificate that may sign certificates and CRLs."""
    constraints = extension(certificate, x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert all(getattr(usage.value, name) for name in _CA_USAGES)
    assert certificate.subject.rdns


def openssl_verify(
    certificates: Iterable[x509.Certificate], ca: x509.Certificate, *options: str, strict: bool = True
) -> subprocess.CompletedProcess[str]:
    """``openssl verify`` of all of them, -x509_strict too, with the CA's certificate as the one that is trusted."""
    with tempfile.TemporaryDirectory() as directory:
        anchor = _write(Path(directory) / "ca.pem", ca)
        leaves = [_write(Path(directory) / f"{n}.pem", leaf) for n, leaf in enumerate(certificates)]
        assert leaves
        more = ["-x509_strict", *options] if strict else options
        return _run("openssl", "verify", *more, "-CAfile", anchor, *leaves)


def assert_verifies_with_openssl(
    certificate: x509.Certificate, ca: x509.Certificate, *, at: int | None = None, purpose: str | None = None
) -> None:
    """As ``openssl_verify``; ``at``: seconds since the epoch (else now), ``purpose``: as sslserver."""
    options = [*(["-attime", str(at)] if at is not None else []), *(["-purpose", purpose] if purpose else [])]
    done = openssl_verify([certificate], ca, *options)
    assert done.returncode == 0, done.stdout + done.stderr


def assert_verifies_with_certtool(certificate: x509.Certificate, ca: x509.Certificate) -> None:
    """GnuTLS' opinion, as of now: its command has no other time."""
    with tempfile.TemporaryDirectory() as directory:
        anchor, leaf = _write(Path(directory) / "ca.pem", ca), _write(Path(directory) / "leaf.pem", certificate)
        done = _run("certtool", "--verify", "--load-ca-certificate", anchor, "--infile", leaf)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Chain verification output: Verified. The certificate is trusted." in done.stdout, done.stdout


def openssl_text(certificate: x509.Certificate) -> str:
    """``openssl x509 -text``: what a person looks at."""
    with tempfile.TemporaryDirectory() as directory:
        path = _write(Path(directory) / "leaf.pem", certificate)
        done = _run("openssl", "x509", "-in", path, "-noout", "-text", "-nameopt", "RFC2253,utf8,-esc_msb")
    assert done.returncode == 0, done.stderr
    return done.stdout


def certtool_text(certificate: x509.Certificate) -> str:
    """``certtool --certificate-info``: the same by GnuTLS."""
    with tempfile.TemporaryDirectory() as directory:
        path = _write(Path(directory) / "leaf.pem", certificate)
        done = _run("certtool", "--certificate-info", "--infile", path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _write(path: Path, certificate: x509.Certificate) -> str:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return str(path)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
