"""Error codes as HTTP problems (RFC 9457). The one place that knows which status a code has.

A problem carries ``type``, ``title``, ``status`` and ``detail`` as in the RFC, and ``code``, from the
closed list of ``protocol.errors``. What is refused by HTTP's own rules (no such path, wrong method,
wrong media type, too large) has the type "about:blank" and the status's phrase for a title (RFC 9457, 4.2.1).
"""

from http import HTTPStatus
from typing import NamedTuple

import msgspec

from frontend.answers import Answer, Header, answer
from protocol.errors import ErrorCode, Refused

CONTENT_TYPE = "application/problem+json"


class _Row(NamedTuple):
    status: int
    title: str
    retry_after: int | None = None  # seconds


_TABLE = {
    ErrorCode.BAD_REQUEST: _Row(400, "The request is malformed"),
    ErrorCode.BAD_CSR: _Row(400, "The CSR can't be accepted"),
    ErrorCode.WEAK_KEY: _Row(400, "The CSR's key is too weak"),
    ErrorCode.UNKNOWN_PROFILE: _Row(400, "There is no such profile"),
    ErrorCode.NOT_AUTHORIZED: _Row(403, "The client is not authorized"),
    ErrorCode.POLICY_DENIED: _Row(403, "The policy does not allow this certificate"),
    ErrorCode.NOT_FOUND: _Row(404, "There is no such thing"),
    ErrorCode.CONFLICT: _Row(409, "The request contradicts an earlier one"),
    ErrorCode.QUOTA_EXCEEDED: _Row(429, "The quota is used up", retry_after=60),
    ErrorCode.FROZEN: _Row(503, "Issuance is frozen", retry_after=300),
    ErrorCode.BUSY: _Row(503, "The signer is busy", retry_after=1),
    ErrorCode.UNAVAILABLE: _Row(503, "The signer is not available", retry_after=5),
    ErrorCode.INTERNAL: _Row(500, "Something failed on the server"),
}

_HTTP_CODES = {HTTPStatus.FORBIDDEN: ErrorCode.NOT_AUTHORIZED, HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND}


class HttpRefused(Refused):
    """A request refused by a rule of HTTP itself, with a status of its own."""

    def __init__(self, status: HTTPStatus, detail: str, *headers: Header) -> None:
        super().__init__(_HTTP_CODES.get(status, ErrorCode.BAD_REQUEST), detail)
        self.status = status
        self.headers = headers


def problem(refused: Refused) -> Answer:
    """The answer that tells of ``refused``."""
    headers: list[Header] = []
    if isinstance(refused, HttpRefused):
        status, type_, title = refused.status.value, "about:blank", refused.status.phrase
        headers += refused.headers
    else:
        status, title, retry_after = _TABLE[refused.code]
        type_ = f"urn:signerd:error:{refused.code}"
        if retry_after is not None:
            headers.append(("Retry-After", str(retry_after)))
    body = msgspec.json.encode(
        {"type": type_, "title": title, "status": status, "detail": refused.detail, "code": str(refused.code)}
    )
    return answer(CONTENT_TYPE, body, *headers, status=status)
