"""Frames and their strict decoding. Sans-IO: bytes in, messages out, no sockets.

Theory of operation. A connection carries frames: a 4-byte big-endian length, then one msgpack map of
that many bytes. ``FrameReader`` cuts a byte stream into frames, however it was split on its way, and
refuses a length above the cap before it holds a byte of the body. ``decode_request`` and
``decode_reply`` turn a frame's body into a message or raise ``WireError``: nothing else, whatever the
bytes are. They are strict: an unknown operation, an unknown, missing or duplicate field, a value of
the wrong type, an extension type, a float (hence NaN), nesting beyond what messages have, trailing
bytes. There is no resynchronising: after a ``WireError`` the connection is closed.

A request is ``{"op": str, "id": int, ...fields}``; a reply ``{"id": int, "ok": true, ...fields}`` or
``{"id": int, "ok": false, "error": code, "detail": text}``.

This is the only file that imports msgpack.
"""

import struct
from typing import Any, NoReturn, TypeVar

import msgpack
import msgspec

from protocol.errors import ErrorCode, Refused
from protocol.fields import Message
from protocol.messages import OPERATIONS

FRAME_BYTES_MAX = 256 * 1024  # the largest message is a page of `list`; a CSR takes at most 64 KiB
ID_MAX = 2**32 - 1
DETAIL_MAX = 32 * 1024  # characters of a refusal's detail: 100 names of 253 characters, and what is wrong with each
_HEADER = struct.Struct(">I")
CONTAINER_MAX = 4096  # items in one array or map: a page of 1,000 rows, with room
_WHAT_MAX = 256  # characters of a WireError that may quote the peer: it goes to the log and back
T = TypeVar("T", bound=Message)
# What msgspec may take as it stands; anything else (a base64 string for bytes, say) is a wrong type.
_NATIVE = (bytes,)


class WireError(Exception):
    """The peer sent what the protocol has no meaning for. The connection can't be used any further."""


class FrameReader:
    """Cuts a byte stream into frames.

    It holds what it was fed until it is taken; who feeds it looks at ``buffered`` to bound that.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes bytes as they come from the stream."""
        self._buffer += data

    @property
    def buffered(self) -> int:
        """How many bytes are held that are not yet taken as a frame."""
        return len(self._buffer)

    def next_frame(self) -> bytes | None:
        """The body of the next whole frame, or None until more bytes come.

        Raises ``WireError`` for a length of 0 or above ``FRAME_BYTES_MAX``.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._buffer)
        if not 0 < length <= FRAME_BYTES_MAX:
            raise WireError(f"a frame of {length} bytes (1 to {FRAME_BYTES_MAX} allowed)")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return body


def _frame(fields: dict[str, Any]) -> bytes:
    try:
        body = pack(fields)
    except (ValueError, OverflowError) as error:  # a lone surrogate, or an integer of more than 64 bits
        raise WireError(f"a message that can't be encoded ({type(error).__name__})") from None
    if len(body) > FRAME_BYTES_MAX:
        raise WireError(f"a message of {len(body)} bytes does not fit into a frame")
    return _HEADER.pack(len(body)) + body


def _fields(message: Message) -> dict[str, Any]:
    return msgspec.to_builtins(message, builtin_types=_NATIVE)  # type: ignore[no-any-return]


def encode_request(op: str, request_id: int, message: Message) -> bytes:
    """The frame of a request. Raises ``WireError`` for one that does not fit into a frame."""
    return _frame({"op": op, "id": request_id, **_fields(message)})


def encode_reply(request_id: int, message: Message) -> bytes:
    """The frame of an answer. Raises ``WireError`` for one that does not fit into a frame."""
    return _frame({"id": request_id, "ok": True, **_fields(message)})


def encode_refusal(request_id: int, code: ErrorCode, detail: str) -> bytes:
    """The frame of a refusal; the detail is cut so that it always fits."""
    detail = detail[:DETAIL_MAX].encode(errors="backslashreplace").decode()
    return _frame({"id": request_id, "ok": False, "error": str(code), "detail": detail})


def decode_request(body: bytes) -> tuple[str, int, Message]:
    """The operation, the id and the request in a frame. Raises ``WireError``."""
    fields = unpack(body)
    op, request_id = fields.pop("op", None), _take_id(fields)
    if not isinstance(op, str) or op not in OPERATIONS:
        raise WireError("an unknown operation")
    return op, request_id, _convert(fields, OPERATIONS[op].request)


def decode_reply(body: bytes, expected: type[T]) -> tuple[int, T | Refused]:
    """The id and the answer, or the refusal, in a frame. Raises ``WireError``."""
    fields = unpack(body)
    request_id, ok = _take_id(fields), fields.pop("ok", None)
    if ok is True:
        return request_id, _convert(fields, expected)
    if ok is not False or set(fields) != {"error", "detail"} or not isinstance(fields["detail"], str):
        raise WireError("neither an answer nor a refusal")
    try:
        return request_id, Refused(ErrorCode(fields["error"]), fields["detail"])
    except ValueError:
        raise WireError("an unknown error code") from None


def _take_id(fields: dict[str, Any]) -> int:
    request_id = fields.pop("id", None)
    if type(request_id) is not int or not 0 <= request_id <= ID_MAX:
        raise WireError("a missing or wrong id")
    return request_id


def _convert(fields: dict[str, Any], wanted: type[T]) -> T:
    try:
        return msgspec.convert(fields, wanted, builtin_types=_NATIVE)
    except msgspec.ValidationError as error:  # names the field, and quotes no value, but an unknown field's name
        raise WireError(str(error)[:_WHAT_MAX]) from None


def pack(value: dict[str, Any]) -> bytes:
    """The msgpack encoding of a map: for frames, and for the bodies of ledger entries."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def unpack(body: bytes) -> dict[str, Any]:
    """The one msgpack map in ``body``, strictly decoded. Raises ``WireError``.

    A new decoder per call: one that has raised is not safe to be used again.
    """
    try:
        value = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_unique,
            ext_hook=_refuse_extension,
            max_array_len=CONTAINER_MAX,
            max_map_len=CONTAINER_MAX,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"not one strict msgpack value ({type(error).__name__})") from None
    if type(value) is not dict:
        raise WireError("not a map")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError("extension type")
