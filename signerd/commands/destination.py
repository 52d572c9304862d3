"""Where a path leads, walked so that nobody else decides where root writes.

A symbolic link in /tmp, or in whoever's directory, is its owner's word about where a file goes. The kernel's own rule
(fs.protected_symlinks, proc_sys_fs(5)) is about what is opened; a file that comes into its place by a rename, as ours
do, has to see to it itself. The walk goes by descriptors, name by name: what was looked at is what is used.
"""

import collections
import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signerd.files import user_name

_LINKS_MAX = 40  # path_resolution(7)
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Destination(NamedTuple):
    """A directory, as an open descriptor, and a name in it that is no symbolic link, but for those of the kernel."""

    directory: int
    name: str
    is_kernels: bool  # as /proc/self/fd/1 is: no path, but what this process has open


@contextlib.contextmanager
def destination(path: Path) -> Iterator[Destination]:
    """Where ``path`` leads, for as long as the block lasts. Raises OSError, also for a symbolic link on the way that
    belongs to neither root nor the caller."""
    left = collections.deque(path.parts)
    links = 0
    with contextlib.ExitStack() as opened:
        directory = _enter(opened, ".", None)
        while left:
            name = left.popleft()
            link = _link(directory, name)
            if link is not None and not (link.is_kernels and not left):
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
                left.extendleft(reversed(Path(link.target).parts))
            elif left or name == "/":
                directory = _enter(opened, name, directory)
            else:
                yield Destination(directory, name, is_kernels=link is not None)
                return
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _enter(opened: contextlib.ExitStack, name: str, directory: int | None) -> int:
    """The directory ``name``, open until the end of the walk."""
    descriptor = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=directory)
    opened.callback(os.close, descriptor)
    return descriptor


class _Link(NamedTuple):
    target: str
    is_kernels: bool


def _link(directory: int, name: str) -> _Link | None:
    """The symbolic link ``name``, if it is one. Raises PermissionError for one that is a stranger's."""
    try:
        descriptor = os.open(name, _LOOK, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if status.st_uid not in {0, os.geteuid()}:
            why = f"it is a symbolic link of {user_name(status.st_uid)}, who could have it lead anywhere"
            raise PermissionError(errno.EPERM, why, name)
        return _Link(os.readlink("", dir_fd=descriptor), is_kernels=_is_on_procfs(status))
    finally:
        os.close(descriptor)


def _is_on_procfs(status: os.stat_result) -> bool:
    try:
        return status.st_dev == Path("/proc/self/fd").lstat().st_dev
    except OSError:
        return False
