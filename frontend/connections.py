"""One connection of waitress's and what is served on it: how requests arrive, are handed to threads, and end."""

import logging
import queue
import socket
import threading
import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from frontend.edge import Edge
from frontend.request_parser import RequestParser
from protocol.errors import Refused

_logger = logging.getLogger(__name__)

REQUEST_SECONDS = 20  # for a request to arrive whole: header and 64 KiB of body over a bad line
LINGER_SECONDS = 3  # after a refusal, for the client to stop sending and read it


class _RefusedByHead:
    """In place of waitress's errors: a request that is answered though its body did not come."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused


class _Task(WSGITask):  # type: ignore[misc] # waitress publishes no types, here and below
    def start(self) -> None:
        super().start()
        self.channel.has_asked = True
        if self.channel.server.draining:
            self.set_close_on_finish()  # says so to the client, who connects anew for the next request


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what was refused before it reached the app: malformed, too large, or of no use whatever its body is."""

    def execute(self) -> None:
        edge: Edge = self.channel.server.application
        error = self.request.error
        reason = error.refused if isinstance(error, _RefusedByHead) else error.code
        answer = edge.refuse_unread(reason, self.channel.peer)
        self.status = answer.status_line
        self.response_headers.extend(answer.headers)
        self.content_length = len(answer.body)
        self.channel.lingers = True
        self.set_close_on_finish()
        self.write(answer.body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    parser_class = RequestParser
    task_class = _Task
    error_task_class = _ErrorTask

    request: Any  # the RequestParser of the one that is arriving, or None
    has_asked = False  # whether a whole request ever came
    lingers = False  # whether input is unread: closing would reset the connection, and lose the answer
    lingers_until: float | None = None

    @property
    def descriptor(self) -> int:
        """The socket's, or -1 once it is closed."""
        return -1 if self._fileno is None else self._fileno

    @property
    def peer(self) -> str:
        return "unix" if self.addr[1] is None else self.addr[0]

    @property
    def is_busy(self) -> bool:
        """Whether a request is being served or its answer sent."""
        return bool(self.requests or self.total_outbufs_len)

    def received(self, data: bytes) -> bool:
        return self.lingers_until is None and super().received(data)

    def send_continue(self) -> None:
        """Called by waitress when a client waits with its body (RFC 9110, 10.1.1). What is refused anyway gets its
        final status at once."""
        request = self.request
        request.expect_continue = False
        if request.error is None:
            edge: Edge = self.server.application
            content_type = request.headers.get("CONTENT_TYPE", "")
            if (refused := edge.refusal_of_head(request.command, request.request_uri, content_type)) is None:
                super().send_continue()
                return
            request.error = _RefusedByHead(refused)
        request.completed = True

    def service(self) -> None:
        """Called in a thread to serve a request. Behind it in a pipeline one may have waited for its 100 Continue."""
        super().service()
        with self.requests_lock:
            if (request := self.request) is not None and request.completed and not self.requests:
                self.request = None
                self.requests.append(request)
                self.server.add_task(self)

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


class Dispatcher:
    """The threads that serve requests. In place of waitress's own: a queue made in C hands a request over at
    a fraction of the cost of a condition variable in Python."""

    def __init__(self, threads: int) -> None:
        self._queue: queue.SimpleQueue[Channel | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def add_task(self, channel: Channel) -> None:
        """Called by waitress when a request of this channel can be served."""
        self._queue.put(channel)

    def served_here(self) -> Channel:
        """The connection that this thread serves."""
        return self._local.channel  # type: ignore[no-any-return]

    def _serve(self) -> None:
        while (channel := self._queue.get()) is not None:
            self._local.channel = channel
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
