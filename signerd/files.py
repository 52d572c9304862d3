"""Files that hold secrets: how they are written, and what is asked of one before it is read.

What is checked is the file that was opened, never its path: the descriptor's own status says who owns it
and who may read it, so that nothing can be swapped between the check and the read. A symbolic link is
followed; the rules hold for where it leads, and only the owner of the checked directory can place one.
"""

import contextlib
import grp
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from protocol.errors import ConfigurationError

# No PEM file of an identity comes near it; a larger one is the wrong file.
READ_LIMIT = 256 * 1024


class Owner(NamedTuple):
    """A user and a group, by number."""

    uid: int
    gid: int


def write_private_file(path: Path, content: bytes, *, mode: int = 0o600, owner: Owner | None = None) -> None:
    """Put ``content`` at ``path`` durably and at once: a reader finds what was there before, or all of it.

    The file is made readable by nobody else from its first moment on, whatever the umask, and gets ``mode``
    and ``owner`` (None: the process's own) before it gets its name. Raises OSError.
    """
    with private_file(path, mode=mode, owner=owner) as file:
        file.write(content)


@contextlib.contextmanager
def private_file(path: Path, *, mode: int = 0o600, owner: Owner | None = None) -> Iterator[BinaryIO]:
    """A file to write, which is at ``path`` when the block ends without an error. As ``write_private_file``."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path | str, directory: int | None = None) -> None:
    """Make the names in ``path``, below ``directory`` if that is given, durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class PrivateDirectory:
    """An open directory that was found to be private. Its files are opened relative to it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def read(self, name: str, *, secret: bool = False) -> bytes | None:
        """The content of the regular file ``name``, or None if there is none.

        Nobody but root and the process's own user may own or write it, and, if it is ``secret``, nobody else
        may read it. Raises ConfigurationError.
        """
        path = self.path / name
        try:
            # O_NONBLOCK: a FIFO put here must not hang the start; it changes nothing for a regular file.
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"{path} is no regular file")
            refuse_unless_guarded(path, status, secret=secret)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(READ_LIMIT + 1)
        finally:
            os.close(descriptor)
        if len(content) > READ_LIMIT:
            raise ConfigurationError(f"{path} is larger than {READ_LIMIT} bytes")
        return content


@contextlib.contextmanager
def open_private_directory(path: Path) -> Iterator[PrivateDirectory]:
    """Open ``path``, a directory that nobody else may enter, read or write. Raises ConfigurationError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(f"the directory {path} can't be opened: {error.strerror}") from error
    try:
        refuse_unless_guarded(path, os.fstat(descriptor), secret=True)
        yield PrivateDirectory(path, descriptor)
    finally:
        os.close(descriptor)


def refuse_unless_guarded(path: Path, status: os.stat_result, *, secret: bool) -> None:
    """Raise ConfigurationError if somebody else could write what ``status`` describes, or read a secret.

    Reading by the group is accepted for the process's own primary group alone: the old layout, root:ca with
    modes 750 and 640, is that, and a group made for the daemon's user holds nobody else. Any other group
    (and a supplementary one, which exists to be shared) counts as others. Writing is for the owner only.
    """
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            f"{path} belongs to {user_name(status.st_uid)}; it must belong to root or to {user_name(os.geteuid())}, "
            f"as which this process runs"
        )
    if mode & 0o022:
        whom = "others" if mode & 0o002 else "its group"
        raise ConfigurationError(f"{path} may be written by {whom} (mode {mode:04o}): chmod go-w it")
    if secret and mode & 0o007:
        raise ConfigurationError(f"{path} may be read by others (mode {mode:04o}): chmod o-rwx it")
    if secret and mode & 0o070 and status.st_gid != os.getegid():
        raise ConfigurationError(
            f"{path} may be read by the group {group_name(status.st_gid)}, which is not this process's own "
            f"(mode {mode:04o}): chmod g-rwx it"
        )


def user_name(uid: int) -> str:
    """The user's name; where there is none, its number: uid 1000."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def group_name(gid: int) -> str:
    """The group's name; where there is none, its number: gid 1000."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
