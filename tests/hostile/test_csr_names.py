"""CSRs whose subject or names must not reach a certificate."""

import time

import pytest
from cryptography import x509

from protocol.errors import Refused
from protocol.fields import NAMES_MAX
from signerd.csr import parse_csr
from signerd.policy.spelling import _is_a_label
from tests import csrs
from tests.csrs import (
    CN,
    OU,
    assert_refused,
    csr_for,
    dns,
    make_csr,
    names_of,
    oid,
    rdn,
    sequence,
    tlv,
)


def test_two_common_names_are_refused() -> None:
    subject = [rdn(CN, "web1.example.net"), rdn(CN, "web2.example.net")]
    assert_refused(make_csr(subject=subject), "more than one CN")


def test_two_common_names_in_one_rdn_are_refused() -> None:
    values = (sequence(oid(CN), tlv(csrs.UTF8, name)) for name in (b"a.example.net", b"b.example.net"))
    assert_refused(make_csr(subject=[tlv(csrs.SET, *values)]), "more than one CN")


@pytest.mark.parametrize("cn", ["Jane Doe", "web1.example.net.", "web_1", "*", "https://web1.example.net"])
def test_a_common_name_that_is_no_name_of_a_host_and_no_san_is_refused(cn: str) -> None:
    subject = [rdn(CN, cn)]
    assert_refused(make_csr(subject=subject), "neither a subject alternative name nor a DNS name or IP address")
    assert_refused(csr_for(dns("web1.example.net"), subject=subject), "neither a subject alternative name")


def test_a_common_name_that_is_an_email_or_uri_san_is_accepted() -> None:
    mailbox, uri = tlv(0x81, b"jane@example.net"), tlv(0x86, b"spiffe://example.net/web")
    assert names_of(csr_for(mailbox, subject=[rdn(CN, "jane@example.net")])) == ["email:jane@example.net"]
    assert names_of(csr_for(uri, subject=[rdn(CN, "spiffe://example.net/web")])) == ["uri:spiffe://example.net/web"]


@pytest.mark.parametrize(
    ("cn", "name"), [("10.0.0.1", "ip:10.0.0.1"), ("2001:DB8::0:1", "ip:2001:db8::1"), ("WEB1", "dns:web1")]
)
def test_a_common_name_becomes_a_name_in_canonical_spelling(cn: str, name: str) -> None:
    csr = parse_csr(make_csr(subject=[rdn(CN, cn)]))
    assert [str(name) for name in csr.names] == [name]
    assert csr.subject[0].value == csr.names[0].value


def test_a_common_name_that_is_a_san_is_not_added_again() -> None:
    subject = [rdn(CN, "WEB1.example.net")]
    assert names_of(csr_for(dns("a.example.net"), dns("web1.example.net"), subject=subject)) == [
        "dns:a.example.net",
        "dns:web1.example.net",
    ]


def test_a_csr_without_any_name_is_refused() -> None:
    assert_refused(make_csr(subject=[]), "no names")
    assert_refused(make_csr(subject=[rdn(csrs.O, "Example")]), "no names")


def test_a_san_without_any_name_in_it_is_refused() -> None:
    assert_refused(csr_for(), "subjectAltName has 0 names")


def test_more_names_than_a_certificate_may_have_are_refused() -> None:
    sans = [dns(f"web{number}.example.net") for number in range(NAMES_MAX)]
    assert len(names_of(csr_for(*sans))) == NAMES_MAX
    assert_refused(csr_for(*sans, dns("one-more")), "subjectAltName has 101 names")
    assert_refused(csr_for(*sans, subject=[rdn(CN, "one-more")]), "asks for 101 names")


@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u200b"])
@pytest.mark.parametrize("type_", [CN, csrs.O, OU, csrs.SERIAL_NUMBER, csrs.EMAIL_ADDRESS, "2.999.1"])
def test_a_subject_value_with_a_character_that_cannot_be_printed_is_refused(type_: str, character: str) -> None:
    subject = [rdn(type_, f"web1{character}.example.net")]
    assert_refused(csr_for(dns("web1.example.net"), subject=subject), "can't be printed")


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (csrs.BMP, "web1.example.net".encode("utf-16-be")),
        (csrs.TELETEX, b"web1.example.net"),
        (csrs.UNIVERSAL, "web1.example.net".encode("utf-32-be")),
        (csrs.IA5, b"web1.example.net"),
        (0x1A, b"web1.example.net"),
        (csrs.BIT_STRING, b"\0web1"),
        (csrs.OCTET_STRING, b"web1.example.net"),
    ],
)
@pytest.mark.parametrize("type_", [CN, csrs.O, "2.999.1"])
def test_a_subject_value_of_another_string_type_is_refused(type_: str, tag: int, value: bytes) -> None:
    der = csr_for(dns("web1.example.net"), subject=[rdn(type_, value, tag)])
    assert_refused(der, "is not a UTF8String or PrintableString|is not strict DER")


@pytest.mark.parametrize("tag", [csrs.BMP, csrs.TELETEX])
def test_the_library_alone_would_load_the_other_string_types(tag: int) -> None:
    value = "web1".encode("utf-16-be" if tag == csrs.BMP else "ascii")
    assert x509.load_der_x509_csr(make_csr(subject=[rdn(CN, value, tag)])).subject.rdns


def test_a_hundred_names_in_one_domain_of_a_labels_are_accepted() -> None:
    sans = [dns(f"web{number}.xn--bcher-kva.xn--fiqs8s") for number in range(NAMES_MAX)]
    assert len(names_of(csr_for(*sans))) == NAMES_MAX


def a_labels(count: int) -> list[str]:
    """So many different A-labels of 63 characters, nearly: of the kind that takes longest to check."""
    letters = [chr(0x430 + number) for number in range(20)]
    labels = ("".join(letters[(n * k + k * k + n // 20) % 20] for k in range(1, 41)) for n in range(1, count + 1))
    return ["xn--" + label.encode("punycode").decode() for label in labels]


def test_more_different_a_labels_than_are_checked_quickly_are_refused_before_any_is_checked() -> None:
    sans = [dns(".".join(a_labels(24)[at : at + 3])) for at in range(0, 24, 3)]
    checked = _is_a_label.cache_info().misses
    assert_refused(csr_for(*sans), "more than 1024 characters of different A-labels")
    assert _is_a_label.cache_info().misses == checked


def test_the_costliest_a_labels_that_are_accepted_take_some_milliseconds_in_all() -> None:
    csr = csr_for(*map(dns, a_labels(20)))
    took = []
    for _ in range(5):
        _is_a_label.cache_clear()
        began = time.thread_time()
        assert len(names_of(csr)) == 20
        took.append(time.thread_time() - began)
    assert min(took) < 0.05  # on a machine ten times slower too


@pytest.mark.parametrize("subject", [[tlv(csrs.SET)], [rdn(csrs.O, "Example"), tlv(csrs.SET)]])
def test_a_subject_with_an_rdn_without_attributes_is_refused(subject: list[bytes]) -> None:
    assert_refused(csr_for(dns("a.example.net"), subject=subject), "an RDN without an attribute")


@pytest.mark.parametrize("name", ["0x7f000001", "127.0.0.0x1", "017700000001"])
def test_a_name_that_programs_take_for_an_address_is_refused(name: str) -> None:
    assert_refused(csr_for(dns(name)), "its last label is a number")
    assert_refused(make_csr(subject=[rdn(CN, name)]), "neither a subject alternative name nor a DNS name")
    assert_refused(csr_for(tlv(0x81, f"a@{name}".encode())), "its last label is a number")
    assert_refused(csr_for(tlv(0x86, f"https://{name}/".encode())), "is not an IP address")


@pytest.mark.parametrize("value", ["", " ", "   "])
@pytest.mark.parametrize("type_", [CN, csrs.O, "2.999.1"])
def test_an_empty_subject_value_is_refused(type_: str, value: str) -> None:
    assert_refused(csr_for(dns("web1.example.net"), subject=[rdn(type_, value)]), "is empty|is not strict DER")


@pytest.mark.parametrize("value", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"caf\xe9"])
def test_a_subject_value_that_is_not_utf_8_is_refused(value: bytes) -> None:
    assert_refused(csr_for(dns("a"), subject=[rdn(csrs.O, value)]), "is not UTF-8|is not strict DER")


@pytest.mark.parametrize("value", ["Ex@mple", "Ex_mple", "Bücher", "*.example.net"])
def test_a_printable_string_with_other_characters_is_refused(value: str) -> None:
    der = csr_for(dns("a"), subject=[rdn(csrs.O, value, csrs.PRINTABLE)])
    assert_refused(der, "string type can't have|is not strict DER")


def test_a_serial_number_that_is_no_printable_string_in_the_end_is_refused() -> None:
    der = csr_for(dns("a"), subject=[rdn(csrs.SERIAL_NUMBER, "Nr_1")])
    assert_refused(der, "serialNumber 'Nr_1' has a character that its string type can't have")


def test_a_subject_address_that_is_not_ascii_is_refused() -> None:
    der = csr_for(dns("a"), subject=[rdn(csrs.EMAIL_ADDRESS, "jané@example.net")])
    assert_refused(der, "emailAddress .* has a character that its string type can't have")


@pytest.mark.parametrize(("type_", "limit"), [(CN, 64), (csrs.O, 64), (OU, 64), ("2.5.4.7", 128), ("2.999.1", 255)])
def test_a_subject_value_beyond_its_upper_bound_is_refused(type_: str, limit: int) -> None:
    value = "a" * (limit // 2 - 1) + "." + "b" * (limit - limit // 2)
    assert len(value) == limit
    assert names_of(csr_for(dns("a"), subject=[rdn(type_, value)]))
    assert_refused(csr_for(dns("a"), subject=[rdn(type_, value + "b")]), f"longer than {limit}")


@pytest.mark.parametrize("country", ["Iceland", "I", "I1", "  "])
def test_a_country_that_is_not_two_letters_is_refused(country: str) -> None:
    assert_refused(csr_for(dns("a"), subject=[rdn(csrs.C, country)]), "the subject's C")


def test_a_subject_with_very_many_attributes_is_refused() -> None:
    assert_refused(csr_for(dns("a"), subject=[rdn(OU, f"unit {n}") for n in range(33)]), "more than 32")


BAD_DNS_NAMES = [
    "",
    "a..b",
    ".example.net",
    "example.net.",
    "web1.example.net\0.evil.net",
    "web1\n.example.net",
    "web 1.example.net",
    "web_1.example.net",
    "-web.example.net",
    "web-.example.net",
    "*",
    "*.",
    "*.*.example.net",
    "web.*.example.net",
    "w*.example.net",
    "**.example.net",
    "a" * 64 + ".example.net",
    ".".join(["a" * 49] * 5) + ".net1",
    "10.0.0.1",
    "web1.example.123",
    "xn--a",
    "xn--",
    "ab--cd.example.net",
    "xn--bcher-kva-.example.net",
    "web1.example.net/x",
    "web1:443",
    "web1.example.net%00",
]


@pytest.mark.parametrize("text", BAD_DNS_NAMES)
def test_a_san_that_is_no_dns_name_is_refused(text: str) -> None:
    assert_refused(csr_for(dns(text)), "DNS name|can't be read")


@pytest.mark.parametrize("position", [0, 1, 50, 99])
def test_a_bad_name_in_any_position_refuses_the_request(position: int) -> None:
    names = [dns(f"web{number}.example.net") for number in range(100)]
    names[position] = dns("a..b")
    assert_refused(csr_for(*names), "'a..b' is not a DNS name")


def test_a_dns_name_that_is_not_ascii_is_refused() -> None:
    assert_refused(csr_for(dns("bücher.example.net")), "can't be read|DNS name")


def test_the_limits_of_a_dns_name_are_253_and_63() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(longest) == 253
    assert names_of(csr_for(dns(longest))) == [f"dns:{longest}"]
    assert_refused(csr_for(dns(longest + "d")), "longer than a DNS name's 253")
    wildcard = f"*.{longest[2:]}"
    assert names_of(csr_for(dns(wildcard))) == [f"dns:{wildcard}"]
    assert_refused(csr_for(dns(f"*.{longest}")), "longer than a DNS name's 253")


def test_a_valid_a_label_and_a_wildcard_are_accepted() -> None:
    assert names_of(csr_for(dns("XN--BCHER-KVA.example.net"), dns("*.example.net"))) == [
        "dns:xn--bcher-kva.example.net",
        "dns:*.example.net",
    ]


OTHER_NAMES = {
    "OtherName": tlv(0xA0, oid("1.3.6.1.4.1.311.20.2.3"), tlv(0xA0, tlv(csrs.UTF8, b"root@example.net"))),
    "DirectoryName": tlv(0xA4, sequence(rdn(CN, "web1.example.net"))),
    "RegisteredID": tlv(0x88, oid("1.2.3.4")[2:]),
}


@pytest.mark.parametrize("kind", OTHER_NAMES)
def test_a_name_of_another_type_is_refused_and_its_type_named(kind: str) -> None:
    assert_refused(csr_for(dns("web1.example.net"), OTHER_NAMES[kind]), f"subjectAltName has a {kind}")


@pytest.mark.parametrize("name", [tlv(0xA3, b""), tlv(0xA5, tlv(0xA1, tlv(csrs.UTF8, b"x"))), tlv(0x8A, b"x")])
def test_an_x400_or_edi_party_or_unknown_name_is_refused(name: bytes) -> None:
    assert_refused(csr_for(dns("web1.example.net"), name), "extensions can't be read")


@pytest.mark.parametrize("length", [0, 1, 3, 5, 8, 12, 15, 17, 32])
def test_an_ip_address_of_a_wrong_length_is_refused(length: int) -> None:
    assert_refused(csr_for(tlv(0x87, b"\xff" * length)), "not an IP address|can't be read")


def test_an_ipv4_mapped_ipv6_address_is_refused() -> None:
    assert_refused(csr_for(tlv(0x87, bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 1]))), "ask for 10.0.0.1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jane",
        "@example.net",
        "jane@",
        "jane@@example.net",
        "jane doe@example.net",
        '"jane"@example.net',
        "jane@[10.0.0.1]",
        "jane@example.net\r\nBcc: x",
        "jane\0@example.net",
        "jane@*.example.net",
        ".jane@example.net",
        "a" * 65 + "@example.net",
        "jané@example.net",
    ],
)
def test_a_san_that_is_no_mailbox_is_refused(text: str) -> None:
    assert_refused(csr_for(tlv(0x81, text.encode())), "e-mail address|DNS name|can't be read")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web1.example.net",
        "/web",
        "//web1.example.net/",
        "https:///web",
        "https:/web",
        "https://",
        "https:web",
        "https://jane@example.net/",
        "https://a..b/",
        "https://example.net/a b",
        "https://example.net/\n",
        "https://example.net/#x",
        "https://example.net/%zz",
        "https://example.net/a/../b",
        "https://example.net/%2e%2e/b",
        "https://example.net//b",
        "https://example.net/%00",
        "https://example.net:0/",
        "https://example.net:99999/",
        "https://[::1/",
        "https://bücher.example.net/",
        "1https://example.net/",
    ],
)
def test_a_san_that_is_no_sane_uri_is_refused(text: str) -> None:
    assert_refused(
        csr_for(tlv(0x86, text.encode())),
        "URI|has no host|has a |has user information|DNS name|IP address|can't be read",
    )


def test_what_a_refusal_quotes_is_escaped_and_cut() -> None:
    with pytest.raises(Refused) as refused:
        parse_csr(csr_for(dns("\x1b[2J" + "x" * 10_000)))
    assert "\\x1b[2J" in refused.value.detail
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 300
