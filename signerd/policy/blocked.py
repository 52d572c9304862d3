"""The operator's list of keys that get no certificate: those that leaked, say."""

import binascii
import bisect
import hashlib
import os
import stat
from collections.abc import Container, Iterable
from pathlib import Path

from protocol.errors import ConfigurationError
from signerd.files import refuse_unless_guarded

_DIGEST_BYTES = 32
_KEYS_MAX = 100_000  # 3 MiB of memory; a reload that reads them takes 100 ms
_BYTES_MAX = 16 * 1024 * 1024


class AnyOf(Container[bytes]):
    """What is in any of several containers."""

    def __init__(self, *parts: Container[bytes]) -> None:
        self._parts = parts

    def __contains__(self, item: object) -> bool:
        return any(item in part for part in self._parts)


class BlockedKeys(Container[bytes]):
    """SubjectPublicKeyInfos, by their SHA-256 hashes: sorted, end to end, for a set of so many takes four times as
    much."""

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        self._digests = b"".join(sorted(set(digests)))

    def __len__(self) -> int:
        return len(self._digests) // _DIGEST_BYTES

    def __contains__(self, spki: object) -> bool:
        if not isinstance(spki, bytes):
            return False
        digest = hashlib.sha256(spki).digest()
        place = bisect.bisect_left(range(len(self)), digest, key=self._at)
        return place < len(self) and self._at(place) == digest

    def _at(self, place: int) -> bytes:
        return self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES]

    def __repr__(self) -> str:
        """What the policy's hash knows of it."""
        return f"{len(self)} keys, {hashlib.sha256(self._digests).hexdigest()}"


def read_blocked_keys(path: Path) -> BlockedKeys:
    """The hashes in a file: in hex, one a line, with blank lines and # comments.

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
    found = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if text := line.partition(b"#")[0].strip():
            found.append(_digest(text, f"{path}, line {number}"))
    if len(found) > _KEYS_MAX:
        raise ValueError(f"{path} has more than {_KEYS_MAX} keys")
    return BlockedKeys(found)


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


def _digest(text: bytes, where: str) -> bytes:
    try:
        if len(digest := binascii.unhexlify(text)) == _DIGEST_BYTES:
            return digest
    except ValueError:
        pass
    raise ValueError(f"{where}: neither a SHA-256 hash in hex nor a # comment")
