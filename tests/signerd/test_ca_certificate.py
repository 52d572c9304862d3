from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.errors import ConfigurationError
from signerd.ca_certificate import check_chain, check_own_certificate, load_chain
from signerd.identity import load_identity
from tests.identities import (
    DAY,
    NOW,
    ca_certificate,
    openssl,
    p256,
    ssl_api_certificate,
    write_identity,
)

WHERE = "/var/lib/ca/ca.crt.pem"


def check(certificate: x509.Certificate, now: int = NOW) -> None:
    check_own_certificate(certificate, WHERE, now)


def refusal(certificate: x509.Certificate, now: int = NOW) -> str:
    with pytest.raises(ConfigurationError) as refused:
        check(certificate, now)
    message = str(refused.value)
    assert "\n" not in message
    assert WHERE in message
    return message


def chain_refusal(*chain: x509.Certificate) -> str:
    with pytest.raises(ConfigurationError) as refused:
        check_chain(chain, WHERE, NOW)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(WHERE)
    return message


# Is it a CA's?


def test_a_certificate_in_order_is_accepted_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    check(ca_certificate(p256()))
    assert not caplog.records


def test_a_certificate_without_basic_constraints_is_no_ca() -> None:
    assert "is no CA certificate, as it has no basicConstraints; make it anew" in refusal(
        ca_certificate(p256(), constraints=None)
    )


def test_a_certificate_that_says_ca_false_is_no_ca() -> None:
    certificate = ca_certificate(p256(), constraints=x509.BasicConstraints(ca=False, path_length=None))
    assert "is no CA certificate (basicConstraints CA:FALSE)" in refusal(certificate)


@pytest.mark.parametrize(
    ("granted", "lacking"),
    [
        (["crl_sign"], "keyCertSign"),
        (["key_cert_sign"], "cRLSign"),
        (["digital_signature"], "keyCertSign and cRLSign"),
    ],
)
def test_a_key_usage_must_grant_both_kinds_of_signature(granted: list[str], lacking: str) -> None:
    assert f"its keyUsage lacks {lacking};" in refusal(ca_certificate(p256(), usage=granted))


def test_a_ca_without_a_name_is_refused() -> None:
    assert "has no subject" in refusal(ca_certificate(p256(), name=None))


# Is it in date?


def test_the_validity_includes_both_of_its_ends() -> None:
    certificate = ca_certificate(p256(), not_before=NOW, not_after=NOW + 100)
    check(certificate, NOW)
    check(certificate, NOW + 100)
    assert "is not valid before 2026-01-02 03:04:05 UTC, and it is 2026-01-02 03:04:04 UTC" in refusal(
        certificate, NOW - 1
    )
    assert "expired: it was valid until 2026-01-02 03:05:45 UTC; make it anew" in refusal(certificate, NOW + 101)


def test_a_certificate_about_to_expire_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    certificate = ca_certificate(p256(), not_after=NOW + 30 * DAY)
    check(certificate, NOW)
    assert not caplog.records
    check(certificate, NOW + 1)
    assert "expires at 2026-02-01 03:04:05 UTC, in 29 days" in caplog.text


# Is its key one that clients take?


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(rsa.generate_private_key(65537, 2048), id="rsa2048"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="p384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="ed25519"),
    ],
)
def test_the_usual_keys_are_accepted(key: CertificateIssuerPrivateKeyTypes) -> None:
    check(ca_certificate(key))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (rsa.generate_private_key(65537, 1024), "is RSA of 1024 bits"),  # noqa: S505 - that is the point
        (rsa.generate_private_key(3, 2048), "is RSA with the exponent 3"),
        (ec.generate_private_key(ec.SECP521R1()), "is on the curve secp521r1"),
        (ec.generate_private_key(ec.SECP256K1()), "is on the curve secp256k1"),
        (ed448.Ed448PrivateKey.generate(), "is of a kind that isn't supported (1.3.101.113)"),
    ],
)
def test_other_keys_are_refused_with_the_list_of_those_accepted(
    key: CertificateIssuerPrivateKeyTypes, problem: str
) -> None:
    assert refusal(ca_certificate(key)) == (
        f"the key of {WHERE} {problem}: RSA of 2048 to 8192 bits with the exponent 65537, P-256, P-384 and "
        "Ed25519 are accepted"
    )


def test_an_rsa_key_that_is_bound_to_pss_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"))
    pem = openssl("req", "-x509", "-key", key, "-subj", "/CN=x", "-days", "10")
    certificate = x509.load_pem_x509_certificate(pem)
    now = int(certificate.not_valid_before_utc.timestamp())
    assert "is of a kind that isn't supported (1.2.840.113549.1.1.10)" in refusal(certificate, now)


def test_a_curve_that_is_not_named_but_spelled_out_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(openssl("ecparam", "-name", "prime256v1", "-genkey", "-param_enc", "explicit"))
    pem = openssl("req", "-x509", "-key", key, "-subj", "/CN=x", "-days", "10")
    certificate = x509.load_pem_x509_certificate(pem)
    now = int(certificate.not_valid_before_utc.timestamp())
    assert f"the key of {WHERE} spells its curve out" in refusal(certificate, now)


# By which hash is it signed?


def test_a_signature_algorithm_that_is_not_known_is_refused() -> None:
    # ecdsa-with-SHA256 becomes 1.2.840.10045.4.3.127, which nobody has assigned.
    pem = ca_certificate(p256()).public_bytes(Encoding.DER)
    known, unknown = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f")
    certificate = x509.load_der_x509_certificate(pem.replace(known, unknown))
    assert refusal(certificate) == f"{WHERE} is signed by an algorithm that isn't supported (1.2.840.10045.4.3.127)"


def signed_by_openssl(tmp_path: Path, digest: str, algorithm: list[str]) -> x509.Certificate:
    key = tmp_path / "key.pem"
    key.write_bytes(openssl("genpkey", *algorithm))
    return x509.load_pem_x509_certificate(
        openssl("req", "-x509", "-key", key, "-subj", "/CN=x", "-days", "90", f"-{digest}")
    )


@pytest.mark.parametrize("digest", ["sha1", "md5"])
@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], id="rsa"),
        pytest.param(["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], id="ec"),
    ],
)
def test_a_self_signed_certificate_may_be_signed_by_a_broken_hash(
    tmp_path: Path, digest: str, algorithm: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    if digest == "md5" and "EC" in algorithm:
        # There is no such signature algorithm (RFC 5758); openssl makes none.
        with pytest.raises(AssertionError, match="openssl req"):
            signed_by_openssl(tmp_path, digest, algorithm)
        return
    certificate = signed_by_openssl(tmp_path, digest, algorithm)
    check(certificate, int(certificate.not_valid_before_utc.timestamp()))
    assert f"is signed with {digest.upper()}; being self-signed, it can serve" in caplog.text


def test_a_certificate_signed_with_sha1_by_another_key_is_refused(tmp_path: Path) -> None:
    root_key, root, request_key, request = (tmp_path / name for name in ("rk", "r", "k", "csr"))
    for key in (root_key, request_key):
        key.write_bytes(openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))
    root.write_bytes(openssl("req", "-x509", "-key", root_key, "-subj", "/CN=x", "-days", "90"))
    # The same name as its issuer's: only the signature tells that it isn't self-signed.
    request.write_bytes(openssl("req", "-new", "-key", request_key, "-subj", "/CN=x"))
    extensions = tmp_path / "ext"
    extensions.write_text("basicConstraints=critical,CA:TRUE\n")
    certificate = x509.load_pem_x509_certificate(
        openssl(
            *("x509", "-req", "-in", request, "-CA", root, "-CAkey", root_key, "-CAcreateserial"),
            *("-sha1", "-days", "90", "-extfile", extensions),
        )
    )
    assert "is signed with SHA1, which clients refuse: have its issuer sign it anew" in refusal(
        certificate, int(certificate.not_valid_before_utc.timestamp())
    )


# What ssl_api made

RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("version", "serial"),
    [
        pytest.param(3, b"\x01", id="its early releases"),
        pytest.param(1, b"\x7f" * 20, id="its later releases"),
        pytest.param(1, b"\0" + b"\xff" * 20, id="its later releases, with a serial number of 21 bytes"),
    ],
)
def test_a_certificate_as_ssl_api_made_it_loads_and_strict_clients_are_warned_of(
    tmp_path: Path, version: int, serial: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = ssl_api_certificate(RSA_KEY, version=version, serial=serial)
    directory = write_identity(tmp_path / "ca", [certificate], RSA_KEY, certificate_name="ca.cert.pem")
    identity = load_identity(directory, bytes, NOW)
    assert identity.certificate.serial_number == int.from_bytes(serial, "big")
    sha1, shortcomings, _ = (record.getMessage() for record in caplog.records)
    assert "is signed with SHA1; being self-signed, it can serve" in sha1
    assert ("it is of version 1, " in shortcomings) == (version == 1)
    assert "its basicConstraints aren't critical, it has no keyUsage, it has no subjectKeyId" in shortcomings


def test_an_old_certificate_without_extensions_is_refused_with_the_way_out() -> None:
    certificate = ssl_api_certificate(RSA_KEY, version=1, serial=b"\x01", ca=False)
    assert certificate.version is x509.Version.v1
    assert refusal(certificate).endswith(
        "has no basicConstraints; make it anew for the same key and subject: ca_create_identity --renew"
    )


# The chain of an intermediate CA

ROOT_KEY, MIDDLE_KEY, OWN_KEY = p256(), p256(), p256()
ROOT = ca_certificate(ROOT_KEY, name="root")
MIDDLE = ca_certificate(MIDDLE_KEY, name="middle", issuer="root", issuer_key=ROOT_KEY)
OWN = ca_certificate(OWN_KEY, name="own", issuer="middle", issuer_key=MIDDLE_KEY)


@pytest.mark.parametrize("chain", [[OWN], [OWN, MIDDLE], [OWN, MIDDLE, ROOT]])
def test_an_intermediate_loads_with_as_much_of_its_chain_as_the_file_holds(
    tmp_path: Path, chain: list[x509.Certificate]
) -> None:
    identity = load_identity(write_identity(tmp_path / "ca", chain, OWN_KEY), bytes, NOW)
    assert identity.certificate == OWN
    assert list(identity.chain) == chain


@pytest.mark.parametrize("chain", [[OWN, ROOT], [OWN, ROOT, MIDDLE], [OWN, OWN], [ROOT, OWN]])
def test_a_chain_out_of_order_is_refused(chain: list[x509.Certificate]) -> None:
    assert "certificate 2 (CN=" in chain_refusal(*chain)
    assert "didn't issue the one before it; the CA's own comes first" in chain_refusal(*chain)


def test_an_issuer_of_the_right_name_and_another_key_is_refused() -> None:
    impostor = ca_certificate(p256(), name="middle", issuer="root", issuer_key=ROOT_KEY)
    assert "certificate 2 (CN=middle) didn't issue the one before it" in chain_refusal(OWN, impostor, ROOT)


def test_an_expired_issuer_is_refused() -> None:
    expired = ca_certificate(ROOT_KEY, name="root", not_after=NOW - 1)
    assert "certificate 3 (CN=root) expired" in chain_refusal(OWN, MIDDLE, expired)


def test_an_issuer_that_is_no_ca_is_refused() -> None:
    leaf = x509.BasicConstraints(ca=False, path_length=None)
    root = ca_certificate(ROOT_KEY, name="root", constraints=leaf)
    assert "certificate 3 (CN=root) is no CA certificate" in chain_refusal(OWN, MIDDLE, root)


@pytest.mark.parametrize(("length", "allowed"), [(0, False), (1, False), (2, True), (None, True)])
def test_an_issuer_must_allow_as_many_cas_below_it_as_there_are(length: int | None, allowed: bool) -> None:
    root = ca_certificate(ROOT_KEY, name="root", constraints=x509.BasicConstraints(ca=True, path_length=length))
    if allowed:
        check_chain([OWN, MIDDLE, root], WHERE, NOW)
    else:
        assert f"allows {length} CA certificates below it (pathlen), and 2 are there" in chain_refusal(
            OWN, MIDDLE, root
        )


def test_a_self_issued_certificate_does_not_count_towards_the_path_length() -> None:
    constraints = x509.BasicConstraints(ca=True, path_length=1)
    old_root = ca_certificate(ROOT_KEY, name="root", constraints=constraints)
    new_key = p256()
    rolled_over = ca_certificate(new_key, name="root", issuer="root", issuer_key=ROOT_KEY, constraints=constraints)
    own = ca_certificate(OWN_KEY, name="own", issuer="root", issuer_key=new_key)
    check_chain([own, rolled_over, old_root], WHERE, NOW)


# Encodings that are parsed late


def test_a_certificate_with_the_same_extension_twice_is_refused() -> None:
    certificate = ca_certificate(p256(), usage=None)
    # A second basicConstraints in place of the subjectKeyIdentifier: the object identifiers are as long.
    forged = certificate.public_bytes(Encoding.DER).replace(b"\x55\x1d\x0e", b"\x55\x1d\x13")
    pem = x509.load_der_x509_certificate(forged).public_bytes(Encoding.PEM)
    with pytest.raises(ConfigurationError, match=f"^{WHERE} holds no readable PEM certificate: .*Duplicate"):
        load_chain(pem, WHERE)
