"""Invariants of the CSR parser, for any bytes."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ErrorCode, Refused
from protocol.fields import CSR_BYTES_MAX, NAMES_MAX
from signerd.csr import Csr, parse_csr
from signerd.policy.names import dns_name, email_name, ip_name, uri_name
from tests import csrs
from tests.csrs import (
    BASIC_CONSTRAINTS,
    CN,
    KEY_USAGE,
    OU,
    attribute,
    csr_for,
    dns,
    extension,
    extension_request,
    integer,
    make_csr,
    oid,
    private_key,
    rdn,
    request_info,
    san,
    sequence,
    signed_request,
    spki_of,
    tlv,
)

CONSTRUCTORS = {"dns": dns_name, "ip": ip_name, "email": email_name, "uri": uri_name}


def parse_or_refuse(der: bytes) -> Csr | None:
    """The invariant: whatever the bytes are, they parse or are refused with one of two codes."""
    try:
        return parse_csr(der)
    except Refused as error:
        refused = error
    assert refused.code in (ErrorCode.BAD_CSR, ErrorCode.WEAK_KEY)
    assert refused.detail.isprintable()
    return None


def assert_keeps_its_promises(csr: Csr) -> None:
    assert 1 <= len(csr.names) <= NAMES_MAX
    assert len(set(csr.names)) == len(csr.names)
    assert all(CONSTRUCTORS[name.kind](name.value) == name for name in csr.names)
    assert all(attribute.value.isprintable() and attribute.value for attribute in csr.subject)
    common_names = [attribute.value for attribute in csr.subject if attribute.name == "CN"]
    assert len(common_names) <= 1
    assert set(common_names) <= {name.value for name in csr.names}


RICH_INFO = request_info(
    spki_of(private_key("ed25519")),
    subject=[rdn(csrs.C, "IS", csrs.PRINTABLE), rdn(csrs.O, "Bücher"), rdn(CN, "web1.example.net")],
    attributes=[
        attribute("1.2.840.113549.1.9.7", tlv(csrs.UTF8, b"secret")),
        extension_request(
            san(
                dns("web1.example.net"),
                dns("*.xn--bcher-kva.net"),
                tlv(0x87, bytes([10, 0, 0, 1])),
                tlv(0x81, b"jane@example.net"),
                tlv(0x86, b"spiffe://example.net/web"),
            ),
            extension(BASIC_CONSTRAINTS, sequence(b"\x01\x01\xff")),
            extension(KEY_USAGE, tlv(3, b"\x05\xa0")),
            extension("2.5.29.37", sequence(oid("1.3.6.1.5.5.7.3.1"))),
            extension("2.5.29.14", tlv(4, bytes(20))),
            extension("1.3.6.1.5.5.7.1.24", sequence(integer(5))),
            extension("1.2.3.4", b"odd"),
        ),
    ],
)
RICH = signed_request(private_key("ed25519"), RICH_INFO)


CSRS = {key_type: make_csr(key=private_key(key_type)) for key_type in ("rsa2048", "p256")} | {"ed25519": RICH}


def test_the_csr_that_the_fuzz_tests_start_from_is_accepted() -> None:
    assert_keeps_its_promises(parse_csr(RICH))


@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    assert parse_or_refuse(data) is None


@pytest.mark.parametrize("key_type", CSRS)
@settings(max_examples=300)
@given(data=st.data())
def test_a_csr_with_any_byte_changed_is_refused(key_type: str, data: st.DataObject) -> None:
    der = bytearray(CSRS[key_type])
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    assert parse_or_refuse(bytes(der)) is None


@given(st.integers(0, len(RICH) - 1))
def test_a_csr_cut_anywhere_is_refused(length: int) -> None:
    assert parse_or_refuse(RICH[:length]) is None


EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4)


@settings(max_examples=1000)
@given(EDITS)
def test_a_csr_with_any_content_that_its_key_signed_parses_or_is_refused(
    edits: list[tuple[int, int, bytes]],
) -> None:
    """The signature is made after the edits, so that what survives the parser's first steps reaches all others."""
    info = bytearray(RICH_INFO)
    for place, removed, inserted in edits:
        at = place % (len(info) + 1)
        info[at : at + removed] = inserted
    csr = parse_or_refuse(signed_request(private_key("ed25519"), bytes(info)))
    if csr is not None:
        assert_keeps_its_promises(csr)


GENERAL_NAMES = st.builds(tlv, st.sampled_from([0x81, 0x82, 0x86, 0x87]), st.binary(max_size=40)) | st.builds(
    lambda tag, text: tlv(tag, text.encode()),
    st.sampled_from([0x81, 0x82, 0x86]),
    st.text(st.sampled_from("aA1-.*@:/%2exn[]?#\0 "), max_size=30),
)
VALUES = st.builds(rdn, st.sampled_from([CN, OU, csrs.C]), st.text(max_size=20) | st.binary(max_size=20))


@settings(max_examples=500)
@given(st.lists(GENERAL_NAMES, max_size=3), st.lists(VALUES, max_size=2))
def test_a_csr_with_any_names_parses_to_canonical_ones_or_is_refused(names: list[bytes], subject: list[bytes]) -> None:
    csr = parse_or_refuse(csr_for(*names, subject=subject))
    if csr is not None:
        assert_keeps_its_promises(csr)


@pytest.mark.parametrize(
    "der",
    [
        csr_for(*[dns("a")] * 20_000),
        make_csr(subject=[rdn(OU, "a")] * 4_000),
        make_csr(attributes=[attribute(f"1.2.{n}") for n in range(4_000)]),
        make_csr(attributes=[extension_request(*(extension(f"1.2.{n}", b"") for n in range(4_000)))]),
        make_csr(subject=[rdn("2.5." + ".".join(["1"] * 60_000), "a")]),
        csr_for(dns("xn--" + "a" * 60_000)),
        csr_for(dns("a." * 30_000)),
        csr_for(tlv(0x86, b"https://a/" + b"a/" * 30_000)),
        csr_for(tlv(0x81, b"a." * 30_000 + b"@a")),
        b"\x30\x82\xff\xfc" + b"\x30\x80" * 32_766,
    ],
    ids=["names", "rdns", "attributes", "extensions", "oid", "a-label", "labels", "path", "mailbox", "nested"],
)
def test_a_csr_stuffed_to_the_limit_costs_a_bounded_time(der: bytes) -> None:
    assert 30_000 < len(der) <= CSR_BYTES_MAX
    start = time.process_time()
    parse_or_refuse(der)
    assert time.process_time() - start < 0.5
