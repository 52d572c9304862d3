"""A peer of the signer that says what it is told, right or wrong: it shares no code with the project's client."""

import itertools
import socket
import struct
from types import TracebackType
from typing import Any

import msgpack

from tests.running import DEADLINE


def frame(fields: Any) -> bytes:
    """A frame around any value, or around bytes as they are."""
    body = fields if isinstance(fields, bytes) else msgpack.packb(fields)
    return struct.pack(">I", len(body)) + body


class RawPeer:
    """One connection. ``greet``: begin with a hello that is in order."""

    def __init__(self, path: str, *, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._ids = itertools.count(1)
        self._received = bytearray()
        try:
            self.socket.settimeout(DEADLINE)
            self.socket.connect(path)
            if greet:
                assert self.ask("hello", version=1)["ok"] is True
        except BaseException:
            self.close()
            raise

    def request(self, op: str, **fields: Any) -> bytes:
        """The frame of a request with the next id."""
        return frame({"op": op, "id": next(self._ids), **fields})

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Sends one request, and takes one reply."""
        self.send(self.request(op, **fields))
        return self.receive()

    def receive(self) -> dict[str, Any]:
        """The next reply. Fails when the connection ends before it."""
        (length,) = struct.unpack(">I", self.receive_bytes(4))
        reply = msgpack.unpackb(self.receive_bytes(length))
        assert isinstance(reply, dict)
        return reply

    def receive_bytes(self, size: int) -> bytes:
        """So many bytes, whatever they are. Fails when the connection ends before them."""
        while len(self._received) < size:
            data = self.socket.recv(65536)
            assert data, "the signer closed the connection"
            self._received += data
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def is_closed(self) -> bool:
        """Waits for the signer's next word; True if it is the end of the connection."""
        try:
            return not self._received and not self.socket.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
