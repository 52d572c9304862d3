"""How many certificates in which time: exact sliding windows over the ledger's own numbers."""

import collections
import re
from dataclasses import dataclass, field

_FORM = re.compile(r"([0-9]{1,9})/(second|minute|hour|day|week)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}


@dataclass(frozen=True, slots=True)
class Quota:
    """At most ``count`` in any ``seconds``."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Quota":
        """From "20/day". Raises ``ValueError``."""
        if (found := _FORM.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is no quota: N/second, N/minute, N/hour, N/day or N/week")
        return cls(int(found[1]), _SECONDS[found[2]])

    def __str__(self) -> str:
        unit = next(name for name, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


@dataclass(slots=True)
class Window:
    """What was counted in the last ``quota.seconds``: one cell per second in which something was."""

    quota: Quota
    total: int = 0
    _cells: collections.deque[list[int]] = field(default_factory=collections.deque)

    def count(self, now: int) -> int:
        """How many there were in the window's seconds up to ``now``."""
        while self._cells and self._cells[0][0] <= now - self.quota.seconds:
            self.total -= self._cells.popleft()[1]
        return self.total

    def add(self, now: int, number: int = 1) -> None:
        """Counts ``number`` more at ``now``; the times never fall."""
        if self._cells and self._cells[-1][0] >= now:
            self._cells[-1][1] += number
        else:
            self._cells.append([now, number])
        self.total += number
