"""How often something took how long, or was how much, since the start: a few integers in memory."""

from bisect import bisect_left
from collections.abc import Sequence

from protocol.fields import Distribution

SIZES = (1, 2, 4, 8, 16, 32, 64)
_AVERAGED = 16
MICROSECONDS = (
    *(100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000),
    *(100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000),
)


class Histogram:
    """Counts values by the first of ``bounds`` that they are not above."""

    def __init__(self, bounds: Sequence[int]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0

    def observe(self, value: int) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def observe_seconds(self, seconds: float) -> None:
        """The same for a time, where the bounds are in microseconds."""
        self.observe(round(seconds * 1_000_000))

    def distribution(self) -> Distribution:
        """What was counted until now."""
        return Distribution(bounds=self._bounds, counts=tuple(self._counts), total=self._total)


class CommitTimes(Histogram):
    """How long commits took. ``lately``: in seconds, on an average in which the last ones count most."""

    def __init__(self) -> None:
        super().__init__(MICROSECONDS)
        self.lately = 0.0

    def took(self, seconds: float) -> None:
        self.observe_seconds(seconds)
        self.lately += (seconds - self.lately) / _AVERAGED
