"""Several serving processes behind one set of listening sockets: a parent that starts and replaces them.

The parent binds nothing, serves nothing and loads no hooks: it forks, waits, and passes the end on. It
tells systemd that all are up, and that all their loops turn.
"""

import logging
import os
import signal
import time
from collections.abc import Callable

from frontend.http_server import DRAIN_SECONDS
from frontend.metrics import Board
from protocol.daemon import notify, watchdog_seconds
from protocol.errors import EXIT_CONFIGURATION

_logger = logging.getLogger(__name__)

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
_TURN_SECONDS = 0.5
_PAUSE_MIN = 0.5  # seconds before a worker is replaced, doubled each time
_PAUSE_MAX = 30.0
_STEADY_SECONDS = 60.0  # a worker that lived so long did not die of its start
_HUNG_SECONDS = 10.0  # a loop that turns every second, and did not for so long, on a loaded machine too


class Watchdog:
    """Tells systemd's watchdog that the process is alive, as often as systemd wants to hear it."""

    def __init__(self) -> None:
        self._every = watchdog_seconds()
        self._next = 0.0

    def ping(self) -> None:
        """Says so if it is time to. To be called at every turn of a loop."""
        if self._every is not None and (now := time.monotonic()) >= self._next:
            notify("WATCHDOG=1")
            self._next = now + self._every


class _Slot:
    """The place of one worker: its process, if it lives, and when to start the next."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.started = 0.0
        self.start_at = 0.0
        self.pause = _PAUSE_MIN


class Workers:
    """Runs ``board.workers`` processes. ``serve`` is what one does, given its number: it returns the exit
    status. ``on_stop`` is called once in the parent when the end begins."""

    def __init__(self, board: Board, serve: Callable[[int], int], on_stop: Callable[[], None]) -> None:
        self._board = board
        self._serve = serve
        self._on_stop = on_stop
        self._slots = [_Slot() for _ in range(board.workers)]
        self._stop_by: float | None = None  # when to lose patience, once the end has begun
        self._status = 0
        self._ready = False
        self._watchdog = Watchdog()

    def run(self) -> int:
        """Returns the exit status once all workers have ended."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while self._stop_by is None or any(slot.pid for slot in self._slots):
                self._start_due(before)
                self._tell_systemd()
                received = signal.sigtimedwait(_SIGNALS, _TURN_SECONDS)
                if received is not None and received.si_signo != signal.SIGCHLD:
                    self._stop(0)
                self._reap()
                if self._stop_by is not None and time.monotonic() > self._stop_by:
                    self._kill_all(signal.SIGKILL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._status

    def _start_due(self, mask: set[int | signal.Signals]) -> None:
        now = time.monotonic()
        for number, slot in enumerate(self._slots):
            if self._stop_by is None and slot.pid is None and now >= slot.start_at:
                self._board.beat(number, 0.0)
                slot.pid, slot.started = self._fork(number, mask), now

    def _fork(self, number: int, mask: set[int | signal.Signals]) -> int:
        if pid := os.fork():
            return pid
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            status = self._serve(number)
        except BaseException:
            _logger.exception("worker %d failed", number)
        finally:
            logging.shutdown()
            os._exit(status)

    def _reap(self) -> None:
        for number, slot in enumerate(self._slots):
            if slot.pid is None:
                continue
            pid, wait_status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                self._on_end(number, slot, os.waitstatus_to_exitcode(wait_status))

    def _on_end(self, number: int, slot: _Slot, status: int) -> None:
        slot.pid = None
        if self._stop_by is not None:
            return
        if status == EXIT_CONFIGURATION:  # it said why; the next one would fail likewise
            self._stop(status)
            return
        now = time.monotonic()
        if now - slot.started > _STEADY_SECONDS:
            slot.pause = _PAUSE_MIN
        slot.start_at = now + slot.pause
        _logger.error("worker %d ended with status %d; the next starts in %.1f s", number, status, slot.pause)
        slot.pause = min(2 * slot.pause, _PAUSE_MAX)

    def _stop(self, status: int) -> None:
        if self._stop_by is None:
            notify("STOPPING=1")
            self._stop_by, self._status = time.monotonic() + DRAIN_SECONDS + 5, status
            self._on_stop()
        self._kill_all(signal.SIGTERM)

    def _kill_all(self, signal_number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, signal_number)

    def _tell_systemd(self) -> None:
        beats = [self._board.last_beat(number) for number in range(self._board.workers)]
        if not self._ready and all(beats):
            self._ready = True
            notify("READY=1")
        now = time.monotonic()
        if all(now - beat < _HUNG_SECONDS for beat in beats if beat):
            self._watchdog.ping()
