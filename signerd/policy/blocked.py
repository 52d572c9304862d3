"""The operator's list of keys that get no certificate: those that leaked, say."""

import os
import re
import stat
from pathlib import Path

from protocol.errors import ConfigurationError
from signerd.files import refuse_unless_guarded

_KEYS_MAX = 100_000  # 10 MiB of memory
_BYTES_MAX = 16 * 1024 * 1024
_LINE = re.compile(rb"\s*(?:([0-9A-Fa-f]{64})\s*)?(?:#.*)?")


def read_blocked_keys(path: Path) -> frozenset[bytes]:
    """The SHA-256 hashes of SubjectPublicKeyInfos in a file: in hex, one a line, with blank lines and # comments.

    Nobody but root and the process's own user may be able to write to it. Raises ``ValueError``.
    """
    try:
        content = _read(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    if len(content) > _BYTES_MAX:
        raise ValueError(f"{path} is larger than {_BYTES_MAX >> 20} MiB")
    return _parse(content, path)


def _read(path: Path) -> bytes:
    # O_NONBLOCK: a FIFO here must not hang the signer; it changes nothing for a regular file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is no regular file")
        refuse_unless_guarded(path, status, secret=False)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_BYTES_MAX + 1)
    finally:
        os.close(descriptor)


def _parse(content: bytes, path: Path) -> frozenset[bytes]:
    found = set()
    for number, line in enumerate(content.split(b"\n"), 1):
        if (match := _LINE.fullmatch(line)) is None:
            raise ValueError(f"{path}, line {number}: neither a SHA-256 hash in hex nor a # comment")
        if match[1] is not None:
            found.add(bytes.fromhex(match[1].decode()))
    if len(found) > _KEYS_MAX:
        raise ValueError(f"{path} has more than {_KEYS_MAX} keys")
    return frozenset(found)
