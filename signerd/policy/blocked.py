"""The operator's lists of keys that get no certificate: those that leaked, say.

A list is a file, in the form that its name says. ``.bin``: SHA-256 hashes of SubjectPublicKeyInfos, 32 bytes each,
sorted. ``.dat``: as badkeys' blocklist.dat, sorted records of 16 bytes: 15 of the SHA-256 of the number that a key is
(its modulus, say), and one that says whose list it is from. Any other name: hashes of SubjectPublicKeyInfos in hex, one
a line. The first two may be as large as they like: they are looked up where they lie.
"""

import binascii
import hashlib
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from protocol.errors import ConfigurationError
from signerd.policy.keys import number_of_key
from signerd.policy.sorted_records import Form, SortedRecords, open_guarded, open_sorted_records

_DIGEST_BYTES = 32
_LINES_MAX = 100_000  # 13 MiB of memory; a reload that reads them takes 100 ms
_TEXT_BYTES_MAX = 16 * 1024 * 1024
_BY_HASH, _BADKEYS = Form(record=32, key=32), Form(record=16, key=15)


class AnyOf(Container[bytes]):
    """What is in any of several containers."""

    def __init__(self, *parts: Container[bytes]) -> None:
        self._parts = parts

    def __contains__(self, item: object) -> bool:
        return any(item in part for part in self._parts)


class BlockedKeys(Container[bytes]):
    """SubjectPublicKeyInfos, by what the lists have of them."""

    def __init__(self, lists: "Sequence[_Hashes | _Records]" = ()) -> None:
        self._lists = lists

    def __len__(self) -> int:
        return sum(map(len, self._lists))

    def __contains__(self, spki: object) -> bool:
        return bool(self._lists) and isinstance(spki, bytes) and any(one.has(spki) for one in self._lists)

    def __repr__(self) -> str:
        """What the policy's hash knows of it."""
        return ", ".join(f"{len(one)} keys {one.digest.hex()}" for one in self._lists)


class _Hashes:
    """A list that is held in memory."""

    def __init__(self, hashes: frozenset[bytes]) -> None:
        self._hashes = hashes
        self.digest = hashlib.sha256(b"".join(sorted(hashes))).digest()

    def __len__(self) -> int:
        return len(self._hashes)

    def has(self, spki: bytes) -> bool:
        return hashlib.sha256(spki).digest() in self._hashes


class _Records:
    """A list that stays in its file. ``key_of``: what it has of a SubjectPublicKeyInfo."""

    def __init__(self, records: SortedRecords, key_of: Callable[[bytes], bytes]) -> None:
        self._records = records
        self._key_of = key_of
        self.digest = records.digest

    def __len__(self) -> int:
        return len(self._records)

    def has(self, spki: bytes) -> bool:
        return self._records.has(self._key_of(spki))


def read_blocked_keys(paths: Sequence[Path]) -> BlockedKeys:
    """The keys in these files, each in the form that its name says.

    Nobody but root and the process's own user may be able to write to them. Raises ``ValueError``.
    """
    return BlockedKeys(tuple(_read(path) for path in paths))


def _read(path: Path) -> _Hashes | _Records:
    try:
        match path.suffix:
            case ".bin":
                return _Records(open_sorted_records(path, _BY_HASH), lambda spki: hashlib.sha256(spki).digest())
            case ".dat":
                return _Records(open_sorted_records(path, _BADKEYS), _badkeys_key)
            case _:
                return _Hashes(_read_lines(path))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


def _badkeys_key(spki: bytes) -> bytes:
    return hashlib.sha256(number_of_key(spki)).digest()[: _BADKEYS.key]


def _read_lines(path: Path) -> frozenset[bytes]:
    """Hashes in hex, one a line, with blank lines and # comments."""
    with open_guarded(path) as file:
        content = file.read(_TEXT_BYTES_MAX + 1)
    if len(content) > _TEXT_BYTES_MAX:
        raise ValueError(f"{path} is larger than {_TEXT_BYTES_MAX >> 20} MiB: a list of that size is a .bin")
    found = [
        _digest(text, f"{path}, line {number}")
        for number, line in enumerate(content.split(b"\n"), 1)
        if (text := line.partition(b"#")[0].strip())
    ]
    if len(found) > _LINES_MAX:
        raise ValueError(f"{path} has more than {_LINES_MAX} keys: a list of that size is a .bin")
    return frozenset(found)


def _digest(text: bytes, where: str) -> bytes:
    try:
        if len(digest := binascii.unhexlify(text)) == _DIGEST_BYTES:
            return digest
    except ValueError:
        pass
    raise ValueError(f"{where}: neither a SHA-256 hash in hex nor a # comment")
