"""One accepted connection: its bytes in and out, and what it may cost.

A connection has at most one request under way and one reply unsent: the next frame is taken up when
the reply is gone. It holds at most one frame besides, and for no longer than its deadline.
"""

import collections
import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Collection

from protocol.errors import ConfigurationError
from protocol.messages import Socket
from protocol.wire import FrameReader
from signerd.issuance import Asker
from signerd.peers import Credentials

CONNECTIONS_MAX = {Socket.SIGN: 512, Socket.ADMIN: 32}  # below the usual limit of 1,024 descriptors
RESERVED = 8  # more on admin.sock for root and the signer's own user, whom the operators' connections can't lock out
HELLO_SECONDS = 5.0  # from the connection to a whole hello
FRAME_SECONDS = 10.0  # from a frame's first byte to its last: a local peer needs a millisecond
REPLY_SECONDS = 10.0  # for a peer to take a reply
_RECEIVE_BYTES = 64 * 1024
_OTHER_DESCRIPTORS = 64  # the ledger's files, the listening sockets, what the interpreter opens now and then


def reserve_descriptors() -> None:
    """Sees to it that as many connections can be open at once as there may be.

    Without a descriptor left accept() would fail, and fail again, until one is closed. Raises
    ``ConfigurationError`` where the limit of open files doesn't allow for them.
    """
    wanted = sum(CONNECTIONS_MAX.values()) + RESERVED + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        raise ConfigurationError(f"{hard} files may be open at once, and {wanted} are needed: raise LimitNOFILE=")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Connection:
    """See the module's text. ``where`` is the socket that it came in by."""

    def __init__(self, peer: socket.socket, where: Socket, who: Credentials) -> None:
        peer.setblocking(False)
        self.socket = peer
        self.where = where
        self.pid = who.pid
        self.asker = Asker(where.value, who.uid)
        self.greeted = False
        self.busy = False  # a request is under way, or its reply not yet taken
        self.ended = False  # the peer sends no more
        self.deadline: float | None = time.monotonic() + HELLO_SECONDS
        self.last_active = time.monotonic()
        self.watched = 0  # the events that the selector looks for
        self._reader = FrameReader()
        self._unsent = b""

    def __str__(self) -> str:
        return f"uid {self.asker.uid} on {self.where.value}.sock"

    def receive(self) -> None:
        """Takes what has come. Raises ``OSError`` if the connection broke."""
        # recv, not recvmsg: descriptors that the peer sends along are not installed.
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            self.ended = True
        self._reader.feed(data)

    @property
    def wants(self) -> int:
        """The events that it waits for: input, unless enough of it is held; output, if any is unsent.

        Without a request under way what is held is less than a frame: a whole one was taken up.
        """
        read = not self.ended and (not self.busy or self._reader.buffered <= _RECEIVE_BYTES)
        return (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if self._unsent else 0)

    def shut(self) -> None:
        """Refuses further input: what the peer sends from now on fails, what had arrived is answered."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def take_frame(self) -> bytes | None:
        """The next whole frame, if there is one, and none under way. Raises ``WireError``."""
        if self.busy:
            return None
        frame = self._reader.next_frame()
        if frame is not None:
            self.busy, self.deadline, self.last_active = True, None, time.monotonic()
        elif self._reader.buffered and self.deadline is None:
            self.deadline = time.monotonic() + FRAME_SECONDS
        return frame

    @property
    def idle(self) -> bool:
        """Whether nothing is under way and nothing half received."""
        return not self.busy and not self._reader.buffered

    def send(self, frame: bytes) -> bool:
        """Sends a reply, as far as it goes at once; says whether it is gone. Raises ``OSError``."""
        self._unsent = frame
        self.deadline = time.monotonic() + REPLY_SECONDS
        return self.flush()

    def flush(self) -> bool:
        """Sends more of the reply; says whether it is gone. Raises ``OSError``."""
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        if self._unsent:
            return False
        self.busy, self.deadline = False, None
        return True


def expendable(connections: Collection[Connection]) -> Connection:
    """The connection that makes room for another: one that is idle, else one that is half way, else any.

    Of those it is one of the process that has the most, so that who opens very many pays for it himself;
    and of these the one that has been idle for longest.
    """
    of_process = collections.Counter(connection.pid for connection in connections)
    return min(connections, key=lambda one: (one.busy, not one.idle, -of_process[one.pid], one.last_active))
