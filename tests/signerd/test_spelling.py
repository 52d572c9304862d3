"""How names are spelled: each in one way, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.policy.names import Name, dns_name, email_name, ip_name, uri_name


def test_a_name_is_written_with_its_kind() -> None:
    assert str(dns_name("web1.example.net")) == "dns:web1.example.net"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("web1.example.net", "web1.example.net"),
        ("WEB1.Example.NET", "web1.example.net"),
        ("web1", "web1"),
        ("a" * 63 + ".net", "a" * 63 + ".net"),
        ("1.a", "1.a"),
        ("a--b.net", "a--b.net"),
        ("*.Example.net", "*.example.net"),
        ("*.corp", "*.corp"),
        ("xn--BCHER-kva.example.net", "xn--bcher-kva.example.net"),  # bücher
        ("xn--strae-oqa", "xn--strae-oqa"),  # straße
        ("xn--0zwm56d", "xn--0zwm56d"),  # 测试
        ("xn--fiqs8s", "xn--fiqs8s"),  # 中国
        ("xn--11b5bs3a9aj6g", "xn--11b5bs3a9aj6g"),  # परीक्षा: with combining marks
        ("0x7f.a", "0x7f.a"),  # a number, but not the last label
        ("0xy", "0xy"),
    ],
)
def test_a_dns_name_is_lower_case(text: str, value: str) -> None:
    assert dns_name(text) == Name("dns", value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "*",
        "*.",
        "*.*",
        "*.*.net",
        "a.*.net",
        "a*.net",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "a_b",
        "a b",
        "a\n",
        "a\0b",
        "b\u00fccher",
        "\u212aelvin",  # the Kelvin sign, whose lower case is an ASCII letter
        "a" * 64,
        "1",
        "10.0.0.1",
        "a.1",
        "*.1",
        "0x7f000001",  # what inet_aton(3) and browsers take for 127.0.0.1
        "0X7F000001",
        "127.0.0.0x1",
        "0177.0.0.01",
        "a.0x",
        "*.0x1",
        "xn--a",  # decodes to ASCII
        "xn--",
        "xn--bcher",  # is the punycode of no label
        "xn--Bcher-kva-",
        "xn--bcher-kv",
        "zz--a",
        "xn--a-tza" + "9" * 60,
        "xn--bcher-kva.xn--",
    ],
)
def test_what_is_no_dns_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="DNS name") as error:
        dns_name(text)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "label",
    [
        "l\u00b7l",  # RFC 5892, A.3: a middle dot between two l
        "\u0375\u03b1",  # A.4: the Greek keraia before a Greek letter
        "\u05d0\u05f3",  # A.5: geresh after a Hebrew letter
        "\u30a2\u30fb",  # A.7: the Katakana middle dot beside Katakana
        "\u0628\u0661",  # A.8: Arabic-Indic digits, of one kind
        "\u0915\u094d\u200d\u0937",  # A.2: a joiner after a virama
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",  # A.1: a non-joiner between joining letters
        "fa\u00df",  # 2.6: exceptions, which NFKC or lower case would take away
        "\u03b2\u03cc\u03bb\u03bf\u03c2",
        "\u3007",
    ],
)
def test_the_punycode_of_what_rfc_5892_allows_is_a_dns_name(label: str) -> None:
    text = "xn--" + label.encode("punycode").decode()
    assert dns_name(text) == Name("dns", text)


@pytest.mark.parametrize(
    "label",
    [
        "\u00c9a",  # an upper-case letter
        "\u00e9\u202e",  # a direction override
        "a\u200db",  # a joiner, which needs a contextual rule
        "\ufb01n",  # a ligature, which NFKC takes apart
        "\u0301a",  # begins with a combining mark
        "e\u0301",  # not composed
        "\u2603",  # a symbol
        "\u00e9 a",
        "\u00e9.a",
        "-\u00e9",
        "\u00e9-",
        "a\u00b7b",  # RFC 5892, A.3: a middle dot between other letters
        "\u05f3\u05d0",  # A.5: geresh before its letter
        "a\u30fb",  # A.7: the Katakana middle dot without any Katakana
        "\u0628\u0661\u06f1",  # A.8: digits of two kinds
        "\u0640\u0628",  # 2.6: disallowed, though a letter
        "\u1100\u1161",  # 2.9: conjoining Hangul
        "\u05d01a",  # RFC 5893, 2: left-to-right in a right-to-left label
        "1\u05d0",
        "ab--\u00e9",  # RFC 5891, 4.2.3.1
        "\u0378",  # assigned to nothing
    ],
)
def test_the_punycode_of_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=r"A-label|labels are"):
        dns_name("xn--" + label.encode("punycode").decode())


@pytest.mark.parametrize("label", ["xn---bbk", "xn--bcher-kva8", "xn--99999999", "xn--\u00fc", "xn--a-\u00fc"])
def test_another_spelling_of_an_a_label_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="DNS name"):
        dns_name(label)


@given(st.text(st.characters(categories=["Ll", "Lo"], min_codepoint=0x80), min_size=1, max_size=10))
def test_an_a_label_that_is_accepted_is_the_only_one_of_its_label(label: str) -> None:
    text = "xn--" + label.encode("punycode").decode()
    try:
        name = dns_name(text)
    except ValueError:
        return
    assert name.value.removeprefix("xn--").encode().decode("punycode") == label


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::10.0.0.1", "::a00:1"),
    ],
)
def test_an_address_is_spelled_as_rfc_5952_has_it(text: str, value: str) -> None:
    assert ip_name(text) == Name("ip", value)


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0", "10.0.0.01", "10.0.0.256", "10.0.0.1/32", "0x7f.1", "::1%eth0", "::ffff:10.0.0.1", "[::1]", " ::1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|zone"):
        ip_name(text)


def test_the_host_of_a_mailbox_is_lower_case_and_its_local_part_is_not() -> None:
    assert email_name("Jane.Doe+x@EXAMPLE.net") == Name("email", "Jane.Doe+x@example.net")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jane",
        "@",
        "jane@",
        "@a",
        "a@b@c",
        ".a@b",
        "a.@b",
        "a..b@c",
        '"a"@b',
        "a b@c",
        "*@a",
        "a@b\n",
        "a@*.b",
        "a@[::1]",
    ],
)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"e-mail address|DNS name"):
        email_name(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("spiffe://Example.net/ns/Web", "spiffe://example.net/ns/Web"),
        ("HTTPS://EXAMPLE.net:443", "https://example.net"),
        ("http://example.net:8080/a/?q=1", "http://example.net:8080/a/?q=1"),
        ("https://[2001:DB8:0::1]:8443/", "https://[2001:db8::1]:8443/"),
        ("https://10.0.0.1/", "https://10.0.0.1/"),
        ("https://example.net/b%c3%bccher%20x", "https://example.net/b%C3%BCcher%20x"),
        ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ("sip:jane@example.net", "sip:jane@example.net"),
        ("spiffe://example.net", "spiffe://example.net"),
    ],
)
def test_a_uri_is_in_normal_form(text: str, value: str) -> None:
    assert uri_name(text) == Name("uri", value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "://a",
        "urn:",
        "https:",
        "https:a",
        "https:/a",
        "https://",
        "file:///etc/passwd",
        "https://:443/",
        "https://jane@a/",
        "https://a@b@c/",
        "https://a:b/",
        "https://a:/",
        "https://a:01/",
        "https://a:65536/",
        "https://[::1",
        "https://::1/",
        "https://[::1]x/",
        "https://[::ffff:10.0.0.1]/",
        "https://[10.0.0.1]/",
        "https://10.1/",
        "https://0x7f.0.0.1/",
        "https://*.a/",
        "https://a./",
        "https://a/../b",
        "https://a/./b",
        "https://a/..",
        "https://a//b",
        "https://a/b//",
        "https://a/%2e%2E/b",
        "https://a/%2Fb",
        "https://a/%5cb",
        "https://a/%41",
        "https://a/%00",
        "https://a/%25",
        "https://a/%",
        "https://a/%4",
        "https://a/%xy",
        "https://a/\\b",
        "https://a/b#c",
        "https://a/b c",
        "https://a/?b=[c]",
        "https://a/?%41",
        "https://a/\u00fc",
        "https://a/\n",
        "https://a\\@b/",
        "https://a/" + "b" * 2048,
    ],
)
def test_what_is_no_sane_uri_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"URI|has |DNS name|address") as error:
        uri_name(text)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("construct", [dns_name, ip_name, email_name, uri_name])
@given(text=st.text(st.sampled_from("aAxn1-.*@:/%2eE[]?#\0 \u00fc"), max_size=24) | st.text(max_size=24))
def test_a_constructor_gives_one_spelling_or_a_sentence(construct: type, text: str) -> None:
    try:
        name: Name = construct(text)
    except ValueError as error:
        sentence = str(error)
    else:
        assert name.value.isascii()
        assert name.value.isprintable()
        assert construct(name.value) == name
        return
    assert sentence.isprintable()
