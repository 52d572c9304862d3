"""ca_create_identity --renew: a new certificate for the same key and name; what was issued stays valid under it."""

import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.errors import ConfigurationError
from signerd.files import Owner
from signerd.identity import load_identity
from signerd.renew_identity import renew_identity
from tests.identities import (
    DAY,
    NOW,
    PASSPHRASE,
    ca_certificate,
    load,
    make_identity,
    make_old_identity,
    openssl,
    p256,
    ssl_api_certificate,
    write_identity,
)

ME = Owner(os.geteuid(), os.getegid())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def renew(directory: Path, *, now: int = NOW, passphrase: bytes = PASSPHRASE) -> x509.Certificate:
    identity, path = renew_identity(directory, 3650 * DAY, lambda: passphrase, now, ME)
    assert path.read_bytes() == identity.certificate.public_bytes(Encoding.PEM)
    return identity.certificate


def leaf_under(key: CertificateIssuerPrivateKeyTypes, issuer: x509.Certificate, *, bound: bool) -> x509.Certificate:
    """A leaf that lasts; ``bound``: its authority key identifier names the issuer's key."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old.example.net")]))
        .issuer_name(issuer.subject)
        .public_key(p256().public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW - 3650 * DAY, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 7300 * DAY, UTC))
    )
    if bound:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        builder = builder.add_extension(authority, critical=False)
    return builder.sign(key, hashes.SHA256())


def accepts(trusted: Path, leaf: Path, *options: str, at: int) -> bool:
    command = ["openssl", "verify", *options, "-attime", str(at), "-CAfile", str(trusted), str(leaf)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def value_of(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType:
    return certificate.extensions.get_extension_for_class(kind).value


def test_an_expired_root_is_made_anew_and_what_it_issued_is_valid_again(tmp_path: Path) -> None:
    old = make_identity(tmp_path / "ca", lifetime_seconds=30 * DAY)
    path, leaf, later = tmp_path / "ca/ca.crt.pem", tmp_path / "leaf.pem", NOW + 60 * DAY
    leaf.write_bytes(leaf_under(old.private_key, old.certificate, bound=True).public_bytes(Encoding.PEM))
    assert not accepts(path, leaf, at=later)
    with pytest.raises(ConfigurationError, match=r"expired.*ca_create_identity --renew"):
        load(tmp_path / "ca", now=later)

    new = renew(tmp_path / "ca", now=later)
    assert new == load(tmp_path / "ca", now=later).certificate
    assert new.public_key() == old.certificate.public_key()
    assert new.subject.public_bytes() == old.certificate.subject.public_bytes()
    assert new.serial_number != old.certificate.serial_number
    assert new.not_valid_after_utc == datetime.fromtimestamp(later - 60 + 3650 * DAY - 1, UTC)
    assert list(new.extensions) == list(old.certificate.extensions)
    assert accepts(path, leaf, "-x509_strict", at=later)


def test_the_old_certificate_is_kept_and_nothing_else_changes(tmp_path: Path) -> None:
    make_identity(tmp_path / "ca")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir()}
    renew(tmp_path / "ca")
    after = {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir()}
    assert after.pop("ca.crt.pem.20260102T030405Z") == before["ca.crt.pem"]
    assert after.pop("ca.crt.pem") != before.pop("ca.crt.pem")
    assert after == before


@pytest.mark.parametrize("version", [1, 3])
def test_a_root_of_ssl_api_becomes_a_proper_one_under_which_old_leaves_stay_valid(
    tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    old = ssl_api_certificate(RSA_KEY, version=version, serial=b"\0" + b"\xff" * 20)
    directory = write_identity(tmp_path / "ca", [old], RSA_KEY, certificate_name="ca.cert.pem")
    path, leaf = directory / "ca.cert.pem", tmp_path / "leaf.pem"
    leaf.write_bytes(leaf_under(RSA_KEY, old, bound=False).public_bytes(Encoding.PEM))
    assert accepts(path, leaf, at=NOW)
    assert not accepts(path, leaf, "-x509_strict", at=NOW)

    renew(directory)
    caplog.clear()
    load_identity(directory, bytes, NOW)
    assert [record.getMessage().partition(" is ")[2][:13] for record in caplog.records] == ["not encrypted"]
    assert accepts(path, leaf, at=NOW)
    assert accepts(path, path, "-x509_strict", at=NOW)


def test_an_old_certificate_without_any_extension_becomes_that_of_a_ca(tmp_path: Path) -> None:
    old = ssl_api_certificate(RSA_KEY, version=1, serial=b"\x01", ca=False)
    directory = write_identity(tmp_path / "ca", [old], RSA_KEY)
    with pytest.raises(ConfigurationError, match="has no basicConstraints"):
        load_identity(directory, bytes, NOW)
    renew(directory)
    load_identity(directory, bytes, NOW)


def test_two_names_of_the_same_certificate_become_one(tmp_path: Path) -> None:
    make_identity(tmp_path / "ca")
    shutil.copy(tmp_path / "ca/ca.crt.pem", tmp_path / "ca/ca.cert.pem")
    renew(tmp_path / "ca")
    load(tmp_path / "ca")
    assert not (tmp_path / "ca/ca.cert.pem").exists()


def test_what_the_old_certificate_says_of_itself_is_kept(tmp_path: Path) -> None:
    key = p256()
    identifier = x509.SubjectKeyIdentifier(b"a key identifier made by another rule")
    constraints = x509.NameConstraints([x509.DNSName("example.net")], None)
    template = ca_certificate(key, constraints=x509.BasicConstraints(ca=True, path_length=3))
    builder = x509.CertificateBuilder(template.issuer, template.subject, key.public_key(), 4711)
    builder = builder.not_valid_before(template.not_valid_before_utc).not_valid_after(template.not_valid_after_utc)
    for extension in template.extensions:
        if extension.oid != identifier.oid:
            builder = builder.add_extension(extension.value, extension.critical)
    authority = x509.AuthorityKeyIdentifier(identifier.digest, [x509.DirectoryName(template.subject)], 4711)
    builder = builder.add_extension(identifier, critical=False).add_extension(authority, critical=False)
    old = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())

    new = renew(write_identity(tmp_path / "ca", [old], key))
    assert value_of(new, x509.SubjectKeyIdentifier) == identifier
    assert value_of(new, x509.NameConstraints) == constraints
    assert value_of(new, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=3)
    # That of the old one names the old serial number, which the new one hasn't.
    assert value_of(new, x509.AuthorityKeyIdentifier) == x509.AuthorityKeyIdentifier(identifier.digest, None, None)


def test_an_old_name_with_an_address_that_is_none_is_kept(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    directory.mkdir(mode=0o700)
    key = directory / "ca.private_key.pem"
    key.write_bytes(openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
    key.chmod(0o600)
    subject = ("-subj", "/CN=ca.net/emailAddress=the postmaster", "-days", "9000")
    (directory / "ca.cert.pem").write_bytes(openssl("req", "-x509", "-key", key, *subject))
    new = renew(directory, now=int(time.time()))
    assert new.subject.rfc4514_string().startswith("1.2.840.113549.1.9.1=the postmaster")
    assert x509.SubjectAlternativeName.oid not in [extension.oid for extension in new.extensions]


def test_a_certificate_that_another_ca_issued_is_for_that_one_to_renew(tmp_path: Path) -> None:
    above, key = p256(), p256()
    certificate = ca_certificate(key, issuer="root", issuer_key=above)
    directory = write_identity(tmp_path / "ca", [certificate], key)
    with pytest.raises(ConfigurationError, match=r"its issuer, CN=root, has to renew it, from ca\.csr\.pem"):
        renew(directory)


@pytest.mark.parametrize("wrong", ["passphrase", "key"])
def test_what_does_not_belong_together_changes_nothing(tmp_path: Path, wrong: str) -> None:
    make_identity(tmp_path / "ca")
    if wrong == "key":
        make_identity(tmp_path / "other")
        shutil.copy(tmp_path / "other/ca.private_key.pem", tmp_path / "ca")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir()}
    with pytest.raises(ConfigurationError):
        renew(tmp_path / "ca", passphrase=b"wrong" if wrong == "passphrase" else PASSPHRASE)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir()}


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    owner = ["--owner", "root"] if os.geteuid() == 0 else []
    line = [sys.executable, "-W", "error", "-m", "signerd.commands.create_identity", *owner, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "SAPI_CA_PATH"}
    environment["CA_PASSPHRASE"] = PASSPHRASE.decode()
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_renews_an_identity_made_by_the_old_recipe(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    make_old_identity(directory, days=1)
    old = x509.load_pem_x509_certificate((directory / "ca.cert.pem").read_bytes())
    done = command("--renew", "-v", "20y", "--path", directory)
    assert done.returncode == 0, done.stderr
    new = load(directory, now=int(time.time())).certificate
    assert new.subject == old.subject
    assert (new.not_valid_after_utc - new.not_valid_before_utc).days == 20 * 365 - 1
    assert f"wrote {directory}/ca.cert.pem\n" in done.stdout
    assert new.fingerprint(hashes.SHA256()).hex(":").upper() in done.stdout
    assert "the earlier certificate is kept as" in done.stderr
    assert b"CA:TRUE" in openssl("x509", "-in", directory / "ca.cert.pem", "-noout", "-text")


@pytest.mark.parametrize("option", [("-f", "CN", "another name"), ("--key", "p384")])
def test_the_command_takes_no_other_name_and_no_other_key(tmp_path: Path, option: tuple[str, ...]) -> None:
    make_identity(tmp_path / "ca")
    done = command("--renew", "--path", tmp_path / "ca", *option)
    assert done.returncode == 2
    assert "--renew keeps the key and the name" in done.stderr
