"""How much in which time: certificates, or bytes."""

import re
from dataclasses import dataclass

_FORM = re.compile(r"([0-9]{1,9})/(second|minute|hour|day|week)")
_SIZE = re.compile(r"([0-9]{1,9}) ?(KiB|MiB|GiB|TiB)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_UNITS = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}


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

    def amount(self, count: int) -> str:
        """So many, for people."""
        return str(count)

    def most_in(self, window: "Quota") -> int:
        """How many there can be in the time that another quota looks at."""
        return self.count * -(-window.seconds // self.seconds)

    def __str__(self) -> str:
        unit = next(name for name, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.amount(self.count)}/{unit}"


class ByteQuota(Quota):
    """At most ``count`` bytes in any ``seconds``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "ByteQuota":
        """From "1GiB/day". Raises ``ValueError``."""
        size, _, unit = text.partition("/")
        if unit not in _SECONDS:
            raise ValueError(
                f"{text!r} is no quota of bytes: SIZE/second, SIZE/minute, SIZE/hour, SIZE/day or SIZE/week"
            )
        return cls(parse_size(size), _SECONDS[unit])

    def amount(self, count: int) -> str:
        """So many, for people: "1GiB", "1.4MiB"."""
        return size_text(count)


def parse_size(text: str) -> int:
    """Bytes, from "8KiB". Raises ``ValueError``."""
    if (found := _SIZE.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is no size: a whole number and KiB, MiB, GiB or TiB")
    return int(found[1]) * _UNITS[found[2]]


def size_text(size: int) -> str:
    """Bytes, for people: "8KiB", "1.4MiB"."""
    unit, factor = next(((unit, factor) for unit, factor in _UNITS.items() if size >= factor), ("KiB", 1024))
    return f"{size / factor:.1f}".removesuffix(".0") + unit
