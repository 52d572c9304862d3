"""The decoding is strict: what is not exactly a message of the protocol's table is refused."""

import struct
from typing import Any

import msgpack
import pytest
from msgspec import inspect

from protocol.fields import CSR_BYTES_MAX, EXTENSION_BYTES_MAX, EXTENSIONS_MAX
from protocol.messages import OPERATIONS, HelloReply
from protocol.wire import ID_MAX, WireError, decode_reply, decode_request
from tests.protocol.examples import required_fields

EVERY_OPERATION = pytest.mark.parametrize("op", OPERATIONS)

# A valid request, one thing of which each test makes wrong.
ISSUE: dict[str, Any] = {"op": "issue", "id": 1, "csr": b"DER", "client": "web1"}


def refused(fields: Any) -> str:
    """Why the signer refuses a frame with these fields."""
    with pytest.raises(WireError) as error:
        decode_request(fields if isinstance(fields, bytes) else msgpack.packb(fields))
    return str(error.value)


@pytest.mark.parametrize(
    "op", ["", "sign", "ISSUE", "issue ", "answer_issue", "__class__", 1, None, b"issue", ["issue"]]
)
def test_an_unknown_operation_is_refused(op: Any) -> None:
    assert refused({**ISSUE, "op": op}) == "an unknown operation"


def test_a_request_without_an_operation_is_refused() -> None:
    assert refused({"id": 1}) == "an unknown operation"


@pytest.mark.parametrize("request_id", [-1, ID_MAX + 1, 2**64 - 1, True, None, 1.0, "1", b"1", [1]])
def test_an_id_out_of_range_or_of_another_type_is_refused(request_id: Any) -> None:
    assert refused({**ISSUE, "id": request_id}) == "a missing or wrong id"


def test_a_request_without_an_id_is_refused() -> None:
    assert refused({"op": "describe"}) == "a missing or wrong id"


@EVERY_OPERATION
def test_an_unknown_field_is_refused_and_named(op: str) -> None:
    fields = {"op": op, "id": 1, **required_fields(op)}
    assert "unknown field `extra`" in refused({**fields, "extra": None})


@EVERY_OPERATION
def test_a_missing_field_is_refused_and_named(op: str) -> None:
    required = required_fields(op)
    fields = {"op": op, "id": 1, **required}
    decode_request(msgpack.packb(fields))
    for name in required:
        assert f"`{name}`" in refused({key: value for key, value in fields.items() if key != name})


def test_a_duplicate_field_is_refused_even_with_the_same_value() -> None:
    body = msgpack.packb(ISSUE)
    assert body[0] == 0x80 + len(ISSUE)
    twice = bytes([body[0] + 1]) + body[1:] + msgpack.packb("id") + msgpack.packb(1)
    assert "strict msgpack" in refused(twice)


def test_a_duplicate_field_deep_inside_is_refused() -> None:
    wish = b"\x83" + b"".join(map(msgpack.packb, ("oid", "1.2.3", "value", b"", "oid", "1.2.4")))
    body = msgpack.packb({**ISSUE, "extensions": [0]})
    assert body.endswith(b"\x91\x00")
    assert "strict msgpack" in refused(body[:-1] + wish)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("csr", "DER"),  # bytes are bytes: no text, and no base64 that would be decoded
        ("csr", "REVS"),
        ("csr", [68, 69, 82]),
        ("csr", None),
        ("client", b"web1"),
        ("client", 1),
        ("client", None),
        ("profile", b"server"),
        ("profile", 0),
        ("lifetime", 1.0),
        ("lifetime", 3600.5),
        ("lifetime", float("nan")),
        ("lifetime", float("inf")),
        ("lifetime", True),
        ("lifetime", "3600"),
        ("lifetime", msgpack.Timestamp(3600)),
        ("extensions", {}),
        ("extensions", None),
        ("extensions", [None]),
        ("extensions", [["1.2.3", b"", False]]),
        ("extensions", [{"oid": "1.2.3", "value": "text"}]),
        ("extensions", [{"oid": "1.2.3", "value": b"", "critical": 1}]),
        ("extensions", [{"oid": "1.2.3", "value": b"", "critical": None}]),
        ("extensions", [{"oid": "1.2.3", "value": b"", "more": 1}]),
        ("extensions", [{"oid": "1.2.3"}]),
        ("renewal", [b"\1", 17, b"s"]),
        ("renewal", {"serial": b"\1", "time": 17}),
        ("renewal", {"serial": b"\1", "signature": b"s"}),
        ("mac", bytes(32)),
        ("mac", {"time": 17, "mac": "0" * 32}),
        ("mac", {"mac": bytes(32)}),
        ("hooks", ["server", 3600]),
        ("hooks", {"lifetime": "1h"}),
        ("hooks", {"extensions": []}),
    ],
)
def test_a_value_of_another_type_is_refused(field: str, value: Any) -> None:
    assert field in refused({**ISSUE, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("csr", b""),
        ("csr", b"x" * (CSR_BYTES_MAX + 1)),
        ("client", ""),
        ("client", "a" * 129),
        ("client", "web-"),
        ("client", ".web"),
        ("client", "_"),
        ("client", "wéb"),
        ("client", "web1\0"),
        ("client", "../web1"),
        ("client", "wéb1\N{RIGHT-TO-LEFT OVERRIDE}"),
        ("profile", ""),
        ("profile", "p" * 65),
        ("profile", "a b"),
        ("lifetime", -1),
        ("lifetime", 2**40 + 1),
        ("extensions", [{"oid": "1.2.3", "value": b""}] * (EXTENSIONS_MAX + 1)),
        ("extensions", [{"oid": "1.2.3", "value": b"x" * (EXTENSION_BYTES_MAX + 1)}]),
        ("extensions", [{"oid": "3.2.3", "value": b""}]),
        ("extensions", [{"oid": "1.02", "value": b""}]),
        ("extensions", [{"oid": "1", "value": b""}]),
        ("idempotency_key", ""),
        ("idempotency_key", "k" * 129),
        ("mac", {"time": 17, "mac": b"x" * 31}),
        ("mac", {"time": 17, "mac": b"x" * 33}),
        ("mac", {"time": -1, "mac": b"x" * 32}),
        ("renewal", {"serial": b"", "time": 17, "signature": b"s"}),
        ("renewal", {"serial": b"x" * 21, "time": 17, "signature": b"s"}),
        ("renewal", {"serial": b"\1", "time": 17, "signature": b"x" * 8193}),
        ("renewal", {"serial": b"\1", "time": 2**40 + 1, "signature": b"s"}),
        ("hooks", {"profile": "a b"}),
        ("hooks", {"lifetime": -1}),
    ],
)
def test_a_value_outside_its_limits_is_refused(field: str, value: Any) -> None:
    assert field in refused({**ISSUE, field: value})


@pytest.mark.parametrize("field", ["client", "profile"])
def test_a_name_with_a_newline_at_its_end_is_refused(field: str) -> None:
    assert field in refused({**ISSUE, field: "web1\n"})


def test_an_object_identifier_with_a_newline_at_its_end_is_refused() -> None:
    assert "oid" in refused({**ISSUE, "extensions": [{"oid": "1.2.3\n", "value": b""}]})


@pytest.mark.parametrize("key", [b"op", b"extra", 1, None, True, 1.5, (1, 2)])
def test_a_key_that_is_no_string_is_refused(key: Any) -> None:
    refused({**ISSUE, key: 1})


@pytest.mark.parametrize("value", [None, True, 1, "text", b"bytes", [], [ISSUE], 1.5, msgpack.ExtType(5, b"")])
def test_a_frame_that_holds_no_map_is_refused(value: Any) -> None:
    refused(msgpack.packb(value))


@pytest.mark.parametrize("more", [b"\0", b"\xc0", b"\xc1", msgpack.packb(ISSUE)])
def test_trailing_bytes_are_refused(more: bytes) -> None:
    assert "strict msgpack" in refused(msgpack.packb(ISSUE) + more)


def test_a_frame_that_is_cut_off_anywhere_is_refused() -> None:
    body = msgpack.packb(ISSUE)
    for end in range(len(body)):
        refused(body[:end])


def test_text_that_is_no_utf_8_is_refused() -> None:
    body = msgpack.packb(ISSUE)
    for wrong in (b"\xff\xfe\xfd\xfc", b"\xed\xa0\x80!", b"\xc0\x80\xc0\x80"):
        assert "strict msgpack" in refused(body.replace(b"web1", wrong))


@pytest.mark.parametrize("code", [0, 1, 127, -2, -128])
def test_an_extension_type_is_refused_wherever_it_stands(code: int) -> None:
    extension = struct.pack(">BBbB", 0xC7, 1, code, 0)
    assert "strict msgpack" in refused(b"\x81\xa1a" + extension)
    assert "strict msgpack" in refused(extension)


def test_no_message_has_a_field_for_a_float_or_for_anything_at_all() -> None:
    plain = (inspect.StrType, inspect.BytesType, inspect.IntType, inspect.BoolType, inspect.NoneType)

    def walk(type_: inspect.Type) -> None:
        match type_:
            case inspect.StructType(fields=fields, forbid_unknown_fields=True, array_like=False, tag=None):
                for field in fields:
                    walk(field.type)
            case inspect.UnionType(types=types):
                for one in types:
                    walk(one)
            case inspect.VarTupleType(item_type=item):
                walk(item)
            case inspect.DictType(key_type=inspect.StrType(), value_type=inspect.IntType()):
                pass
            case _:
                assert isinstance(type_, plain), type_

    for row in OPERATIONS.values():
        walk(inspect.type_info(row.request))
        walk(inspect.type_info(row.reply))


def test_what_is_said_of_a_wrong_frame_never_quotes_more_of_it_than_a_line_holds() -> None:
    assert len(refused({**ISSUE, "x" * 200_000: 1})) < 1000


# --- replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 1, "version": 1},
        {"id": 1, "ok": None, "version": 1},
        {"id": 1, "ok": 1, "version": 1},
        {"id": 1, "ok": "true", "version": 1},
        {"id": 1, "ok": True},
        {"id": 1, "ok": True, "version": 1, "more": 1},
        {"id": 1, "ok": True, "error": "busy", "detail": ""},
        {"id": 1, "ok": False},
        {"id": 1, "ok": False, "version": 1},
        {"id": 1, "ok": False, "error": "busy"},
        {"id": 1, "ok": False, "error": "no_such_code", "detail": ""},
        {"id": 1, "ok": False, "error": ["busy"], "detail": ""},
        {"id": 1, "ok": False, "error": b"busy", "detail": ""},
        {"id": 1, "ok": False, "error": "busy", "detail": b""},
        {"id": 1, "ok": False, "error": "busy", "detail": "", "more": 1},
        {"id": -1, "ok": True, "version": 1},
        {"ok": True, "version": 1},
    ],
)
def test_a_reply_that_is_neither_an_answer_nor_a_refusal_is_refused(fields: Any) -> None:
    with pytest.raises(WireError):
        decode_reply(msgpack.packb(fields), HelloReply)
