"""Logging of both daemons: to stderr, hence to the journal; no control character gets through."""

import logging
import os
import sys
import time
from typing import Any

# What a terminal or a log reader might take for more than text: C0 and C1 controls, and the marks that
# reorder a line (Unicode TR 9) or end it (U+2028, U+2029).
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200E, 0x2010), *range(0x2028, 0x202F)]
_CONTROLS += range(0x2066, 0x206A)
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}
_ESCAPES_BUT_NEWLINE = {code: text for code, text in _ESCAPES.items() if code != 0x0A}

# sd-daemon(3): the journal takes the priority from the line's start.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def printable(text: str) -> str:
    """The text with each control character escaped."""
    return text if text.isascii() and text.isprintable() else text.translate(_ESCAPES)


class _Formatter(logging.Formatter):
    """One record, one line; a traceback follows in lines that are indented, so that no text in it passes for
    a record of its own. Built by hand: a certificate costs a line, and the general way takes three times as long."""

    def __init__(self, journal: bool) -> None:
        super().__init__()
        self._journal = journal
        self._second, self._time = -1, ""

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
        if (second := int(record.created)) != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return self._time


def configure_logging(*, debug: bool | None = None, environ: Any = os.environ) -> None:
    """Sends all records from INFO up to stderr; from DEBUG up with ``debug``, or DEBUG=1 in the environment."""
    if debug is None:
        debug = environ.get("DEBUG", "0") not in {"", "0"}
    # What no line of ours says need not be looked up for each ("Optimization" in the documentation of logging).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(journal="JOURNAL_STREAM" in environ))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
