"""The wire says what was meant, and nothing else is taken for a message."""

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from protocol.errors import ErrorCode, Refused
from protocol.fields import (
    CSR_BYTES_MAX,
    EXTENSION_BYTES_MAX,
    EXTENSIONS_MAX,
    ExtensionWish,
    HookWishes,
    MacProof,
    RenewalProof,
)
from protocol.messages import OPERATIONS, CheckReply, HelloReply, HelloRequest, IssueRequest
from protocol.wire import (
    DETAIL_MAX,
    FRAME_BYTES_MAX,
    ID_MAX,
    FrameReader,
    WireError,
    decode_reply,
    decode_request,
    encode_refusal,
    encode_reply,
    encode_request,
)
from tests.protocol.pair import ConnectionPair, take_all
from tests.protocol.strategies import REPLIES, REQUESTS, ids, messages_of, refusals

EVERY_OPERATION = pytest.mark.parametrize("op", OPERATIONS)
pieces = st.sampled_from([1, 2, 3, 7, 4096, 65536])

# --- round trips ----------------------------------------------------------------------------------


@EVERY_OPERATION
@given(data=st.data())
def test_a_request_arrives_as_it_was_meant(op: str, data: st.DataObject) -> None:
    request_id, message = data.draw(ids), data.draw(messages_of(REQUESTS[op]))
    assert ConnectionPair(data.draw(pieces)).request(op, request_id, message) == (op, request_id, message)


@EVERY_OPERATION
@given(data=st.data())
def test_a_reply_arrives_as_it_was_meant(op: str, data: st.DataObject) -> None:
    request_id, message = data.draw(ids), data.draw(messages_of(REPLIES[op]))
    assert ConnectionPair(data.draw(pieces)).reply(op, request_id, message) == (request_id, message)


@EVERY_OPERATION
@given(request_id=ids, refusal=refusals, piece=pieces)
def test_a_refusal_arrives_as_it_was_meant(op: str, request_id: int, refusal: Refused, piece: int) -> None:
    answer_id, answer = ConnectionPair(piece).reply(op, request_id, refusal)
    assert isinstance(answer, Refused)
    assert (answer_id, answer.code, answer.detail) == (request_id, refusal.code, refusal.detail)


def test_a_field_at_its_default_may_be_left_out() -> None:
    _, _, message = decode_request(msgpack.packb({"op": "issue", "id": 1, "csr": b"DER", "client": "web1"}))
    assert message == IssueRequest(csr=b"DER", client="web1")


# --- limits of what is sent ----------------------------------------------------------------------


@given(st.text(alphabet=st.characters(), min_size=0, max_size=200), st.integers(1, 4000))
def test_a_refusal_always_fits_into_a_frame_whatever_its_detail(text: str, times: int) -> None:
    frame = encode_refusal(1, ErrorCode.INTERNAL, text * times)
    _, refusal = decode_reply(frame[4:], HelloReply)
    assert isinstance(refusal, Refused)
    assert refusal.detail[:10] == (text * times).encode(errors="backslashreplace").decode()[:10]


@pytest.mark.parametrize("character", ["a", "\N{GRINNING FACE}", "\udc80", "\0"])
def test_a_refusal_s_detail_is_cut_at_its_limit(character: str) -> None:
    frame = encode_refusal(1, ErrorCode.POLICY_DENIED, character * (DETAIL_MAX + 1))
    assert len(frame) <= 4 + FRAME_BYTES_MAX
    _, refusal = decode_reply(frame[4:], CheckReply)
    assert isinstance(refusal, Refused)
    assert len(refusal.detail) == DETAIL_MAX * len(character.encode(errors="backslashreplace").decode())


def test_a_message_that_does_not_fit_into_a_frame_or_into_msgpack_is_not_encoded() -> None:
    with pytest.raises(WireError, match="does not fit"):
        encode_request("issue", 1, IssueRequest(csr=b"x" * FRAME_BYTES_MAX, client="web1"))
    with pytest.raises(WireError, match="can't be encoded"):
        encode_request("issue", 1, IssueRequest(csr=b"DER", client="\ud800"))
    with pytest.raises(WireError, match="can't be encoded"):
        encode_reply(1, HelloReply(version=2**64))


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
def test_a_length_of_nothing_or_above_the_cap_is_refused_before_the_body_is_held(length: int) -> None:
    reader = FrameReader()
    reader.feed(struct.pack(">I", length))
    with pytest.raises(WireError, match=str(length)):
        reader.next_frame()
    assert reader.buffered == 4


def test_a_frame_at_the_cap_is_taken() -> None:
    reader = FrameReader()
    reader.feed(struct.pack(">I", FRAME_BYTES_MAX))
    assert reader.next_frame() is None
    reader.feed(bytes(FRAME_BYTES_MAX))
    assert reader.next_frame() == bytes(FRAME_BYTES_MAX)
    assert reader.buffered == 0


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 20))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(bodies: list[bytes], piece: int) -> None:
    stream = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    reader = FrameReader()
    found: list[bytes] = []
    for start in range(0, len(stream), piece):
        reader.feed(stream[start : start + piece])
        found += take_all(reader)
    assert found == bodies
    assert reader.buffered == 0


def test_the_largest_request_of_every_operation_fits_into_a_frame() -> None:
    for op, row in OPERATIONS.items():
        assert 64 + _encoded_max(inspect.type_info(row.request)) <= FRAME_BYTES_MAX, op


def _encoded_max(type_: inspect.Type) -> int:  # noqa: PLR0911 - one line for each kind of value
    """How many bytes of msgpack a value of this type takes at most. Fails where nothing bounds it."""
    match type_:
        case inspect.StructType(fields=fields):
            return 5 + sum(5 + len(field.name) + _encoded_max(field.type) for field in fields)
        case inspect.UnionType(types=types):
            return max(map(_encoded_max, types))
        case inspect.VarTupleType(item_type=item, max_length=int() as longest):
            return 5 + longest * _encoded_max(item)
        case inspect.StrType(pattern=str()):
            return 5 + 1024  # each pattern has its own bound in characters, all of them ASCII
        case inspect.StrType(max_length=int() as longest):
            return 5 + 4 * longest
        case inspect.BytesType(max_length=int() as longest):
            return 5 + longest
        case inspect.IntType() | inspect.BoolType() | inspect.NoneType():
            return 9
    raise AssertionError(f"nothing bounds {type_}")


def test_the_largest_issue_request_goes_through() -> None:
    wish = ExtensionWish(oid="2" + ".4294967295" * 30, value=b"x" * EXTENSION_BYTES_MAX, critical=True)
    request = IssueRequest(
        csr=b"x" * CSR_BYTES_MAX,
        client="a" * 128,
        profile="p" * 64,
        lifetime=2**40,
        extensions=(wish,) * EXTENSIONS_MAX,
        idempotency_key="\N{GRINNING FACE}" * 128,
        hooks=HookWishes(profile="p" * 64, lifetime=2**40),
        mac=MacProof(time=2**40, mac=b"m" * 32),
        renewal=RenewalProof(serial=b"s" * 20, time=2**40, signature=b"s" * 8192),
    )
    assert ConnectionPair().request("issue", ID_MAX, request) == ("issue", ID_MAX, request)


def test_the_first_exchange_is_these_bytes() -> None:
    assert encode_request("hello", 1, HelloRequest(version=1)).hex() == (
        "00000017" + "83" + "a26f70" + "a568656c6c6f" + "a26964" + "01" + "a776657273696f6e" + "01"
    )
    assert encode_reply(1, HelloReply(version=1)).hex() == (
        "00000012" + "83" + "a26964" + "01" + "a26f6b" + "c3" + "a776657273696f6e" + "01"
    )
