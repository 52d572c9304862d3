"""A progress bar for what takes longer than a second, on stderr, if somebody is there to see it."""

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_PATIENCE_SECONDS = 1.0


class Progress:
    """Shows how far ``what`` is, from a second on and until the ``with`` block ends."""

    def __init__(self, what: str, *, hidden: bool = False) -> None:
        self._what = what
        self._hidden = hidden or not sys.stderr.isatty()
        self._done, self._total = 0, None  # type: int, int | None
        self._bar: Bar | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(_PATIENCE_SECONDS, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        if not self._hidden:
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int, total: int | None) -> None:
        """Notes how much is done, of how much; None: nobody knows."""
        with self._lock:
            self._done, self._total = done, total
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def _show(self) -> None:
        from signerd.commands.screen import progress_bar  # noqa: PLC0415 - as in output.py

        with self._lock:
            self._bar = progress_bar()
            self._bar.add_task(self._what, completed=self._done, total=self._total)
            self._bar.start()
