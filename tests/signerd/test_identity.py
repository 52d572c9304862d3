import logging
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import ConfigurationError
from signerd.identity import load_identity
from signerd.new_identity import KEY_MAKERS
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
    refusal,
    valid_identity,
    write_identity,
    write_key,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "ca"


def never_asked() -> bytes:
    raise AssertionError("the passphrase was asked for")


# What loads


@pytest.mark.parametrize("key", sorted(KEY_MAKERS))
def test_a_created_identity_loads_and_is_the_same(directory: Path, key: str) -> None:
    created = make_identity(directory, key=key)
    loaded = load(directory)
    assert loaded.certificate == created.certificate
    assert loaded.chain == (created.certificate,)
    assert loaded.private_key.public_key() == created.private_key.public_key()


def test_an_identity_by_the_old_recipe_loads(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_old_identity(directory)
    certificate = x509.load_pem_x509_certificate((directory / "ca.cert.pem").read_bytes())
    now = int(certificate.not_valid_before_utc.timestamp())
    assert b"Proc-Type: 4,ENCRYPTED" in (directory / "ca.private_key.pem").read_bytes()
    loaded = load(directory, now=now)
    assert loaded.certificate == certificate
    assert isinstance(loaded.private_key, rsa.RSAPrivateKey)
    # openssl's default configuration leaves keyUsage out, and nothing else is amiss.
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        f"{directory / 'ca.cert.pem'} can serve, but strict clients refuse it: it has no keyUsage"
    ]


@pytest.mark.parametrize("cipher", [["-v2", "aes-256-cbc"], ["-scrypt"], ["-v1", "PBE-SHA1-3DES"]])
def test_a_key_encrypted_by_openssl_pkcs8_loads(directory: Path, cipher: list[str]) -> None:
    valid_identity(directory)
    path = directory / "ca.private_key.pem"
    write_key(
        directory,
        openssl("pkcs8", "-topk8", "-in", path, *cipher, "-passout", f"pass:{PASSPHRASE.decode()}"),
    )
    load(directory)
    assert "passphrase is wrong" in refusal(directory, passphrase=b"wrong")


def test_the_parameters_and_the_text_that_openssl_writes_around_a_key_are_passed_over(directory: Path) -> None:
    valid_identity(directory)
    path = directory / "ca.private_key.pem"
    parameters = openssl("ecparam", "-name", "prime256v1")
    sec1 = openssl("pkey", "-in", path, "-traditional")
    assert parameters.startswith(b"-----BEGIN EC PARAMETERS")
    assert sec1.startswith(b"-----BEGIN EC PRIVATE KEY")
    write_key(directory, b"Bag Attributes\n    friendlyName: ca\nKey Attributes: <No Attributes>\n" + parameters + sec1)
    load(directory)


def test_text_around_a_certificate_is_passed_over(directory: Path) -> None:
    valid_identity(directory)
    path = directory / "ca.crt.pem"
    path.write_bytes(openssl("x509", "-in", path, "-text"))
    assert path.read_bytes().startswith(b"Certificate:")
    load(directory)


def test_both_names_of_the_certificate_may_be_there_if_they_say_the_same(directory: Path) -> None:
    valid_identity(directory)
    (directory / "ca.cert.pem").write_bytes((directory / "ca.crt.pem").read_bytes())
    load(directory)


def test_the_passphrase_is_asked_for_only_if_the_key_is_encrypted(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    valid_identity(directory)
    caplog.clear()
    load_identity(directory, never_asked, NOW)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "is not encrypted" in caplog.text


def test_the_passphrase_is_not_asked_for_while_something_else_is_wrong(directory: Path) -> None:
    make_identity(directory, lifetime_seconds=DAY)
    with pytest.raises(ConfigurationError, match="expired"):
        load_identity(directory, never_asked, NOW + DAY)


def test_an_identity_does_not_show_its_key(directory: Path) -> None:
    assert "private_key" not in repr(load(valid_identity(directory)))


# What is missing or can't be read

GARBAGE = [b"", b"\0\xff garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]


def test_a_missing_directory_is_named(directory: Path) -> None:
    assert refusal(directory) == f"the directory {directory} can't be opened: No such file or directory"


def test_a_file_in_place_of_the_directory_is_refused(directory: Path) -> None:
    directory.touch()
    assert "Not a directory" in refusal(directory)


def test_missing_files_are_named(directory: Path) -> None:
    valid_identity(directory)
    (directory / "ca.private_key.pem").unlink()
    assert refusal(directory) == f"{directory} holds no ca.private_key.pem"
    (directory / "ca.crt.pem").unlink()
    assert refusal(directory) == f"{directory} holds neither ca.crt.pem nor ca.cert.pem"


def test_two_different_certificate_files_are_refused(directory: Path) -> None:
    valid_identity(directory)
    (directory / "ca.cert.pem").write_bytes(ca_certificate(p256()).public_bytes(Encoding.PEM))
    assert "ca.crt.pem and" in refusal(directory)
    assert "differ" in refusal(directory)


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_in_place_of_the_certificate_is_refused(directory: Path, content: bytes) -> None:
    (valid_identity(directory) / "ca.crt.pem").write_bytes(content)
    assert "ca.crt.pem holds no readable PEM certificate" in refusal(directory)


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_in_place_of_the_key_is_refused(directory: Path, content: bytes) -> None:
    write_key(valid_identity(directory), content)
    assert refusal(directory) == f"{directory / 'ca.private_key.pem'} holds no PEM private key"


def test_a_damaged_key_is_refused(directory: Path) -> None:
    key = (valid_identity(directory) / "ca.private_key.pem").read_bytes()
    write_key(directory, key.replace(key[40:60], b"A" * 20))
    assert refusal(directory).endswith("ca.private_key.pem can't be read: the file is damaged")


def test_several_keys_in_one_file_are_refused(directory: Path) -> None:
    key = (valid_identity(directory) / "ca.private_key.pem").read_bytes()
    write_key(directory, key + key)
    assert "holds 2 private keys, and one is wanted" in refusal(directory)


def test_a_key_in_a_form_that_is_not_read_is_refused_with_the_way_out(directory: Path) -> None:
    key = (valid_identity(directory) / "ca.private_key.pem").read_bytes()
    write_key(directory, key.replace(b"PRIVATE KEY", b"OPENSSH PRIVATE KEY"))
    assert "'OPENSSH PRIVATE KEY': convert it with openssl pkcs8 -topk8" in refusal(directory)


def test_a_key_of_a_kind_that_cannot_sign_certificates_is_refused(directory: Path) -> None:
    write_key(valid_identity(directory), openssl("genpkey", "-algorithm", "X25519"))
    assert "is no RSA, elliptic-curve or Ed25519 key" in refusal(directory)


def test_a_private_key_in_the_certificate_file_is_refused(directory: Path) -> None:
    certificate = valid_identity(directory) / "ca.crt.pem"
    certificate.write_bytes(certificate.read_bytes() + (directory / "ca.private_key.pem").read_bytes())
    assert "ca.crt.pem holds a private key, yet this file is handed out" in refusal(directory)


@pytest.mark.parametrize("name", ["ca.crt.pem", "ca.private_key.pem", "ca.public_key.pem"])
def test_a_file_that_is_far_too_large_is_refused(directory: Path, name: str) -> None:
    (valid_identity(directory) / name).write_bytes(b" " * 300_000)
    assert f"{name} is larger than 262144 bytes" in refusal(directory)


@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_a_wrong_passphrase_is_said_so(directory: Path, form: str) -> None:
    if form == "pkcs8":
        make_identity(directory)
        now = NOW
    else:
        make_old_identity(directory)
        certificate = x509.load_pem_x509_certificate((directory / "ca.cert.pem").read_bytes())
        now = int(certificate.not_valid_before_utc.timestamp())
    assert refusal(directory, passphrase=b"wrong", now=now) == (
        f"{directory / 'ca.private_key.pem'} can't be read: the passphrase is wrong, or the file is damaged"
    )


# What belongs together


def test_a_key_of_another_certificate_is_refused(directory: Path) -> None:
    write_identity(directory, [ca_certificate(p256())], p256())
    assert "ca.private_key.pem doesn't belong to" in refusal(directory)


def test_a_public_key_file_must_match(directory: Path) -> None:
    key = p256()
    write_identity(directory, [ca_certificate(key)], key)
    path = directory / "ca.public_key.pem"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    load(directory)
    path.write_bytes(p256().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert "ca.public_key.pem doesn't belong to" in refusal(directory)
    path.write_bytes(b"garbage")
    assert "ca.public_key.pem holds no readable PEM public key" in refusal(directory)
