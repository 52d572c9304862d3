"""Files that commands write: each is there whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from signerd.files import sync_directory

PUBLIC = 0o644
PRIVATE = 0o600


@contextlib.contextmanager
def new_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A file to write, which appears at ``path``, in place of what is there, when the block ends without an error.

    Until then it is readable by nobody else; from then on it is durable. What is no regular file (a pipe, a
    device) is written to as it stands. Raises OSError.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()  # where a symbolic link leads, as a shell's > has it
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # "x": what is there already under this name, a symbolic link say, is an error.
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE)) as file:
            yield file
            file.flush()
            if mode != PRIVATE:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_text(path: Path | None, text: str) -> None:
    """Writes ``text`` to a public file at ``path``, or to the standard output. Raises OSError."""
    if path is None:
        click.echo(text, nl=False)
        return
    with new_file(path, PUBLIC) as file:
        file.write(text.encode())
