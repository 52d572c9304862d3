"""Whatever bytes come: they decode to a message or raise WireError, and nothing else, whole or byte by byte."""

import struct
import tracemalloc
from collections.abc import Callable, Iterable

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import Refused
from protocol.fields import Message
from protocol.wire import (
    FRAME_BYTES_MAX,
    FrameReader,
    WireError,
    decode_reply,
    decode_request,
    encode_refusal,
    encode_reply,
    encode_request,
    unpack,
)
from tests.protocol.pair import take_all
from tests.protocol.strategies import REPLIES, REQUESTS, ids, messages_of, packed_structures, refusals

REFUSED = "refused"


def request_outcome(body: bytes) -> object:
    """The message, or REFUSED. Any other exception is a failure of the test that asks."""
    try:
        op, request_id, message = decode_request(body)
    except WireError:
        return REFUSED
    assert type(message) is REQUESTS[op]
    assert type(request_id) is int
    return op, request_id, message


def reply_outcome(kind: type[Message], body: bytes) -> object:
    try:
        request_id, message = decode_reply(body, kind)
    except WireError:
        return REFUSED
    if isinstance(message, Refused):
        return request_id, message.code, message.detail
    assert type(message) is kind
    return request_id, message


def outcomes(pieces: Iterable[bytes], decode: Callable[[bytes], object]) -> list[object]:
    """What a stream comes to: each frame's outcome, up to the first that is REFUSED, which ends the connection."""
    reader, found = FrameReader(), []
    for piece in pieces:
        reader.feed(piece)
        try:
            for body in take_all(reader):
                found.append(decode(body))
                if found[-1] is REFUSED:
                    return found
        except WireError:  # a length that can't be
            return [*found, REFUSED]
    return found


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


every_request = st.sampled_from(sorted(REQUESTS)).flatmap(
    lambda op: st.builds(encode_request, st.just(op), ids, messages_of(REQUESTS[op]))
)
every_reply = st.sampled_from(sorted(REPLIES)).flatmap(
    lambda op: (
        st.builds(encode_reply, ids, messages_of(REPLIES[op]))
        | st.builds(lambda request_id, refusal: encode_refusal(request_id, refusal.code, refusal.detail), ids, refusals)
    )
)
kinds = st.sampled_from(sorted(REPLIES)).map(REPLIES.__getitem__)


@st.composite
def mutated(draw: st.DrawFn, frames: st.SearchStrategy[bytes]) -> bytes:
    """A valid frame, of which a few bytes are changed, left out or doubled."""
    frame = bytearray(draw(frames))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(frame) - 1)))
        match draw(st.sampled_from(["change", "cut", "double", "insert"])):
            case "change":
                frame[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del frame[at : at + draw(st.integers(1, 8))]
            case "double":
                frame[at:at] = frame[at : at + draw(st.integers(1, 8))]
            case "insert":
                frame[at:at] = draw(st.binary(max_size=8))
    return bytes(frame)


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_decode_to_a_message_or_raise_wire_error(body: bytes) -> None:
    request_outcome(body)
    for kind in REPLIES.values():
        reply_outcome(kind, body)


@given(packed_structures)
def test_any_msgpack_structure_decodes_to_a_message_or_raises_wire_error(body: bytes) -> None:
    request_outcome(body)
    for kind in REPLIES.values():
        reply_outcome(kind, body)


@given(mutated(every_request))
def test_a_damaged_request_decodes_to_a_message_or_raises_wire_error(frame: bytes) -> None:
    request_outcome(frame[4:])


@given(mutated(every_reply), kinds)
def test_a_damaged_reply_decodes_to_a_message_or_raises_wire_error(frame: bytes, kind: type[Message]) -> None:
    reply_outcome(kind, frame[4:])


@given(st.binary(max_size=300), st.data())
def test_a_stream_of_garbage_comes_to_the_same_whole_or_in_any_pieces(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = outcomes([stream], request_outcome)
    assert outcomes(pieces, request_outcome) == whole
    assert outcomes((bytes([byte]) for byte in stream), request_outcome) == whole


@given(st.lists(every_request | mutated(every_request) | packed_structures.map(framed), max_size=4))
def test_a_stream_of_right_and_wrong_frames_comes_to_the_same_whole_or_byte_by_byte(frames: list[bytes]) -> None:
    stream = b"".join(frames)
    whole = outcomes([stream], request_outcome)
    assert outcomes((bytes([byte]) for byte in stream), request_outcome) == whole


@given(st.binary(max_size=500) | packed_structures)
def test_unpack_gives_a_map_or_raises_wire_error(body: bytes) -> None:
    try:
        value = unpack(body)
    except WireError:
        return
    assert type(value) is dict


@given(packed_structures)
@example(msgpack.packb({"op": "hello", "id": 1, "version": float("nan")}))
@example(msgpack.packb({"op": "hello", "id": 1, "version": msgpack.Timestamp(1)}))
def test_what_decodes_consists_of_the_protocol_s_own_types_and_encodes_again(body: bytes) -> None:
    try:
        op, request_id, message = decode_request(body)
    except WireError:
        return
    assert decode_request(encode_request(op, request_id, message)[4:]) == (op, request_id, message)


NESTED = 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * NESTED + b"\xc0",
        b"\x81\xa1a" * (NESTED // 3) + b"\xc0",
        b"\x83\xa2op\xa5hello\xa2id\x01\xa7version" + b"\x91" * NESTED + b"\xc0",
        b"\x83\xa2op\xa5issue\xa2id\x01\xaaextensions" + b"\x91" * 500 + b"\xc0",
        b"\x91" * NESTED,
    ],
    ids=["arrays", "maps", "in a field", "shallow enough for msgpack", "never closed"],
)
def test_deeply_nested_values_raise_wire_error(body: bytes) -> None:
    assert request_outcome(body) is REFUSED
    assert reply_outcome(REPLIES["describe"], body) is REFUSED


@pytest.mark.parametrize(
    "announced", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
)
def test_a_container_that_announces_more_than_there_is_raises_wire_error_and_takes_no_memory(announced: bytes) -> None:
    tracemalloc.start()
    try:
        assert request_outcome(announced) is REFUSED
        assert request_outcome(b"\x81\xa1a" + announced) is REFUSED
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_largest_frame_of_the_smallest_values_costs_a_bounded_amount_of_memory() -> None:
    arrays = [b"\xdc\x0f\xff" + b"\x90" * 4095 for _ in range(63)]
    body = b"\x81\xa1a" + b"\xdc" + struct.pack(">H", len(arrays)) + b"".join(arrays)
    assert len(body) <= FRAME_BYTES_MAX
    tracemalloc.start()
    try:
        assert request_outcome(body) is REFUSED
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
