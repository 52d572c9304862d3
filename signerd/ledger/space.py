"""Room on the ledger's disk, for what must work when the disk is full: starting, revoking, freezing.

Issuance stops, in words, while there is still a reserve, so that the ledger itself never fills the disk. Somebody
else may, to the last byte: against that a ballast file lies beside the ledger, and is shortened piece by piece
where a record has no room. It grows again when there is room. What is given up is for anybody to take: so the
write-ahead log has its room beforehand, in which a running signer records hundreds of revocations. The first failed
write is final all the same.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from signerd.ledger.fallocate import held, hold
from signerd.ledger.file import LOG_BYTES

_log = logging.getLogger(__name__)

RESERVE_BYTES = 64 * 1024 * 1024  # so large is the reserve, and so large the ballast,
_SHARE = 16  # but no larger than such a part of a small disk,
_RESERVE_BYTES_MIN = 8 * 1024 * 1024  # and no smaller: the write-ahead log has 4 MiB before the file grows by them
_PIECES = 64  # of the ballast: as often it gives way to whoever fills the disk
_PIECE_BYTES_MIN = 256 * 1024  # less is no room to start in
_MIB = 1024 * 1024


class Space:
    """The room beside the ledger at this path. Of one thread."""

    def __init__(self, ledger: Path) -> None:
        self._directory = ledger.parent
        self._path = ledger.with_name(f"{ledger.name}.ballast")
        self._log = ledger.with_name(f"{ledger.name}-wal")
        self._whole = self._reserve = min(RESERVE_BYTES, max(self._disk()[0] // _SHARE, _RESERVE_BYTES_MIN))
        self._log_bytes = min(LOG_BYTES, self._whole // 4)
        self._piece = max(self._whole // _PIECES, _PIECE_BYTES_MIN)
        self._held = self._measure()
        self.shortage: str | None = None  # why nothing is to be issued, as of the last ``look``
        self._obstacle: str | None = None

    def look(self) -> str | None:
        """Why nothing is to be issued, or None: issuance leaves alone what the reserve and the ballast need."""
        missing = self._reserve + self._whole - self._held - self._disk()[1]
        before = self.shortage
        self.shortage = None
        if missing > 0:
            self.shortage = (
                f"the ledger's disk is nearly full: nothing is issued until {-(-missing // _MIB)} MiB more are free"
            )
        if (before is None) != (self.shortage is None):
            _log.warning("%s", self.shortage or "the ledger's disk has room again: issuance goes on")
        return self.shortage

    def make_room(self, needed: Callable[[], int] = lambda: 0) -> None:
        """Gives up as much of the ballast as it takes to write so many bytes, and no less than a start takes."""
        free = self._disk()[1]
        if free >= self._reserve or self._held == 0:
            return
        missing = max(needed(), self._piece) - free
        if missing <= 0:
            return
        pieces = -(-missing // self._piece)
        try:
            self._resize(max(self._held - pieces * self._piece, 0))
        except OSError as error:
            _log.error("the ballast can't be given up: %s", error.strerror)
        _log.warning("the ledger's disk is full: %.1f MiB of ballast are left", self._held / _MIB)

    def restore(self) -> None:
        """Makes the ballast whole, or adds as much to it as there is room for, and gives the write-ahead log its
        room. To be called now and then."""
        self._restore_ballast()
        if 0 < held(self._log) < self._log_bytes < self._disk()[1] // 2:
            with contextlib.suppress(OSError):  # a file system that can't: the ballast is there all the same
                hold(self._log, self._log_bytes)

    def _restore_ballast(self) -> None:
        """One that comes from a larger disk is cut down."""
        self._held = self._measure()
        room = self._disk()[1] - self._piece
        if self._held == self._whole or (self._held < self._whole and room < self._piece):
            return
        try:
            self._resize(min(self._held + room, self._whole))
        except OSError as error:
            if self._obstacle != error.strerror:
                _log.warning("there is no ballast of %d MiB: %s", self._whole // _MIB, error.strerror)
            self._obstacle = error.strerror

    def _disk(self) -> tuple[int, int]:
        """Bytes on the disk, and how many of them are free; where that can't be said, none is lacking."""
        try:
            status = os.statvfs(self._directory)
        except OSError:
            return 0, RESERVE_BYTES
        return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize

    def _measure(self) -> int:
        """The bytes that the ballast really holds: a copy of it may be sparse."""
        try:
            status = os.lstat(self._path)
        except OSError:
            return 0
        return min(status.st_size, status.st_blocks * 512)

    def _resize(self, size: int) -> None:
        """Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.ftruncate(descriptor, min(size, self._held))
            if size > self._held:
                os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)  # only then may others have what was given up
        finally:
            os.close(descriptor)
            self._held = self._measure()
        if self._held < size:  # compression, say
            self._whole = self._held
            _log.warning("this file system keeps no room free by way of a file: there is no ballast")
