"""Durations as people write them: "90d", "10y", "3600"."""

import re

# A year is 365 days: lifetimes are exact seconds here, and a calendar year has no fixed number of them.
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}

_DURATION = re.compile(r"([0-9]{1,12})([a-z]?)", re.ASCII)


def parse_duration(text: str, default_unit: str | None = None) -> int:
    """Seconds in ``text``: a positive whole number and one of the suffixes s, m, h, d, w, y (365 days).

    Without a suffix the number counts ``default_unit``; without a default unit the suffix is required.
    Raises ValueError, saying what is wrong.
    """
    match = _DURATION.fullmatch(text)
    unit = (match[2] or default_unit) if match else None
    if match is None or unit not in SECONDS:
        raise ValueError(f"{text!r} is no duration: write a whole number and one of {', '.join(SECONDS)}")
    seconds = int(match[1]) * SECONDS[unit]
    if seconds == 0:
        raise ValueError(f"{text!r} is no duration: it must be longer than nothing")
    return seconds


def duration_text(seconds: int) -> str:
    """For people: whole days as such, anything else in seconds."""
    days, rest = divmod(seconds, SECONDS["d"])
    return f"{seconds} s" if rest else "1 day" if days == 1 else f"{days} days"
