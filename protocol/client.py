"""A blocking, thread-safe client of a signer socket: a small pool of connections, deadlines, reconnect.

A request is sent again on a new connection only where it surely was not carried out: the signer ends
a connection by refusing further input, answering what had arrived, and closing. So a request that
could not be sent whole was never seen, and one that was sent gets its answer, across a restart too.
Should the signer die in between, it is not known whether it issued: that is ``unavailable``, and a
caller who must know asks with an idempotency key.
"""

import collections
import socket
import struct
import threading
from typing import TypeVar

from protocol import messages
from protocol.errors import ErrorCode, Refused
from protocol.fields import Message
from protocol.messages import PROTOCOL_VERSION, HelloReply, HelloRequest
from protocol.wire import ID_MAX, FrameReader, WireError, decode_reply, encode_request

T = TypeVar("T", bound=Message)
ATTEMPTS = 3  # on new connections: a restart may end one or two of them; a third failure is no coincidence
_RECEIVE_BYTES = 64 * 1024


class _NotSent(Exception):
    """The connection ended before the signer can have seen the whole request."""


class _Connection:
    """One connection, after its hello. ``ended``: the signer closes it, and takes no more requests on it."""

    def __init__(self, path: str, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._reader = FrameReader()
        self._last_id = 0
        self.ended = False
        # Kernel time-outs on a blocking socket: one system call less per send and receive than
        # settimeout(), which polls first.
        timeval = struct.pack("@ll", int(timeout), int(timeout % 1 * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        try:
            self._socket.connect(path)
            answer = self.exchange("hello", HelloRequest(version=PROTOCOL_VERSION), HelloReply)
        except BaseException:
            self.close()
            raise
        if isinstance(answer, Refused):
            self.close()
            raise answer

    def exchange(self, op: str, request: Message, reply: type[T]) -> T | Refused:
        self._last_id = self._last_id % ID_MAX + 1
        try:
            frame = encode_request(op, self._last_id, request)
        except WireError as error:
            raise Refused(ErrorCode.BAD_REQUEST, str(error)) from None
        try:
            self._socket.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            raise _NotSent from None
        answer_id, answer = decode_reply(self._receive(), reply)
        # An id of 0 refuses a frame that the signer could not read, hence could not name; then it hangs up.
        self.ended = answer_id == 0
        if answer_id not in {self._last_id, 0}:
            raise WireError("an answer to another request")
        return answer

    def _receive(self) -> bytes:
        while (body := self._reader.next_frame()) is None:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("the signer closed the connection")
            self._reader.feed(data)
        return body

    def close(self) -> None:
        self._socket.close()


class SignerClient:
    """Asks the signer at a unix socket.

    ``path``: the socket. ``timeout``: seconds to wait for the kernel to take a request or to bring a
    part of an answer. ``pool_size``: idle connections kept. Every ``ask_*`` raises ``Refused``: with
    the signer's own code, or with ``unavailable`` if it can't be reached or dies before it answers.
    """

    def __init__(self, path: str, *, timeout: float = 30.0, pool_size: int = 64) -> None:
        self._path = path
        self._timeout = timeout
        self._idle: collections.deque[_Connection] = collections.deque(maxlen=pool_size)
        self._lock = threading.Lock()

    def ask_describe(self) -> messages.DescribeReply:
        return self._ask("describe", messages.DescribeRequest(), messages.DescribeReply)

    def ask_issue(self, request: messages.IssueRequest) -> messages.IssueReply:
        return self._ask("issue", request, messages.IssueReply)

    def ask_check(self, request: messages.CheckRequest) -> messages.CheckReply:
        return self._ask("check", request, messages.CheckReply)

    def ask_crl(self, request: messages.CrlRequest) -> messages.CrlReply:
        return self._ask("crl", request, messages.CrlReply)

    def ask_ocsp(self, request: messages.OcspRequest) -> messages.OcspReply:
        return self._ask("ocsp", request, messages.OcspReply)

    def ask_revoke_own(self, request: messages.RevokeOwnRequest) -> messages.RevokeOwnReply:
        return self._ask("revoke_own", request, messages.RevokeOwnReply)

    def ask_metrics(self) -> messages.MetricsReply:
        return self._ask("metrics", messages.MetricsRequest(), messages.MetricsReply)

    def ask_status(self) -> messages.StatusReply:
        return self._ask("status", messages.StatusRequest(), messages.StatusReply)

    def ask_list(self, request: messages.ListRequest) -> messages.ListReply:
        return self._ask("list", request, messages.ListReply)

    def ask_show(self, request: messages.ShowRequest) -> messages.ShowReply:
        return self._ask("show", request, messages.ShowReply)

    def ask_revoke(self, request: messages.RevokeRequest) -> messages.RevokeReply:
        return self._ask("revoke", request, messages.RevokeReply)

    def ask_unblock(self, request: messages.UnblockRequest) -> messages.UnblockReply:
        return self._ask("unblock", request, messages.UnblockReply)

    def ask_freeze(self, request: messages.FreezeRequest) -> messages.FreezeReply:
        return self._ask("freeze", request, messages.FreezeReply)

    def ask_thaw(self, request: messages.ThawRequest) -> messages.ThawReply:
        return self._ask("thaw", request, messages.ThawReply)

    def ask_accept(self, request: messages.AcceptRequest) -> messages.AcceptReply:
        return self._ask("accept", request, messages.AcceptReply)

    def ask_reload(self) -> messages.ReloadReply:
        return self._ask("reload", messages.ReloadRequest(), messages.ReloadReply)

    def ask_verify(self, request: messages.VerifyRequest) -> messages.VerifyReply:
        return self._ask("verify", request, messages.VerifyReply)

    def ask_checkpoint(self) -> messages.CheckpointReply:
        return self._ask("checkpoint", messages.CheckpointRequest(), messages.CheckpointReply)

    def ask_backup(self, request: messages.BackupRequest) -> messages.BackupReply:
        return self._ask("backup", request, messages.BackupReply)

    def close(self) -> None:
        """Closes the idle connections; one in use closes itself when its answer has come."""
        with self._lock:
            idle, self._idle = self._idle, collections.deque(maxlen=0)
        for connection in idle:
            connection.close()

    def _ask(self, op: str, request: Message, reply: type[T]) -> T:
        attempts = 0
        while attempts < ATTEMPTS:
            connection = self._take_idle()
            attempts += connection is None  # every idle one may have ended since, by a restart say
            try:
                return self._ask_on(connection or _Connection(self._path, self._timeout), op, request, reply)
            except _NotSent:
                continue
            except BlockingIOError:  # what SO_RCVTIMEO and SO_SNDTIMEO end in
                raise Refused(ErrorCode.UNAVAILABLE, f"no answer within {self._timeout:g} s") from None
            except WireError as error:
                raise Refused(ErrorCode.UNAVAILABLE, f"the signer answered nonsense: {error}") from None
            except OSError:
                break
        raise Refused(ErrorCode.UNAVAILABLE, "the signer can't be reached, or ended before it answered")

    def _take_idle(self) -> _Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _ask_on(self, connection: _Connection, op: str, request: Message, reply: type[T]) -> T:
        try:
            answer = connection.exchange(op, request, reply)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            keep = not connection.ended and len(self._idle) != self._idle.maxlen
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        if isinstance(answer, Refused):
            raise answer
        return answer
