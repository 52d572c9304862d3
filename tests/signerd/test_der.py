"""DER against the library's encoder and decoder, and against garbage."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from hypothesis import example, given
from hypothesis import strategies as st

from signerd import der


def library_oid(dotted: str) -> bytes:
    return asn1.encode_der(x509.ObjectIdentifier(dotted))


@example(0)
@example(127)
@example(128)
@example(255)
@example(256)
@example(2**159 - 1)
@given(st.integers(0, 2**1024))
def test_an_integer_is_encoded_as_the_library_does_and_never_as_a_negative_one(value: int) -> None:
    octets = der.integer(value)
    [part] = der.parts(octets)
    assert int.from_bytes(part.value, "big", signed=True) == value
    assert part.value[:1] == b"\0" or len(part.value) == (value.bit_length() + 8) // 8
    if value < 2**63:
        assert octets == asn1.encode_der(value)


def test_a_negative_integer_is_an_error() -> None:
    with pytest.raises(ValueError, match="negative"):
        der.integer(-1)


arcs = st.integers(0, 2**32)
oids = st.one_of(
    st.tuples(st.integers(0, 1), st.integers(0, 39), st.lists(arcs, max_size=8)),
    st.tuples(st.just(2), arcs, st.lists(arcs, max_size=8)),
).map(lambda found: ".".join(map(str, (found[0], found[1], *found[2]))))


@example("2.5.29.17")
@example("2.999.3")
@example("1.3.6.1.4.1.4294967296")
@given(oids)
def test_an_object_identifier_is_encoded_as_the_library_does(dotted: str) -> None:
    assert der.oid(dotted) == library_oid(dotted)


@pytest.mark.parametrize("dotted", ["1.45.29.19", "0.85.29.19", "0.40", "1.40", "3.1", "1", "", "1.2.-3", "2.5.x"])
def test_what_is_no_object_identifier_is_an_error(dotted: str) -> None:
    """1.45.29.19 would come out as 2.5.29.19, basicConstraints: the first two arcs share an octet (X.690, 8.19.4)."""
    with pytest.raises(ValueError, match=r"is no OBJECT IDENTIFIER|invalid literal|not enough values"):
        der.oid(dotted)


@example(2524607999)
@example(2524608000)
@given(st.integers(0, 253402300799))
def test_a_time_is_utc_time_through_2049_and_generalized_time_from_2050(seconds: int) -> None:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    expected = asn1.encode_der(asn1.UTCTime(moment) if moment.year < 2050 else asn1.GeneralizedTime(moment))
    assert der.time(seconds) == expected


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65_535, 65_536, 200_000])
def test_a_length_is_encoded_as_the_library_does(length: int) -> None:
    value = bytes(length)
    assert der.tlv(der.OCTET_STRING, value) == asn1.encode_der(value)


@given(st.lists(st.tuples(st.sampled_from([0x02, 0x30, 0x31, 0x82, 0xA3, 0x04]), st.binary(max_size=300)), max_size=6))
def test_parts_takes_apart_what_tlv_put_together(pieces: list[tuple[int, bytes]]) -> None:
    whole = [der.tlv(tag, value) for tag, value in pieces]
    assert list(der.parts(b"".join(whole))) == [
        der.Part(tag, octets, value) for (tag, value), octets in zip(pieces, whole, strict=True)
    ]


@example(b"\x30")
@example(b"\x30\x80")
@example(b"\x30\x80\0\0")
@example(b"\x30\x81\x7f" + bytes(0x7F))
@example(b"\x30\x82\x00\x80" + bytes(0x80))
@example(b"\x30\x85\x01\0\0\0\0")
@example(b"\x30\xff")
@example(b"\x3f\x01\x00")
@example(b"\x30\x84\xff\xff\xff\xff")
@given(st.binary(max_size=200))
def test_garbage_is_taken_apart_whole_or_is_a_value_error(data: bytes) -> None:
    try:
        parts = list(der.parts(data))
    except ValueError:
        return
    assert b"".join(part.whole for part in parts) == data
    # What was accepted has one encoding: put together again it is the same.
    assert [der.tlv(part.tag, part.value) for part in parts] == [part.whole for part in parts]


@pytest.mark.parametrize(
    "data",
    [b"\x30\x80\0\0", b"\x04\x81\x7f" + bytes(0x7F), b"\x04\x82\0\x80" + bytes(0x80), b"\x1f\x01\0", b"\x04\x02a"],
    ids=["indefinite length", "long form of a short length", "leading zero", "long tag", "cut"],
)
def test_what_is_ber_but_not_der_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"TLV|DER"):
        list(der.parts(data))
