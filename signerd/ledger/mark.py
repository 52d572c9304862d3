"""The mark: how far the ledger went, and by which clock, in a small file beside it.

It is written after each fsync of the ledger has returned, and is itself not fsynced: after a power failure it may
lag behind the ledger, but is never ahead of what was durable. So where it is ahead, the ledger's end went missing.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from protocol.errors import ConfigurationError
from signerd.ledger.chain import Head

_FORM = re.compile(rb"signerd mark 1 ([0-9]{1,15}) ([0-9]{1,11}) ([0-9a-f]{64}) ([0-9a-f-]{1,64}) ([0-9]{1,15})\n+")
_BYTES = 256  # padded with newlines: a shorter mark leaves nothing of a longer one


class Boot(NamedTuple):
    """A moment that the wall clock has no part in: which boot of the machine it was ("-" where that can't be known),
    and the seconds since (CLOCK_BOOTTIME)."""

    id: str
    seconds: int


ReadBoot = Callable[[], Boot]


def no_boot() -> Boot:
    """For who does not know."""
    return Boot("-", 0)


class Mark(NamedTuple):
    """The last entry of a commit, and the moment when its time was the time."""

    head: Head
    boot: Boot


class MarkFile:
    """The file beside the ledger at ``path``. Raises ``ConfigurationError`` where it can't be opened."""

    def __init__(self, path: Path) -> None:
        where = path.with_name(f"{path.name}.mark")
        try:
            self._file = os.open(where, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{where}: {error.strerror}") from None

    def read(self) -> Mark | None:
        """What it says; None where it says nothing that can be read."""
        try:
            found = _FORM.fullmatch(os.pread(self._file, _BYTES + 1, 0))
        except OSError:  # a FIFO, say
            return None
        if found is None:
            return None
        seq, time, digest, boot, seconds = (field.decode() for field in found.groups())
        return Mark(Head(int(seq), int(time), bytes.fromhex(digest)), Boot(boot, int(seconds)))

    def write(self, head: Head, boot: Boot) -> None:
        """Marks ``head`` as durable. Raises ``OSError``."""
        text = f"signerd mark 1 {head.seq} {head.time} {head.hash.hex()} {boot.id} {boot.seconds}"
        os.pwrite(self._file, text.encode().ljust(_BYTES, b"\n"), 0)

    def close(self) -> None:
        os.close(self._file)
