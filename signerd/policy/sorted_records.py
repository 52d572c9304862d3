"""A file of records of one length, in ascending order, looked up where it lies: it may be larger than memory.

In memory is the beginning of each page alone. A look-up bisects these, reads one page, and bisects that. It is pread(2)
and no mapping, for one that is cut off under a mapping ends the process (SIGBUS).
"""

import contextlib
import hashlib
import operator
import os
import stat
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from protocol.errors import ErrorCode, Refused
from signerd.files import refuse_unless_guarded

_PAGE = 4096
_CHUNK = 256 * _PAGE


class Form(NamedTuple):
    """How long a record is, and how much of it, from its beginning, is what one looks for."""

    record: int  # bytes: a divisor of a page
    key: int  # bytes, 8 or more


class SortedRecords:
    """The records in a file, which stays open. ``digest`` is the SHA-256 of all of it."""

    def __init__(self, path: Path, file: BinaryIO, form: Form) -> None:
        """Reads all of it once. Raises ``ValueError`` for a file that is not of this form or not in order."""
        self._path, self._form = path, form
        self._begins = array("Q")  # the first 8 bytes of each page
        self._size = 0
        digest, last = hashlib.sha256(), b""
        while chunk := file.read(_CHUNK):
            last = self._take(chunk, last)
            digest.update(chunk)
        self.digest = digest.digest()
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def _take(self, chunk: bytes, last: bytes) -> bytes:
        """Takes note of a chunk, whose records follow the key ``last``; returns the key of its last record."""
        record, key = self._form
        if len(chunk) % record:
            raise ValueError(f"{self._path}: its size is no multiple of {record} bytes")
        keys = [last, *(chunk[place : place + key] for place in range(0, len(chunk), record))]
        if not all(map(operator.le, keys, keys[1:])):
            wrong = next(index for index in range(len(keys) - 1) if keys[index] > keys[index + 1])
            raise ValueError(f"{self._path}: it is not sorted: see record {self._size // record + wrong}")
        for place in range(0, len(chunk), _PAGE):
            self._begins.append(int.from_bytes(chunk[place : place + 8], "big"))
        self._size += len(chunk)
        return keys[-1]

    def __len__(self) -> int:
        return self._size // self._form.record

    def has(self, key: bytes) -> bool:
        """Whether a record begins with ``key``. Raises ``Refused`` (``unavailable``) if the file was cut off."""
        begin = int.from_bytes(key[:8], "big")
        # Nearly always it is one page; more only where keys have their first 8 bytes in common.
        first, last = bisect_left(self._begins, begin) - 1, bisect_right(self._begins, begin) - 1
        return any(self._page_has(page, key) for page in range(max(first, 0), last + 1))

    def _page_has(self, page: int, key: bytes) -> bool:
        data = os.pread(self._descriptor, _PAGE, page * _PAGE)
        if len(data) != min(_PAGE, self._size - page * _PAGE):
            raise Refused(ErrorCode.UNAVAILABLE, "the list of blocked keys was cut off: have it read anew (reload)")
        record, length = self._form

        def at(place: int) -> bytes:
            return data[place * record : place * record + length]

        places = range(len(data) // record)
        place = bisect_left(places, key, key=at)
        return place < len(places) and at(place) == key


_open: "weakref.WeakValueDictionary[tuple[object, ...], SortedRecords]" = weakref.WeakValueDictionary()


def open_sorted_records(path: Path, form: Form) -> SortedRecords:
    """The records in the file at ``path``, as it is now: it is read once, however often it is opened, unless it was
    replaced or written to meanwhile. Raises ``ValueError``, ``OSError``, ``ConfigurationError``."""
    with open_guarded(path) as file:
        status = os.fstat(file.fileno())
        identity = (form, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        records = _open.get(identity)
        if records is None:
            _open[identity] = records = SortedRecords(path, file, form)
        return records


@contextlib.contextmanager
def open_guarded(path: Path) -> Iterator[BinaryIO]:
    """The regular file at ``path``, which nobody but root and the process's own user can write to, for the length of a
    block. Raises as above."""
    # O_NONBLOCK: a FIFO here must not hang the signer; it changes nothing for a regular file.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is no regular file")
        refuse_unless_guarded(path, status, secret=False)
        yield file
