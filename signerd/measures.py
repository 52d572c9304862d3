"""What the signer knows of its own pace, since its start: in memory, for who watches it."""

from collections.abc import Callable

from protocol.fields import AnswerTimes
from protocol.messages import OPERATIONS, Socket
from signerd.histogram import MICROSECONDS, SIZES, Histogram


class Measures:
    """``batches``: how many certificates were recorded together."""

    def __init__(self) -> None:
        self.batches = Histogram(SIZES)
        measured = [op for op, row in OPERATIONS.items() if Socket.SIGN in row.sockets and op != "hello"]
        self._answers = {op: Histogram(MICROSECONDS) for op in measured}
        self._certificates: tuple[int, dict[str, int]] | None = None

    def certificates(self, now: int, count: Callable[[], dict[str, int]]) -> dict[str, int]:
        """What ``count`` says, which is asked at most once a second: for very many certificates it takes a while."""
        if self._certificates is None or self._certificates[0] != now:
            self._certificates = now, count()
        return self._certificates[1]

    def answered(self, op: str, seconds: float) -> None:
        """A request was answered, so long after it had come."""
        if (times := self._answers.get(op)) is not None:
            times.observe_seconds(seconds)

    def answers(self) -> tuple[AnswerTimes, ...]:
        """What ``answered`` has counted."""
        return tuple(AnswerTimes(op=op, microseconds=times.distribution()) for op, times in self._answers.items())
