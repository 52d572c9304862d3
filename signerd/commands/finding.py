"""What ca_admin doctor finds, and how it asks the machine."""

import enum
import subprocess
from typing import NamedTuple

from signerd.files import Owner

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


def error_of(*command: str, user: Owner | None = None) -> str | None:
    """Why a command failed, in its own last line; None if it didn't. ``user``: as whom it is run; None: as oneself."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"{command[0]} ended with status {done.returncode}"
