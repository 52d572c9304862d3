"""How many certificates in which time."""

import re
from dataclasses import dataclass

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
