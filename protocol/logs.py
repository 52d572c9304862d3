"""Logging of both daemons: to stderr, hence to the journal; no control character gets through."""

import collections
import contextlib
import logging
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

# What a terminal or a log reader might take for more than text: C0 and C1 controls, and the marks that
# reorder a line (Unicode TR 9) or end it (U+2028, U+2029).
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200E, 0x2010), *range(0x2028, 0x202F)]
_CONTROLS += range(0x2066, 0x206A)
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}
_ESCAPES_BUT_NEWLINE = {code: text for code, text in _ESCAPES.items() if code != 0x0A}

# sd-daemon(3): the journal takes the priority from the line's start.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

_COLLECTED_MAX = 1000  # records: what a second of full load brings does not wait for a loop that hangs


def printable(text: str) -> str:
    """The text with each control character escaped."""
    return text if text.isascii() and text.isprintable() else text.translate(_ESCAPES)


class _Formatter(logging.Formatter):
    """One record, one line; a traceback follows in lines that are indented, so that no text in it passes for
    a record of its own. Built by hand: a certificate costs a line, and the general way takes three times as long."""

    def __init__(self, journal: bool) -> None:
        super().__init__()
        self._journal = journal
        self._time: tuple[int, str] = -1, ""  # the last second, and how it is written

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.name}: {printable(record.getMessage())}"
        if self._journal:
            text = f"<{_PRIORITIES.get(record.levelno, 6)}>{text}"  # it holds for one line
        else:
            text = f"{self._time_of(record)},{int(record.msecs):03} {record.levelname} {text}"
        if record.exc_info:
            priority = text[:3] if self._journal else ""
            lines = self.formatException(record.exc_info).translate(_ESCAPES_BUT_NEWLINE).split("\n")
            text = "\n".join([text, *(f"{priority}  {line}" for line in lines)])
        return text

    def _time_of(self, record: logging.LogRecord) -> str:
        second, text = self._time
        if (now := int(record.created)) != second:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
            self._time = now, text
        return text


class LogHandler(logging.Handler):
    """Writes records to ``stream``: each at once, or, where a loop is ``collecting``, many in one write.

    What is collected is written when the loop calls ``flush``, or sooner: along with a record above INFO, which
    never waits; when there is much; before a fork, by the parent alone; and at exit. The order is that in which the
    records came. Only a SIGKILL takes along what was collected since the last turn.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._collecting = False
        self._texts: collections.deque[str] = collections.deque()
        os.register_at_fork(before=self.flush, after_in_child=self._texts.clear)

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Within this, records up to INFO wait for ``flush``, which is to be called at least every second or so."""
        self._collecting = True
        try:
            yield
        finally:
            self._collecting = False
            self.flush()

    def handle(self, record: logging.LogRecord) -> bool:
        """Takes a record. The general way holds a lock meanwhile, for which threads queue up."""
        if passed := bool(self.filter(record)):
            self.emit(record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._texts.append(self.format(record) + "\n")
        except Exception:  # of a message that does not fit its arguments
            self.handleError(record)
        if not self._collecting or record.levelno > logging.INFO or len(self._texts) >= _COLLECTED_MAX:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected."""
        if not self._texts:
            return
        with self.lock or contextlib.nullcontext():  # one thread writes at a time, else the order were lost
            while text := self._take():
                with contextlib.suppress(OSError, ValueError):  # stderr is gone: there is nowhere to say so
                    self._stream.write(text)
                    self._stream.flush()

    def _take(self) -> str:
        """The texts for one write. Processes share stderr, and only so many bytes stay together (pipe(7))."""
        taken: list[str] = []
        size = 0
        while self._texts:
            size += len(self._texts[0].encode(errors="backslashreplace"))
            if taken and size > select.PIPE_BUF:
                break
            taken.append(self._texts.popleft())
        return "".join(taken)


def configure_logging(*, debug: bool | None = None, environ: Any = os.environ) -> LogHandler:
    """Sends all records from INFO up to stderr; from DEBUG up with ``debug``, or DEBUG=1 in the environment.
    Returns what writes them, for a loop that lets it collect."""
    if debug is None:
        debug = environ.get("DEBUG", "0") not in {"", "0"}
    # What no line of ours says need not be looked up for each ("Optimization" in the documentation of logging).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = LogHandler(sys.stderr)
    handler.setFormatter(_Formatter(journal="JOURNAL_STREAM" in environ))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    return handler
