"""What time it is, as far as that can be known.

The wall clock can be set to anything by mistake, and a CA that believes a wrong one for four seconds prunes
certificates, dates entries and expires CRLs by it. So the signer holds it against CLOCK_BOOTTIME, which nobody sets
and which counts on while the machine sleeps: from the last trusted point on, both have to say the same. Where they
don't, the clock is in ``doubt``: nothing is issued and nothing is pruned, and what goes on (revoking, CRLs, OCSP) is
dated by the last trusted time and CLOCK_BOOTTIME. The doubt ends when

- the wall clock is right again;
- the kernel says that its clock is synchronized (adjtimex(2)), and the step is no longer than a day: nor are several
  together, but for the time that goes by, or whoever answers NTP requests could take it anywhere day by day;
- an operator accepts the wall clock: ``ca_admin accept``.

The last two begin a new epoch, which an entry ``clock`` on the ledger records.

After a restart the last trusted point is the last commit: with its CLOCK_BOOTTIME where the machine was not booted
since, so that any stop of the signer is accounted for. A stop of the machine can't be: then its length is a step.
"""

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from protocol.times import rfc3339
from signerd.ledger.mark import Boot, Mark

TOLERANCE = 300  # seconds that the two may differ: a clock that is corrected a little is in no doubt
STEP_MAX = 86_400  # seconds of steps that the kernel's word is enough for; each second that goes by gives one back
_STA_UNSYNC = 0x0040  # linux/timex.h
_TIME_ERROR = 5
_UNKNOWN_BOOT = "-"
_BOOT_ID_VARIABLE = "SIGNERD_BOOT_ID"  # from the unit, which hides what /proc says


class Reading(NamedTuple):
    """What the machine says. ``wall``: seconds since the epoch. ``is_synchronized`` is asked only where it matters."""

    wall: int
    boot: Boot
    is_synchronized: Callable[[], bool]


class Step(NamedTuple):
    """The trusted time went from one to another moment, seconds since the epoch, because of ``why``."""

    before: int
    after: int
    why: str


@dataclass(frozen=True, slots=True)
class _Point:
    """A moment by both clocks: the last that was trusted."""

    time: int
    boot: Boot


class Clock:
    """The signer's clock. ``read`` is how it looks at the machine's; tests bring their own."""

    def __init__(self, read: "Callable[[], Reading]") -> None:
        self._read = read
        reading = read()
        self._trusted = _Point(reading.wall, reading.boot)
        self._credit = STEP_MAX
        self.doubt: str | None = None

    def go_on_from(self, time: int, mark: Mark | None) -> None:
        """Begins where a ledger left off: its last entry bears ``time``, and ``mark`` says by CLOCK_BOOTTIME when that
        was."""
        boot = self._read().boot
        if mark is None or _UNKNOWN_BOOT in {boot.id, mark.boot.id}:
            self._trusted = _Point(time, boot)
        elif boot.id == mark.boot.id:
            self._trusted = _Point(mark.head.time, mark.boot)
        else:  # the machine was booted since: it has been up for so long at least
            self._trusted = _Point(time, Boot(boot.id, 0))
        self.now()

    def now(self) -> int:
        """The time that everything is dated by, in seconds since the epoch."""
        reading = self._read()
        expected = self._expected(reading)
        off = reading.wall - expected
        if -TOLERANCE <= off <= TOLERANCE:
            self.doubt = None
            return reading.wall
        self.doubt = _words(reading.wall, expected, self._trusted.time)
        return expected

    def look(self) -> Step | None:
        """Once in a second: takes the wall clock as it is where the kernel vouches for it; a step, if it was one."""
        reading = self._read()
        expected = self._expected(reading)
        off = abs(reading.wall - expected)
        credit = min(STEP_MAX, self._credit + expected - self._trusted.time)
        if off > credit or not reading.is_synchronized():
            return None
        self._credit = credit - off
        self._trust(reading)
        return Step(expected, reading.wall, "the kernel's clock is synchronized") if off > TOLERANCE else None

    def accept(self) -> Step:
        """Takes the wall clock as it is, by an operator's word."""
        reading = self._read()
        expected = self._expected(reading)
        self._credit = STEP_MAX
        self._trust(reading)
        return Step(expected, reading.wall, "an operator accepted it")

    def _trust(self, reading: Reading) -> None:
        self._trusted = _Point(reading.wall, reading.boot)
        self.doubt = None

    def _expected(self, reading: Reading) -> int:
        return self._trusted.time + max(0, reading.boot.seconds - self._trusted.boot.seconds)


def _words(wall: int, expected: int, trusted: int) -> str:
    off = wall - expected
    return (
        f"the clock says {rfc3339(wall)}, {abs(off)} s {'more' if off > 0 else 'less'} than the time since"
        f" {rfc3339(trusted)} accounts for: set it right, or accept it by `ca_admin accept`"
    )


def read_machine() -> Reading:
    """This machine's clocks. The only place where the daemon reads them."""
    return Reading(int(time.time()), boot_now(), kernel_is_synchronized)


def boot_now() -> Boot:
    """Which boot this is, and how long ago it began, sleep included."""
    return Boot(_boot_id(), int(time.clock_gettime(time.CLOCK_BOOTTIME)))


_known_boot_id: list[str] = []


def _boot_id() -> str:
    if not _known_boot_id:
        given = os.environ.get(_BOOT_ID_VARIABLE, "")
        try:
            given = given or Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        except (OSError, UnicodeError):
            given = _UNKNOWN_BOOT
        _known_boot_id.append(given.strip().replace("-", "") or _UNKNOWN_BOOT)
    return _known_boot_id[0]


_libc = ctypes.CDLL(None, use_errno=True)


def kernel_is_synchronized() -> bool:
    """Whether something (NTP, PTP, the hypervisor) keeps the kernel's clock right: adjtimex(2), which reads it."""
    timex = (ctypes.c_long * 64)()  # struct timex is 208 bytes; modes 0, its first field, changes nothing
    state = _libc.adjtimex(timex)
    status = ctypes.cast(timex, ctypes.POINTER(ctypes.c_int))[_STATUS_FIELD]
    return 0 <= state != _TIME_ERROR and not status & _STA_UNSYNC


# int modes; (padding) long offset, freq, maxerror, esterror; int status: where longs are 8 bytes, and where 4.
_STATUS_FIELD = 10 if ctypes.sizeof(ctypes.c_long) == 8 else 5
