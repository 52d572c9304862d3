"""Whether bytes from outside are DER, all the way down: each TLV, and what X.690 says of each universal type."""

import re
from collections.abc import Callable

from signerd.der import Part, parts

DEPTH_MAX = 32  # of what is nested: no extension in use comes near it
_CONSTRUCTED, _CLASS, _NUMBER = 0x20, 0xC0, 0x1F
_SEQUENCE, _SET = 16, 17
_PRINTABLE = re.compile(rb"[A-Za-z0-9 '()+,./:=?-]*")
_NUMERIC = re.compile(rb"[0-9 ]*")
_UTC_TIME = re.compile(rb"[0-9]{12}Z")
_GENERALIZED_TIME = re.compile(rb"[0-9]{14}(\.[0-9]*[1-9])?Z")


def check(data: bytes) -> None:
    """Raises ``ValueError`` unless ``data`` is exactly one TLV, in DER."""
    if len(found := parts(data)) != 1:
        raise ValueError("not one value")
    _check(found[0], DEPTH_MAX)


def _check(part: Part, depth: int) -> None:
    constructed, number = part.tag & _CONSTRUCTED, part.tag & _NUMBER
    if not part.tag & _CLASS:
        if bool(constructed) != (number in {_SEQUENCE, _SET}):
            raise ValueError("a type in the wrong form")  # X.690, 8 and 10.2: strings are primitive
        if not constructed and not _CHECKS.get(number, _anything)(part.value):
            raise ValueError(f"a value that universal type {number} can't have")
    if constructed:
        if not depth:
            raise ValueError("nested too deep")
        inner = parts(part.value)
        if part.tag == _CONSTRUCTED | _SET and not _in_order(inner):
            raise ValueError("a SET that is not in order")
        for one in inner:
            _check(one, depth - 1)


def _in_order(inner: list[Part]) -> bool:
    """X.690, 10.3 and 11.6: a SET goes by its tags, a SET OF by its values."""
    if len({part.tag for part in inner}) <= 1:
        keys = [part.whole for part in inner]
        return keys == sorted(keys)
    tags = [part.tag & ~_CONSTRUCTED for part in inner]
    return tags == sorted(set(tags))


def _anything(_: bytes) -> bool:
    return True


def _never(_: bytes) -> bool:
    return False


def _is_integer(value: bytes) -> bool:
    """X.690, 8.3.2: the first nine bits are not all alike."""
    return (len(value) > 1 and (value[0], value[1] >> 7) not in {(0, 0), (0xFF, 1)}) or len(value) == 1


def _is_bit_string(value: bytes) -> bool:
    """X.690, 8.6.2 and 11.2.1: at most seven unused bits, all of them zero."""
    if not value or value[0] > 7:
        return False
    return not value[0] if len(value) == 1 else not value[-1] & (1 << value[0]) - 1


def _is_oid(value: bytes) -> bool:
    """X.690, 8.19.2: each arc ends, and begins with no zeros."""
    starts = [value[index] for index in range(len(value)) if not index or value[index - 1] < 0x80]
    return bool(value) and value[-1] < 0x80 and 0x80 not in starts


def _is_utf_8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


_CHECKS: dict[int, Callable[[bytes], object]] = {
    0: _never,  # the end of contents, of BER's indefinite form
    1: lambda value: value in {b"\x00", b"\xff"},  # X.690, 11.1
    2: _is_integer,
    3: _is_bit_string,
    5: lambda value: not value,
    6: _is_oid,
    10: _is_integer,
    12: _is_utf_8,
    18: _NUMERIC.fullmatch,
    19: _PRINTABLE.fullmatch,
    22: bytes.isascii,
    23: _UTC_TIME.fullmatch,
    24: _GENERALIZED_TIME.fullmatch,
    28: lambda value: len(value) % 4 == 0,
    30: lambda value: len(value) % 2 == 0,
}
