"""CSRs whose frame, attributes, extensions or signature are not what they should be."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from protocol.fields import CSR_BYTES_MAX
from signerd.csr import parse_csr
from tests import csrs
from tests.csrs import (
    BASIC_CONSTRAINTS,
    CN,
    KEY_USAGE,
    OPENSSL_KEYS,
    assert_refused,
    attribute,
    bit_string,
    dns,
    extension,
    extension_request,
    integer,
    make_csr,
    oid,
    openssl_csr,
    private_key,
    rdn,
    request_info,
    san,
    sequence,
    signature_by,
    signed_request,
    spki_of,
    tlv,
)


def test_two_extension_request_attributes_are_refused_though_the_library_takes_the_first() -> None:
    attributes = [
        extension_request(san(dns("web1.example.net"))),
        extension_request(san(dns("web2.example.net"))),
    ]
    der = make_csr(attributes=attributes)
    assert len(x509.load_der_x509_csr(der).extensions) == 1
    assert_refused(der, "same attribute twice")


def test_an_extension_request_with_two_values_is_refused() -> None:
    values = (sequence(san(dns(name))) for name in ("web1.example.net", "web2.example.net"))
    der = make_csr(attributes=[attribute(csrs.EXTENSION_REQUEST, *values)])
    assert_refused(der, "exactly one value|not strict DER")


def test_an_extension_request_without_a_value_is_refused() -> None:
    assert_refused(make_csr(attributes=[attribute(csrs.EXTENSION_REQUEST)]), "exactly one value")


def test_extensions_in_microsofts_attribute_are_refused_instead_of_dropped() -> None:
    der = make_csr(attributes=[attribute("1.3.6.1.4.1.311.2.1.14", sequence(san(dns("a.example.net"))))])
    assert_refused(der, "Microsoft's attribute")


def test_a_duplicate_extension_is_refused() -> None:
    der = make_csr(attributes=[extension_request(san(dns("a.example.net")), san(dns("b.example.net")))])
    assert_refused(der, "extensions can't be read")


def test_very_many_extensions_are_refused() -> None:
    extensions = [extension(f"1.2.3.{number}", b"\x05\0") for number in range(33)]
    assert_refused(make_csr(attributes=[extension_request(*extensions)]), "more than 32 extensions")


@pytest.mark.parametrize(
    "value",
    [b"", b"\x30", b"\x30\x80\0\0", b"\x30\x03\x01\x01\x01", b"\x30\x03\x01\x01\xff\0", b"\x30\x03\x01\x01\0"],
)
def test_basic_constraints_that_are_not_der_are_refused(value: bytes) -> None:
    der = make_csr(attributes=[extension_request(extension(BASIC_CONSTRAINTS, value))])
    assert_refused(der, "extensions can't be read")


def test_key_usage_bits_are_read_as_rfc_5280_numbers_them() -> None:
    der = make_csr(attributes=[extension_request(extension(KEY_USAGE, tlv(3, b"\x02\x84")))])
    assert parse_csr(der).key_usage == {"digitalSignature", "keyCertSign"}


def test_ca_true_is_seen_however_it_is_asked_for() -> None:
    ca = extension(BASIC_CONSTRAINTS, sequence(b"\x01\x01\xff"))
    critical = sequence(oid(BASIC_CONSTRAINTS), b"\x01\x01\xff", tlv(4, sequence(b"\x01\x01\xff")))
    for asked in (ca, critical):
        assert parse_csr(make_csr(attributes=[extension_request(asked)])).wants_ca


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
def test_a_signature_by_another_key_is_refused(key_type: str) -> None:
    key = private_key(key_type)
    other = {"rsa": "rsa2048", "p25": "p256", "p38": "p384", "ed2": "ed25519"}[key_type[:3]]
    algorithm, _ = signature_by(key, b"")
    info = request_info(spki_of(key))
    _, signature = signature_by(private_key(other), info + b"something else")
    assert_refused(sequence(info, algorithm, bit_string(signature)), "signature was not made by the key in it")


@pytest.mark.parametrize(
    ("key_type", "hash_type"), [("rsa2048", hashes.SHA1), ("rsa2048", hashes.MD5), ("p256", hashes.SHA1)]
)
def test_a_signature_with_sha_1_or_md5_is_refused(key_type: str, hash_type: type[hashes.SHA1 | hashes.MD5]) -> None:
    assert_refused(make_csr(key=private_key(key_type), hash_=hash_type()), "SHA-256, SHA-384 or SHA-512")


def test_a_signature_algorithm_of_another_kind_of_key_is_refused() -> None:
    info = request_info(spki_of(private_key("ed25519")))
    _, signature = signature_by(private_key("ed25519"), info)
    for algorithm in (csrs.ECDSA_WITH_SHA256, csrs.SHA256_WITH_RSA):
        assert_refused(sequence(info, algorithm, bit_string(signature)), "signature")


def test_a_signature_with_rsa_pss_is_refused_and_the_accepted_ones_are_named(tmp_path: Path) -> None:
    assert_refused(openssl_csr(tmp_path, "rsa2048", "-sigopt", "rsa_padding_mode:pss"), "PKCS #1 v1.5")


def test_bytes_after_the_csr_are_refused() -> None:
    assert_refused(make_csr() + b"\0", "not DER|bytes after its end")
    assert_refused(make_csr() + make_csr(), "bytes after its end")


@pytest.mark.parametrize("der", [b"", b"\0", b"\x30", b"\x30\0", b"\x30\x80\0\0", b"-----BEGIN", b"\x30\x84\xff"])
def test_what_is_no_csr_at_all_is_refused(der: bytes) -> None:
    assert_refused(der, "the CSR")


def test_a_length_that_is_longer_than_need_be_is_refused() -> None:
    der = make_csr()
    assert der[1] == 0x81
    assert_refused(b"\x30\x82\0" + der[2:], "not DER")


def test_an_indefinite_length_is_refused() -> None:
    der = make_csr()
    assert_refused(b"\x30\x80" + der[3:] + b"\0\0", "not DER")


@pytest.mark.parametrize("version", [integer(1), integer(-1), integer(2**64), tlv(2, b"\0\0"), tlv(2), tlv(1, b"\0")])
def test_another_version_is_refused(version: bytes) -> None:
    assert_refused(make_csr(version=version), "version|structure")


def test_parts_of_the_request_after_the_attributes_are_refused() -> None:
    key = private_key("ed25519")
    info = sequence(integer(0), sequence(rdn(CN, "a")), spki_of(key), tlv(0xA0), tlv(0xA1))
    assert_refused(signed_request(key, info), "structure")


def test_a_csr_without_its_attributes_field_is_refused() -> None:
    key = private_key("ed25519")
    assert_refused(signed_request(key, sequence(integer(0), sequence(), spki_of(key))), "structure")


def test_a_subject_that_is_no_name_is_refused() -> None:
    for subject in (tlv(5), tlv(csrs.SET), tlv(csrs.SET, tlv(5)), tlv(csrs.SET, sequence(oid(CN)))):
        assert_refused(make_csr(subject=[subject]), "strict DER|structure|RDN without an attribute")


def test_a_csr_longer_than_the_limit_is_refused() -> None:
    assert_refused(bytes(CSR_BYTES_MAX + 1), "longer than 65536 bytes")
