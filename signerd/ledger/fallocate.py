"""Room on the disk that a file has before anything is written to it: fallocate(2) that leaves the file's size alone,
which Python's own can't."""

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_KEEP_SIZE = 1


def held(path: Path) -> int:
    """The bytes that a file has on the disk; 0 where there is none."""
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0


def hold(path: Path, size: int) -> None:
    """Sees to it that the file has room for its first ``size`` bytes. Raises ``OSError``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _libc.fallocate(descriptor, _KEEP_SIZE, 0, size) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)
