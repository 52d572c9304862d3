"""Files that commands write: each is there whole or not at all."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from signerd.commands.destination import Destination, destination
from signerd.files import sync_directory, user_name

PUBLIC = 0o644
PRIVATE = 0o600


@contextlib.contextmanager
def new_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A file to write, which appears at ``path``, in place of what is there, when the block ends without an error.

    Until then it is readable by nobody else; from then on it is durable. What is no regular file (a pipe, a device) is
    written to as it stands. A symbolic link is followed, as a shell's > does, if it is root's or the caller's own.
    Raises OSError, also for a link, or a named pipe, that is a stranger's.
    """
    with _naming(path), destination(path) as found:
        if _is_replaced(found):
            yield from _replacing(found, mode)
        else:
            with os.fdopen(_open_as_it_stands(found), "wb") as file:
                yield file


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors name the path as it was given, not a name in a directory that is known by its descriptor."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and not Path(error.filename).is_absolute():
            error.filename, error.filename2 = str(path), None
        raise


def _is_replaced(found: Destination) -> bool:
    """Whether a new file comes in place of what is there. Raises PermissionError for a stranger's named pipe."""
    if found.is_kernels:
        return False
    try:
        status = os.stat(found.name, dir_fd=found.directory, follow_symlinks=False)
    except FileNotFoundError:
        return True
    _refuse_a_strangers_pipe(status, found)
    return stat.S_ISREG(status.st_mode)


def _refuse_a_strangers_pipe(status: os.stat_result, found: Destination) -> None:
    if stat.S_ISFIFO(status.st_mode) and not found.is_kernels and status.st_uid not in {0, os.geteuid()}:
        raise PermissionError(errno.EPERM, f"it is a named pipe of {user_name(status.st_uid)}", found.name)


def _open_as_it_stands(found: Destination) -> int:
    follow = 0 if found.is_kernels else os.O_NOFOLLOW
    flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | follow
    descriptor = os.open(found.name, flags, dir_fd=found.directory)
    try:
        _refuse_a_strangers_pipe(os.fstat(descriptor), found)  # it may be another one by now
    except PermissionError:
        os.close(descriptor)
        raise
    return descriptor


def _replacing(found: Destination, mode: int) -> Iterator[BinaryIO]:
    directory = found.directory
    temporary = f".{found.name}.{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # what is there under this name already is an error
    descriptor = os.open(temporary, flags, PRIVATE, dir_fd=directory)
    way_there = f"/proc/self/fd/{directory}/{temporary}"  # for who opens it by its name once more: SQLite
    try:
        with open(way_there, "wb", opener=lambda *_: descriptor) as file:
            yield file
            file.flush()
            if mode != PRIVATE:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, found.name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    sync_directory(".", directory)


def write_text(path: Path | None, text: str) -> None:
    """Writes ``text`` to a public file at ``path``, or to the standard output. Raises OSError."""
    if path is None:
        click.echo(text, nl=False)
        return
    with new_file(path, PUBLIC) as file:
        file.write(text.encode())
