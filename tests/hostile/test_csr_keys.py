"""CSRs whose keys must not be certified."""

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from protocol.errors import ErrorCode, Refused
from signerd.csr import parse_csr
from tests import csrs
from tests.csrs import (
    assert_refused,
    assert_weak,
    bit_string,
    make_csr,
    openssl,
    private_key,
    request_info,
    rsa_key_of,
    rsa_spki,
    sequence,
    spki_of,
)


@pytest.mark.parametrize("bits", [1024, 2560])
def test_a_csr_with_an_rsa_key_of_another_size_is_weak(bits: int) -> None:
    assert_weak(make_csr(key=rsa.generate_private_key(65537, bits)), "2048, 3072 or 4096 bits")


def test_a_csr_with_rsa_512_is_weak_though_its_signature_verifies(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:512", "-out", key)
    der = openssl("req", "-new", "-key", key, "-subj", "/CN=web1.example.net", "-outform", "DER")
    assert_weak(der, "2048, 3072 or 4096 bits")


def test_a_csr_with_the_public_exponent_3_is_weak() -> None:
    assert_weak(make_csr(key=rsa.generate_private_key(3, 2048)), "exponent 65537")


@pytest.mark.parametrize("curve", ["secp256k1", "brainpoolP256r1", "P-224", "P-521"])
def test_a_csr_with_a_key_on_another_curve_is_weak(curve: str, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", key)
    der = openssl("req", "-new", "-key", key, "-subj", "/CN=web1.example.net", "-outform", "DER")
    assert_weak(der, "named curves P-256 or P-384")


def test_a_csr_with_explicit_curve_parameters_is_weak(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    options = ("-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit")
    openssl("genpkey", "-algorithm", "EC", *options, "-out", key)
    der = openssl("req", "-new", "-key", key, "-subj", "/CN=web1.example.net", "-outform", "DER")
    assert_weak(der, "named curves P-256 or P-384")


def test_a_csr_with_a_key_of_another_kind_is_weak(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "ED448", "-out", key)
    der = openssl("req", "-new", "-key", key, "-subj", "/CN=web1.example.net", "-outform", "DER")
    assert_weak(der, "accepted are")


@pytest.mark.parametrize("modulus", [-(1 << 2047), 0, 1, (1 << 131071) + 1], ids=["negative", "0", "1", "131072 bits"])
def test_a_csr_with_an_absurd_modulus_is_weak_at_once(modulus: int) -> None:
    info = request_info(rsa_spki(modulus))
    der = sequence(info, csrs.SHA256_WITH_RSA, bit_string(b"\1" * 256))
    start = time.process_time()
    assert_weak(der, "accepted are")
    assert time.process_time() - start < 0.05


def test_a_csr_with_an_even_modulus_is_weak() -> None:
    info = request_info(rsa_spki(1 << 2047 | 2))
    assert_weak(sequence(info, csrs.SHA256_WITH_RSA, bit_string(b"\1" * 256)), "modulus is even")


def test_a_csr_with_close_primes_is_weak() -> None:
    key = private_key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    p = key.private_numbers().p
    assert_weak(make_csr(key=rsa_key_of(p, csrs.next_prime(p + 2))), "primes are too close")


def test_a_csr_with_a_published_key_is_weak() -> None:
    secret = 0xE6CB5BDD80AA45AE9C95E8C15476679FFEC953C16851E711E743939589C64FC1  # RFC 9500, 2.3
    assert_weak(make_csr(key=ec.derive_private_key(secret, ec.SECP256R1())), "published test key")


def test_a_csr_with_a_blocked_key_is_weak() -> None:
    blocked = frozenset({spki_of(private_key("ed25519"))})
    with pytest.raises(Refused, match="compromised") as refused:
        parse_csr(make_csr(), blocked=blocked)
    assert refused.value.code is ErrorCode.WEAK_KEY


def test_a_csr_that_nobody_signed_is_weak_though_the_library_takes_its_signature_for_valid() -> None:
    identity = (1).to_bytes(32, "little")  # the neutral element as public key: S = 0, R = 0 fit any message
    spki = sequence(csrs.ED25519, bit_string(identity))
    der = sequence(request_info(spki), csrs.ED25519, bit_string(identity + bytes(32)))
    assert x509.load_der_x509_csr(der).is_signature_valid
    assert_weak(der, "small order")


def test_a_point_that_is_not_on_the_curve_is_refused() -> None:
    spki = bytearray(spki_of(private_key("p256")))
    spki[-1] ^= 1
    info = request_info(bytes(spki))
    assert_refused(sequence(info, csrs.ECDSA_WITH_SHA256, bit_string(b"\x30\0")), "key can't be read")
