"""Small file systems of their own, to be filled to the last byte. Root alone can mount them."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

MIB = 1024 * 1024
FILE_SYSTEMS = ("ext4", "tmpfs")


@contextlib.contextmanager
def small_disk(at: Path, kind: str, size: int = 128 * MIB) -> Iterator[Path]:
    """A file system of this kind and size (bytes), mounted in the new directory ``at``."""
    at.mkdir(mode=0o700)
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", at)
    else:
        image = at.with_name(f"{at.name}.img")
        with image.open("wb") as file:
            file.truncate(size)
        _run(f"mkfs.{kind}", "-q", "-m", "0", image)  # nothing is kept for root, who fills it
        _run("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        _run("umount", at)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def free(disk: Path) -> int:
    """Bytes that are free."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def fill(disk: Path, *, leave: int = 0) -> None:
    """Takes all of the room there is but ``leave`` bytes, as a log does that somebody has forgotten."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for step in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while free(disk) - leave >= step or (step == 1 and not leave):
                    file.write(bytes(step))
    os.sync()


def clear(disk: Path) -> None:
    """Gives it back."""
    (disk / "filler").unlink()
