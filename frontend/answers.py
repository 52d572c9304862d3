"""What goes back to a client, whole, before a byte of it is sent."""

from http import HTTPStatus
from typing import NamedTuple

Header = tuple[str, str]

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Answer(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: list[Header]
    body: bytes

    @property
    def status_line(self) -> str:
        """The status as HTTP writes it."""
        return _STATUS_LINES[self.status]


def answer(content_type: str, body: bytes, *more: Header, status: int = 200, cache_control: str = "no-store") -> Answer:
    """An answer with its headers, and ``more`` of them."""
    length = str(len(body))
    headers = [("Content-Type", content_type), ("Content-Length", length), ("Cache-Control", cache_control), *more]
    return Answer(status, headers, body)


def not_modified(*headers: Header) -> Answer:
    """What a client has already (RFC 9110, 15.4.5): no body, nor what would describe one."""
    return Answer(HTTPStatus.NOT_MODIFIED.value, list(headers), b"")
