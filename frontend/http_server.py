"""waitress over sockets that are bound already, with every limit set, run by a loop of our own.

What waitress lacks and is added here: a request must arrive whole within a time, however it trickles in;
at the limit of connections one that asks nothing makes room for a new one; a request refused unread is
answered by a problem and the connection lingers, so that the answer arrives; and a drain, in which
requests under way get their answers before the process ends.
"""

import logging
import queue
import resource
import socket
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, WSGITask

from frontend.edge import Edge
from protocol.daemon import BACKLOG
from protocol.messages import CSR_BYTES_MAX

_logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 1000  # above the keep-alive clients expected; each costs a descriptor and a few KiB
REQUEST_SECONDS = 20  # for a request to arrive whole: header and 64 KiB of body over a bad line
IDLE_SECONDS = 75  # nginx drops an idle connection to us after 60: it should be the first to do so
LINGER_SECONDS = 3  # after a refusal, for the client to stop sending and read it
DRAIN_SECONDS = 40  # for requests under way: longer than the signer is waited for
DRAIN_PARTIAL_SECONDS = 5  # for a request that is just arriving
DRAIN_IDLE_SECONDS = 1  # for a client that is just about to ask again on a kept connection
_TURN_SECONDS = 1  # the longest that the loop sleeps
_DRAIN_TURN_SECONDS = 0.1  # the same while it drains
_OTHER_DESCRIPTORS = 200  # per process: connections to the signer, listeners, what hooks open

LIMITS = {
    # 64 KiB of body; waitress refuses what reaches the number, hence one more.
    "max_request_body_size": CSR_BYTES_MAX + 1,
    # The largest header of ours, X-CSR-Renew, takes 1.5 KiB.
    "max_request_header_size": 16 * 1024,
    # One read takes header and body of a usual request.
    "recv_bytes": 16 * 1024,
    # Bodies and answers stay in memory (there is no directory to spill them into): in by the body's limit,
    # out by pausing whoever writes more than a client reads.
    "inbuf_overflow": 1024 * 1024,
    "outbuf_overflow": 64 * 1024 * 1024,
    "outbuf_high_watermark": 16 * 1024 * 1024,
    "backlog": BACKLOG,
    "channel_timeout": IDLE_SECONDS,
    "cleanup_interval": 2,
    # One request at a time per connection; the next is read when the answer is out.
    "channel_request_lookahead": 0,
    # select() dies of a descriptor above 1,023.
    "asyncore_use_poll": True,
    "asyncore_loop_timeout": _TURN_SECONDS,
    # No Server header; no tracebacks; no line per client that goes away.
    "ident": None,
    "expose_tracebacks": False,
    "log_socket_errors": False,
    # The forwarding headers are read by edge.py, for the log alone; nothing else looks at them.
    "clear_untrusted_proxy_headers": False,
}
# Answers up to this size are left to the main loop, which sends head and body at once: fewer wake-ups,
# a third more requests a second. An attribute, because passing it is deprecated.
_SEND_BYTES = 18_000


class _Parser(HTTPRequestParser):  # type: ignore[misc] # waitress publishes no types, here and below
    """One request as it arrives. Remembers since when, and refuses what two readers may read differently:
    Transfer-Encoding beside Content-Length or in HTTP/1.0 (RFC 9112, 6.1), folded lines (RFC 9112, 5.2)."""

    def __init__(self, adjustments: Adjustments) -> None:
        super().__init__(adjustments)
        self.began = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("a folded header line")
        super().parse_header(header_plus)
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("both Transfer-Encoding and Content-Length")
        if "TRANSFER_ENCODING" in self.headers:  # still there: waitress reads it in HTTP/1.1 only
            raise ParsingError("Transfer-Encoding in HTTP/1.0")


class _Task(WSGITask):  # type: ignore[misc]
    def start(self) -> None:
        super().start()
        self.channel.has_asked = True
        if self.channel.server.draining:
            self.set_close_on_finish()  # says so to the client, who connects anew for the next request


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what was refused before it reached the app: malformed, or too large."""

    def execute(self) -> None:
        edge: Edge = self.channel.server.application
        answer = edge.refuse_unread(self.request.error.code, self.channel.peer)
        self.status = answer.status_line
        self.response_headers.extend(answer.headers)
        self.content_length = len(answer.body)
        self.channel.lingers = True
        self.set_close_on_finish()
        self.write(answer.body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    parser_class = _Parser
    task_class = _Task
    error_task_class = _ErrorTask

    has_asked = False  # whether a whole request ever came
    lingers = False  # whether input is unread: closing would reset the connection, and lose the answer
    lingers_until: float | None = None

    @property
    def peer(self) -> str:
        return "unix" if self.addr[1] is None else self.addr[0]

    @property
    def is_busy(self) -> bool:
        """Whether a request is being served or its answer sent."""
        return bool(self.requests or self.total_outbufs_len)

    def received(self, data: bytes) -> bool:
        return self.lingers_until is None and super().received(data)

    def handle_close(self) -> None:
        if self.lingers and self.lingers_until is None and self.connected:
            self.lingers_until = time.monotonic() + LINGER_SECONDS
            self.will_close = self.close_when_flushed = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                super().handle_close()
        else:
            super().handle_close()

    def close_if_late(self, now: float) -> None:
        """Closes at the next turn what lingers or arrives for too long."""
        if self.lingers_until is not None:
            self.will_close |= now > self.lingers_until
        elif (request := self.request) is not None:
            self.will_close |= now > request.began + REQUEST_SECONDS


class _Dispatcher:
    """The threads that serve requests. In place of waitress's own: a queue made in C hands a request over at
    a fraction of the cost of a condition variable in Python."""

    def __init__(self, threads: int) -> None:
        self._queue: queue.SimpleQueue[_Channel | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def add_task(self, channel: _Channel) -> None:
        """Called by waitress when a request of this channel can be served."""
        self._queue.put(channel)

    def _serve(self) -> None:
        while (channel := self._queue.get()) is not None:
            try:
                channel.service()
            except BaseException:
                _logger.exception("unexpected failure while serving a request")

    def shutdown(self) -> bool:
        """Ends the threads that are idle; returns whether all were."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(0.1)
        return not any(thread.is_alive() for thread in self._threads)


class _LimitsMixin:
    """What both kinds of waitress's servers get."""

    channel_class = _Channel
    connections_max = CONNECTIONS_MAX
    draining = False
    active_channels: dict[int, Any]
    accepting: bool

    def maintenance(self, now: float) -> None:
        super().maintenance(now)  # type: ignore[misc]
        now = time.monotonic()
        for channel in self.active_channels.values():
            channel.close_if_late(now)

    def handle_accept(self) -> None:
        if len(self.active_channels) >= self.connections_max:
            self._make_room()
        super().handle_accept()  # type: ignore[misc]

    def _make_room(self) -> None:
        """Closes a connection with no request under way: of those that never asked anything the one that was
        silent longest, else of all."""
        idle = [channel for channel in self.active_channels.values() if not channel.requests]
        if idle:
            victim = min(idle, key=lambda channel: (channel.has_asked, channel.last_activity))
            victim.lingers = False
            victim.handle_close()

    def stop_accepting(self, *, take_waiting: bool) -> None:
        """Serves no new connection; with ``take_waiting``, those that wait in the backlog are the last."""
        while take_waiting:
            before = len(self.active_channels)
            self.handle_accept()
            take_waiting = len(self.active_channels) > before
        self.draining = True
        self.accepting = False
        self.del_channel()  # type: ignore[attr-defined]
        self.socket.close()  # type: ignore[attr-defined]


class _TcpServer(_LimitsMixin, TcpWSGIServer):  # type: ignore[misc]
    pass


class _UnixServer(_LimitsMixin, UnixWSGIServer):  # type: ignore[misc]
    pass


class HttpServer:
    """Serves apps on listening sockets, all from one loop and one set of threads, until told to stop."""

    def __init__(self, endpoints: Sequence[tuple[Edge, socket.socket]], threads: int) -> None:
        with warnings.catch_warnings():  # of a newer waitress, about a setting that goes away
            warnings.simplefilter("ignore", DeprecationWarning)
            adjustments = Adjustments(**LIMITS)
        connections_max = min(CONNECTIONS_MAX, _raise_descriptor_limit() - _OTHER_DESCRIPTORS)
        # Beyond the limit, with a request under way on every connection: the rest wait in the backlog.
        adjustments.connection_limit = connections_max + 50
        adjustments.send_bytes = _SEND_BYTES
        self._dispatcher = _Dispatcher(threads)
        self._map: dict[int, Any] = {}
        self._servers = [self._make_server(app, listener, adjustments) for app, listener in endpoints]
        for server in self._servers:
            server.connections_max = connections_max
        self._stopping = False

    def _make_server(self, app: Edge, listener: socket.socket, adjustments: Adjustments) -> Any:
        kind = _UnixServer if listener.family == socket.AF_UNIX else _TcpServer
        return kind(
            app,
            map=self._map,
            _sock=listener,
            dispatcher=self._dispatcher,
            adj=adjustments,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )

    def stop(self) -> None:
        """Makes ``run`` drain and return. Safe in a signal handler."""
        self._stopping = True
        self._servers[0].pull_trigger()  # poll() is not interrupted by a signal that has a handler

    def run(self, on_turn: Callable[[], None], *, take_waiting: bool) -> None:
        """Serves until ``stop``. Calls ``on_turn`` at least every second, as long as the loop turns at all.

        ``take_waiting``: on stop, serve what waits in the backlog too; not where a successor inherits it.
        """
        while not self._stopping:
            self._turn()
            on_turn()
        self._drain(on_turn, take_waiting=take_waiting)
        if self._dispatcher.shutdown():
            wasyncore.close_all(self._map)

    def _turn(self, seconds: float = _TURN_SECONDS) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)

    def _drain(self, on_turn: Callable[[], None], *, take_waiting: bool) -> None:
        for server in self._servers:
            server.stop_accepting(take_waiting=take_waiting)
        began = time.monotonic()
        while channels := [channel for server in self._servers for channel in server.active_channels.values()]:
            waited = time.monotonic() - began
            for channel in channels:
                channel.will_close |= waited > _drain_patience(channel)
            if waited > DRAIN_SECONDS:
                _logger.warning("%d requests are still under way after %d s", len(channels), DRAIN_SECONDS)
                return
            self._turn(_DRAIN_TURN_SECONDS)
            on_turn()


def _raise_descriptor_limit() -> int:
    """Raises the soft limit of open descriptors as far as is useful; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + 2 * _OTHER_DESCRIPTORS
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def _drain_patience(channel: Any) -> float:
    if channel.is_busy:
        return DRAIN_SECONDS
    return DRAIN_PARTIAL_SECONDS if channel.request is not None else DRAIN_IDLE_SECONDS
