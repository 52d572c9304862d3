"""waitress over sockets that are bound already, with every limit set, run by a loop of our own.

What waitress lacks and is added here: a request must arrive whole within a time, however it trickles in;
at the limit of connections one that asks nothing makes room for a new one; a request refused unread is
answered by a problem and the connection lingers, so that the answer arrives; and a drain, in which
requests under way get their answers before the process ends.
"""

import logging
import resource
import socket
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from frontend.connections import Channel, Dispatcher
from frontend.edge import Edge
from frontend.loop import Loop
from protocol.daemon import BACKLOG
from protocol.fields import CSR_BYTES_MAX

_logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 1000  # above the keep-alive clients expected; each costs a descriptor and a few KiB
IDLE_SECONDS = 75  # nginx drops an idle connection to us after 60: it should be the first to do so
DRAIN_SECONDS = 40  # for requests under way: longer than the signer is waited for
DRAIN_PARTIAL_SECONDS = 5  # for a request that is just arriving
DRAIN_IDLE_SECONDS = 1  # for a client that is just about to ask again on a kept connection
_TURN_SECONDS = 1  # the longest that the loop sleeps
_DRAIN_TURN_SECONDS = 0.1  # the same while it drains
_OTHER_DESCRIPTORS = 200  # per process: connections to the signer, listeners, what hooks open

LIMITS = {
    # 64 KiB of body; waitress refuses what reaches the number, hence one more.
    "max_request_body_size": CSR_BYTES_MAX + 1,
    # The largest header of ours, X-CSR-Renew, takes 11 KiB.
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


class _LimitsMixin:
    """What both kinds of waitress's servers get."""

    channel_class = Channel
    connections_max = CONNECTIONS_MAX
    draining = False
    active_channels: dict[int, Any]
    accepting: bool
    loop: Loop
    task_dispatcher: Dispatcher

    def pull_trigger(self) -> None:
        """Called in a thread when it has something for the loop to do; waitress does not say for which connection."""
        self.loop.look_at(self.task_dispatcher.served_here().descriptor)

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
        self._dispatcher = Dispatcher(threads)
        self._loop = Loop()
        self._servers = [self._make_server(app, listener, adjustments) for app, listener in endpoints]
        for server in self._servers:
            server.connections_max = connections_max
            server.loop = self._loop
        self._stopping = False

    def _make_server(self, app: Edge, listener: socket.socket, adjustments: Adjustments) -> Any:
        kind = _UnixServer if listener.family == socket.AF_UNIX else _TcpServer
        return kind(
            app,
            map=self._loop.channels,
            _sock=listener,
            dispatcher=self._dispatcher,
            adj=adjustments,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )

    def stop(self) -> None:
        """Makes ``run`` drain and return. Safe in a signal handler."""
        self._stopping = True
        self._loop.wake()  # poll() is not interrupted by a signal that has a handler

    def run(self, on_turn: Callable[[], None], *, take_waiting: bool) -> None:
        """Serves until ``stop``. Calls ``on_turn`` at least every second, as long as the loop turns at all.

        ``take_waiting``: on stop, serve what waits in the backlog too; not where a successor inherits it.
        """
        while not self._stopping:
            self._loop.turn(_TURN_SECONDS)
            on_turn()
        self._drain(on_turn, take_waiting=take_waiting)
        if self._dispatcher.shutdown():
            self._loop.close()

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
            self._loop.turn(_DRAIN_TURN_SECONDS, everyone=True)
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
