"""What ca_admin doctor finds, and how it asks the machine."""

import enum
import subprocess
from typing import NamedTuple

_SECONDS = 15  # for a command that looks something up on this machine


class Level(enum.StrEnum):
    """How bad it is. "unknown": it could not be seen, for want of a right or a tool."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """One thing that was looked at. ``advice`` is what to do about it; a good one has none."""

    check: str
    level: Level
    detail: str
    advice: str | None = None


def output_of(*command: str, stdin: bytes = b"") -> bytes | None:
    """What a command printed; None if it failed, took too long, or isn't there."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def text_of(*command: str) -> str | None:
    """The same as text, without white space around it."""
    output = output_of(*command)
    return None if output is None else output.decode(errors="replace").strip()
