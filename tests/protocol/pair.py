"""The client's coder and the signer's, joined without a socket between them.

What one end says goes through a frame and a ``FrameReader``, in pieces of any size, to the other.
"""

from collections.abc import Iterator
from typing import TypeVar

from protocol.errors import Refused
from protocol.fields import Message
from protocol.messages import OPERATIONS
from protocol.wire import FrameReader, decode_reply, decode_request, encode_refusal, encode_reply, encode_request

T = TypeVar("T", bound=Message)


class ConnectionPair:
    """Both ends of a connection. ``piece``: how many bytes the way between them carries at a time."""

    def __init__(self, piece: int = 65536) -> None:
        self._piece = piece
        self._client, self._signer = FrameReader(), FrameReader()

    def request(self, op: str, request_id: int, message: Message) -> tuple[str, int, Message]:
        """What the signer understands when the client asks this."""
        [body] = self._carry(encode_request(op, request_id, message), self._signer)
        return decode_request(body)

    def reply(self, op: str, request_id: int, answer: Message | Refused) -> tuple[int, Message | Refused]:
        """What the client understands when the signer answers this."""
        if isinstance(answer, Refused):
            frame = encode_refusal(request_id, answer.code, answer.detail)
        else:
            frame = encode_reply(request_id, answer)
        [body] = self._carry(frame, self._client)
        return decode_reply(body, OPERATIONS[op].reply)

    def _carry(self, data: bytes, reader: FrameReader) -> list[bytes]:
        bodies: list[bytes] = []
        for start in range(0, len(data), self._piece):
            reader.feed(data[start : start + self._piece])
            bodies += take_all(reader)
        assert reader.buffered == 0
        return bodies


def take_all(reader: FrameReader) -> Iterator[bytes]:
    """Every whole frame that there is."""
    while (body := reader.next_frame()) is not None:
        yield body
