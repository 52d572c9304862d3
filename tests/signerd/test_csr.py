"""What honest CSRs are parsed into."""

import hashlib
from pathlib import Path

import pytest

from signerd.csr import SubjectAttribute, parse_csr
from signerd.policy.names import Name
from tests import csrs
from tests.csrs import (
    CN,
    OPENSSL_KEYS,
    attribute,
    csr_for,
    dns,
    make_csr,
    names_of,
    oid,
    openssl_csr,
    private_key,
    rdn,
    sequence,
    spki_of,
    tlv,
)


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
def test_a_csr_of_openssl_without_san_gives_its_cn_as_name(key_type: str, tmp_path: Path) -> None:
    der = openssl_csr(tmp_path, key_type, subject="/C=IS/O=Example/CN=Web1.example.net")
    csr = parse_csr(der)
    assert csr.key_type == key_type
    assert csr.names == (Name("dns", "web1.example.net"),)
    assert csr.subject == (
        SubjectAttribute("C", "2.5.4.6", "IS"),
        SubjectAttribute("O", "2.5.4.10", "Example"),
        SubjectAttribute("CN", "2.5.4.3", "web1.example.net"),
    )
    assert csr.der == der
    assert csr.sha256 == hashlib.sha256(der).digest()
    assert csr.spki == spki_of(private_key(key_type))
    assert csr.public_key == private_key(key_type).public_key()
    assert (csr.wants_ca, csr.key_usage, csr.extended_key_usage, csr.other_extensions) == (
        False,
        frozenset(),
        (),
        (),
    )


@pytest.mark.parametrize("key_type", OPENSSL_KEYS)
def test_a_csr_of_openssl_with_san_gives_all_its_names_in_order(key_type: str, tmp_path: Path) -> None:
    names = "DNS:WEB2.example.net,IP:10.0.0.1,IP:2001:DB8::1,email:Jane@EXAMPLE.net,URI:spiffe://Example.net/web"
    der = openssl_csr(tmp_path, key_type, "-addext", f"subjectAltName={names},DNS:web2.example.net")
    assert parse_csr(der).names == (
        Name("dns", "web2.example.net"),
        Name("ip", "10.0.0.1"),
        Name("ip", "2001:db8::1"),
        Name("email", "Jane@example.net"),
        Name("uri", "spiffe://example.net/web"),
        Name("dns", "web1.example.net"),
    )


@pytest.mark.parametrize("digest", ["-sha256", "-sha384", "-sha512"])
@pytest.mark.parametrize("key_type", ["rsa2048", "p256", "p384"])
def test_a_csr_signed_with_any_sha_2_hash_is_accepted(key_type: str, digest: str, tmp_path: Path) -> None:
    assert names_of(openssl_csr(tmp_path, key_type, digest)) == ["dns:web1.example.net"]


def test_a_csr_with_an_empty_subject_and_a_san_is_accepted() -> None:
    csr = parse_csr(csr_for(dns("web1.example.net")))
    assert csr.subject == ()
    assert csr.names == (Name("dns", "web1.example.net"),)


def test_a_csr_says_what_it_wants_beyond_names(tmp_path: Path) -> None:
    extensions = (
        "basicConstraints=critical,CA:TRUE,pathlen:0",
        "keyUsage=critical,digitalSignature,nonRepudiation,keyAgreement,decipherOnly,keyCertSign,cRLSign",
        "extendedKeyUsage=serverAuth,codeSigning",
        "subjectKeyIdentifier=hash",
        "tlsfeature=status_request",
        "1.2.3.4.5=ASN1:UTF8String:odd",
    )
    csr = parse_csr(openssl_csr(tmp_path, "p256", *(word for e in extensions for word in ("-addext", e))))
    assert csr.wants_ca
    assert csr.key_usage == {
        "digitalSignature",
        "nonRepudiation",
        "keyAgreement",
        "decipherOnly",
        "keyCertSign",
        "cRLSign",
    }
    assert csr.extended_key_usage == ("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.3")
    assert csr.other_extensions == ("1.3.6.1.5.5.7.1.24", "1.2.3.4.5")


def test_a_challenge_password_is_ignored() -> None:
    password = attribute("1.2.840.113549.1.9.7", tlv(csrs.UTF8, b"secret"))
    assert names_of(make_csr(attributes=[password])) == ["dns:web1.example.net"]


def test_a_non_ascii_organization_is_accepted_as_it_is() -> None:
    csr = parse_csr(make_csr(subject=[rdn(csrs.O, "Bücher GmbH"), rdn(CN, "web1.example.net")]))
    assert csr.subject[0].value == "Bücher GmbH"


def test_an_attribute_without_short_name_is_named_by_its_oid() -> None:
    csr = parse_csr(make_csr(subject=[rdn("2.999.1234567.1", "x"), rdn(CN, "web1.example.net")]))
    assert csr.subject[0] == SubjectAttribute("2.999.1234567.1", "2.999.1234567.1", "x")


def test_a_multi_valued_rdn_gives_its_attributes_one_by_one() -> None:
    both = tlv(
        csrs.SET,
        sequence(oid(CN), tlv(csrs.UTF8, b"web1.example.net")),
        sequence(oid(csrs.O), tlv(csrs.UTF8, b"Example!!!!!!!!!")),
    )
    csr = parse_csr(make_csr(subject=[both]))
    assert [attribute.name for attribute in csr.subject] == ["CN", "O"]


def test_ia5_strings_are_accepted_where_the_attribute_is_defined_as_one() -> None:
    subject = [rdn(csrs.DC, "example", csrs.IA5), rdn(csrs.EMAIL_ADDRESS, "jane@example.net", csrs.IA5)]
    csr = parse_csr(csr_for(dns("web1.example.net"), subject=subject))
    assert [attribute.value for attribute in csr.subject] == ["example", "jane@example.net"]
