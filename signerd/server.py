"""The event loop: one thread takes what is ready, answers it as one batch, and records it with one fsync.

Default deny. A peer must be one that ``Admission`` allows, its first request a hello, each frame one
that the protocol's table has for this socket. Anything else closes that connection and leaves an audit
line; it never ends the daemon.

A connection is ended by refusing further input (``SHUT_RD``), answering what had arrived, and closing:
so a peer knows that what it could not send was not seen, and that what it sent gets its answer.
"""

import collections
import contextlib
import functools
import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from protocol.daemon import notify, watchdog_seconds
from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.fields import Message
from protocol.logs import LogHandler
from protocol.messages import OPERATIONS, PROTOCOL_VERSION, HelloRequest, IssueRequest, Socket
from protocol.wire import WireError, decode_request, encode_refusal, encode_reply
from signerd.authority import Authority
from signerd.connection import CONNECTIONS_MAX, RESERVED, Connection, expendable, reserve_descriptors
from signerd.group_commit import Asked, GroupCommit
from signerd.operations import ANSWERS, Later
from signerd.peers import Admission, credentials

_log = logging.getLogger(__name__)

BATCH_MAX = 16  # requests answered in a round: more would only make the first of them wait
_LOOK_SECONDS = 1.0  # how late a deadline may be noticed
_QUIET_SECONDS = 0.1  # without requests, until what waits for the next commit is committed by itself
_DRAIN_SECONDS = 10.0  # at the end, for replies to be taken
_INTERNAL = "an internal error; the signer's log says more"


class Work(NamedTuple):
    """A request that waits for its round."""

    connection: Connection
    request_id: int
    op: str
    request: Message
    since: float  # by the performance counter


class Server:
    """Serves an authority on its two listening sockets until SIGTERM or SIGINT."""

    def __init__(
        self,
        authority: Authority,
        listeners: Mapping[Socket, socket.socket],
        admission: Admission,
        now: Callable[[], int],
        log: LogHandler,
    ) -> None:
        self._authority = authority
        self._admission = admission
        self._now = now
        self._log = log
        self._listeners = dict(listeners)
        self._connections: set[Connection] = set()
        self._queue: collections.deque[Work] = collections.deque()
        self._certificates = GroupCommit(authority, self._wake_up)
        self._unanswered: list[tuple[Work, Later]] = []
        self._more_to_do = False  # for revocation
        self._selector = selectors.DefaultSelector()
        self._signals, self._wake = socket.socketpair()
        self._stop_at: float | None = None
        self._next_look = self._next_watchdog = 0.0
        self._watchdog_seconds = watchdog_seconds() or float("inf")

    def run(self) -> None:
        """Serves; returns when it was told to stop and every request that had come is answered."""
        reserve_descriptors()
        for where, listener in self._listeners.items():
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ, where)
        self._catch_signals()
        notify("READY=1")
        with self._log.collecting():
            while self._stop_at is None or (self._connections and time.monotonic() < self._stop_at):
                self._round()
                self._log.flush()
            self._certificates.complete(self._now())
        for connection in list(self._connections):
            self._drop(connection)
        signal.set_wakeup_fd(-1)
        for end in (self._selector, self._signals, self._wake):
            end.close()

    def _round(self) -> None:
        busy = self._more_to_do or (self._queue and self._certificates.room)
        ready = self._selector.select(0 if busy else _QUIET_SECONDS)
        for key, events in ready:
            match key.data:
                case Connection() as connection:
                    self._serve(connection, events)
                case Socket() as where:
                    self._accept_all(where)
                case _:
                    self._handle_signals()
        self._tick(time.monotonic())  # what had come in time has been read by now, however long a round takes
        self._more_to_do = self._authority.revocation.work(self._now())
        unanswered, self._unanswered = self._unanswered, []
        for work, later in unanswered:
            self._reply(work, later() or later)
        most = min(BATCH_MAX, len(self._queue), self._certificates.room)
        self._answer([self._queue.popleft() for _ in range(most)])
        if not ready:
            self._commit_what_waits()

    # --- connections ----------------------------------------------------------------------------

    def _accept_all(self, where: Socket) -> None:
        """Takes the connections that wait: with one a round the last of a frontend's threads would wait for rounds
        and rounds. At the limit it is one, so that those whom it costs their place are heard before."""
        for _ in range(max(1, CONNECTIONS_MAX[where] - len(self._on(where)))):
            try:
                peer, _ = self._listeners[where].accept()
            except BlockingIOError:
                return
            except OSError as error:  # it went away, or there are too many open files
                _log.warning("accept on %s.sock: %s", where.value, error)
                return
            self._accept(where, peer)

    def _on(self, where: Socket) -> list[Connection]:
        return [connection for connection in self._connections if connection.where is where]

    def _accept(self, where: Socket, peer: socket.socket) -> None:
        who = credentials(peer)
        if not self._admission.allows(where, peer):
            _log.warning("audit: uid %d may not connect to %s.sock", who.uid, where.value)
            peer.close()
        elif not self._make_room(where, self._limit(where, who.uid)):
            _log.warning("audit: uid %d has no room on %s.sock: each connection is busy", who.uid, where.value)
            peer.close()
        else:
            connection = Connection(peer, where, who)
            self._connections.add(connection)
            self._watch(connection)

    def _limit(self, where: Socket, uid: int) -> int:
        """How many connections there may be where one of this user is to be among them."""
        is_master = where is Socket.ADMIN and uid in self._admission.admin_uids
        return CONNECTIONS_MAX[where] + (RESERVED if is_master else 0)

    def _make_room(self, where: Socket, limit: int) -> bool:
        """At the limit, ends a connection; says whether there is room: not while each has a request under way."""
        others = self._on(where)
        if len(others) < limit:
            return True
        victim = expendable(others)
        if not victim.busy:
            _log.warning("%s.sock has %d connections: one of pid %d makes room", where.value, len(others), victim.pid)
            victim.shut()
        while victim in self._connections and not victim.busy:  # what had arrived is answered
            self._serve(victim, selectors.EVENT_READ)
        return victim not in self._connections

    def _serve(self, connection: Connection, ready: int) -> None:
        """Moves a connection on, whichever way it is ready."""
        try:
            if ready & selectors.EVENT_WRITE:
                connection.flush()
            if ready & selectors.EVENT_READ:
                connection.receive()
        except OSError:
            self._drop(connection)
        else:
            self._move_on(connection)

    def _move_on(self, connection: Connection) -> None:
        """Takes up the next frame of a connection, or ends it, and waits for what it now waits for."""
        try:
            if (frame := connection.take_frame()) is not None:
                self._take_up(connection, frame)
        except WireError as error:
            self._violation(connection, str(error))
            return
        if connection.ended and not connection.busy:
            self._drop(connection)
        else:
            self._watch(connection)

    def _take_up(self, connection: Connection, frame: bytes) -> None:
        """Queues a request. Raises ``WireError`` for one that this socket does not have."""
        op, request_id, request = decode_request(frame)
        if connection.where not in OPERATIONS[op].sockets:
            raise WireError(f"operation {op} is not for this socket")
        if isinstance(request, HelloRequest):
            if request.version != PROTOCOL_VERSION:
                raise WireError(f"protocol {request.version}; this signer speaks {PROTOCOL_VERSION}")
            connection.greeted = True
        elif not connection.greeted:
            raise WireError("the first request is no hello")
        self._queue.append(Work(connection, request_id, op, request, time.perf_counter()))

    def _violation(self, connection: Connection, what: str) -> None:
        _log.warning("audit: %s sent what is refused: %s", connection, what)
        with contextlib.suppress(OSError):
            connection.send(encode_refusal(0, ErrorCode.BAD_REQUEST, what))
        self._drop(connection)

    def _watch(self, connection: Connection) -> None:
        before, wanted = connection.watched, connection.wants
        if before == wanted:
            return
        if not before:
            self._selector.register(connection.socket, wanted, connection)
        elif not wanted:
            self._selector.unregister(connection.socket)
        else:
            self._selector.modify(connection.socket, wanted, connection)
        connection.watched = wanted

    def _drop(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            if connection.watched:
                self._selector.unregister(connection.socket)
            connection.socket.close()

    # --- requests -------------------------------------------------------------------------------

    def _answer(self, batch: Sequence[Work]) -> None:
        """Answers a batch: the certificates together, for they share an fsync; then the rest."""
        now = self._now()
        to_issue = [work for work in batch if work.op == "issue"]
        if to_issue:
            self._certificates.add([self._asked(work) for work in to_issue], now)
        self._certificates.advance(now)
        if len(to_issue) < len(batch):
            self._certificates.complete(now)  # a freeze, say, is answered after all that was asked for before
        for work in batch:
            if work.op != "issue":
                self._reply(work, self._answer_one(work, now))

    def _asked(self, work: Work) -> Asked:
        return Asked(cast(IssueRequest, work.request), work.connection.asker, functools.partial(self._reply, work))

    def _answer_one(self, work: Work, now: int) -> Message | Refused | Later:
        try:
            return ANSWERS[work.op](self._authority, work.request, work.connection.asker, now)
        except Refused as refusal:
            return refusal
        except Exception:
            _log.exception("answering %s to %s", work.op, work.connection)
            return Refused(ErrorCode.INTERNAL, _INTERNAL)

    def _reply(self, work: Work, answer: Message | Refused | Later) -> None:
        if not isinstance(answer, Message | Refused):
            self._unanswered.append((work, answer))
            return
        self._authority.measures.answered(work.op, time.perf_counter() - work.since)
        try:
            work.connection.send(_frame(work, answer))
        except OSError:
            self._drop(work.connection)
        else:
            self._move_on(work.connection)

    # --- time and signals -----------------------------------------------------------------------

    def _commit_what_waits(self) -> None:
        with contextlib.suppress(Refused):  # the ledger has logged why, and says so to each request
            self._authority.ledger.settle()

    def _tick(self, moment: float) -> None:
        if moment >= self._next_watchdog:
            self._next_watchdog = moment + self._watchdog_seconds
            notify("WATCHDOG=1")
        if moment >= self._next_look:
            self._next_look = moment + _LOOK_SECONDS
            for connection in list(self._connections):
                if connection.deadline is not None and connection.deadline < moment:
                    _log.warning("audit: %s was too slow", connection)
                    self._drop(connection)
            self._authority.tend(self._now())

    def _catch_signals(self) -> None:
        """Has signals wake the loop: they are handled between requests, never in one."""
        for end in (self._signals, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ, None)

    def _wake_up(self) -> None:
        """Ends the wait for something to do; of any thread."""
        with contextlib.suppress(OSError):  # it is awake, or at its end
            self._wake.send(b"\0")

    def _handle_signals(self) -> None:
        for number in self._signals.recv(64):
            if number == signal.SIGHUP:
                self._reload()
            elif number in {signal.SIGTERM, signal.SIGINT} and self._stop_at is None:
                self._stop()

    def _reload(self) -> None:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self._authority.reload(self._now())
        except (ConfigurationError, Refused) as error:
            _log.error("not reloaded, the policy before stays in force: %s", error)
        except Exception:
            _log.exception("not reloaded, the policy before stays in force")
        notify("READY=1")

    def _stop(self) -> None:
        """Takes no more connections and no more input, and lets what had come be answered."""
        notify("STOPPING=1")
        self._stop_at = time.monotonic() + _DRAIN_SECONDS
        for listener in self._listeners.values():
            self._selector.unregister(listener)
            listener.close()
        for connection in self._connections:
            connection.shut()


def _frame(work: Work, answer: Message | Refused) -> bytes:
    if not isinstance(answer, Refused):
        try:
            return encode_reply(work.request_id, answer)
        except WireError as error:  # it doesn't fit, say: our fault, and no reason to end
            _log.error("answering %s to %s: %s", work.op, work.connection, error)
            answer = Refused(ErrorCode.INTERNAL, _INTERNAL)
    _log.info("refused %s to %s: %s", work.op, work.connection, answer)
    return encode_refusal(work.request_id, answer.code, answer.detail)
