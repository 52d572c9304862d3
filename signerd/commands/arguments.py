"""What people type, as values: serial numbers, times, durations, client ids, CSRs."""

import datetime
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from protocol import pem
from protocol.durations import parse_duration
from protocol.errors import ErrorCode, Refused
from protocol.fields import CLIENT_ID_IN_WORDS, CSR_BYTES_MAX, TEXT_MAX, ClientId, ProfileName, Serial

T = TypeVar("T")

_HEX = re.compile(r"[0-9A-Fa-f]+")
_DURATION = re.compile(r"[0-9]+[a-z]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_MAX = 2**40  # seconds, as in protocol.messages


def parse_serial(text: str) -> bytes:
    """The serial number in hexadecimal, in either case, with or without 0x and colons. Raises ValueError."""
    digits = text.strip().lower().removeprefix("0x").replace(":", "")
    number = int(digits, 16) if _HEX.fullmatch(digits) else 0
    serial = number.to_bytes((number.bit_length() + 7) // 8)
    try:
        return msgspec.convert(serial, Serial)
    except msgspec.ValidationError:
        raise ValueError(f"{text!r} is no serial number in hexadecimal, of 20 bytes at most") from None


def parse_time(text: str, now: int) -> int:
    """Seconds since the epoch: RFC 3339 (a date alone is its midnight, UTC), or how long before ``now`` ("2h").

    Raises ValueError.
    """
    if _DURATION.fullmatch(text):
        return max(0, now - parse_duration(text))
    try:
        moment = datetime.datetime.fromisoformat(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time: write it as 2026-01-31T10:00:00Z, or as how long ago it is (2h)"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: end it in Z for UTC, or in an offset such as +01:00")
    if not 0 <= (seconds := int(moment.timestamp())) <= _TIME_MAX:
        raise ValueError(f"{text!r} lies before 1970")
    return seconds


def parse_client(text: str) -> str:
    """A client id. Raises ValueError."""
    try:
        return msgspec.convert(text, ClientId)
    except msgspec.ValidationError:
        raise ValueError(f"{text!r} is no client id: {CLIENT_ID_IN_WORDS}") from None


def parse_profile(text: str) -> str:
    """A profile's name. Raises ValueError."""
    try:
        return msgspec.convert(text, ProfileName)
    except msgspec.ValidationError:
        raise ValueError(f"{text!r} is no profile's name: 1 to 64 letters, digits, - and _") from None


def parse_text(text: str) -> str:
    """What a message has room for. Raises ValueError."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"it is longer than {TEXT_MAX} characters")
    return text


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A click type of ``parse``, whose ValueError then is wrong usage, in its own words."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return convert


class Choice(click.Choice):  # type: ignore[type-arg] # click has it generic from 8.2 on
    """One of these words, in any case, with or without the hyphens and underscores that others write them with."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        plain = {_plain(str(choice)): str(choice) for choice in self.choices}
        if (choice := plain.get(_plain(value))) is None:
            self.fail(f"{value!r} is none of {', '.join(plain.values())}", param, ctx)
        return choice


def _plain(word: str) -> str:
    return re.sub("[-_ ]", "", word).casefold()


SERIAL = typed(parse_serial)
TIME = typed(lambda text: parse_time(text, int(time.time())))
DURATION = typed(parse_duration)
CLIENT = typed(parse_client)
PROFILE = typed(parse_profile)
TEXT = typed(parse_text)


def read_csr(path: str) -> bytes:
    """The DER of the CSR in a file, PEM or DER; "-" is the standard input. Raises ``Refused`` or OSError."""
    name = "the standard input" if path == "-" else path
    if path == "-":
        if sys.stdin.isatty():
            click.echo("Paste a CSR, and end it with Ctrl-D:", err=True)
        content = sys.stdin.buffer.read(CSR_BYTES_MAX + 1)
    else:
        with Path(path).open("rb") as file:
            content = file.read(CSR_BYTES_MAX + 1)
    if not content:
        raise Refused(ErrorCode.BAD_CSR, f"{name} is empty")
    if len(content) > CSR_BYTES_MAX:
        raise Refused(ErrorCode.BAD_CSR, f"{name} is larger than {CSR_BYTES_MAX} bytes")
    if content.startswith(b"\x30") and b"-----BEGIN " not in content:  # a DER SEQUENCE
        return content
    try:
        return pem.decode_csr(content)
    except pem.PemError as error:
        raise Refused(ErrorCode.BAD_CSR, f"{name}: {error}") from None
