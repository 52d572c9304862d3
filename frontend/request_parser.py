"""One HTTP request as it arrives. What two readers may read differently is refused before anything is made of it.

waitress parses; here stand the rules that it lacks, and what makes its reading of a head linear.
"""

import re
import time
from http import HTTPStatus

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.utilities import Error

_HEAD_END = b"\r\n\r\n"
_VERSIONS = ("1.0", "1.1")
_CODINGS = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)", re.IGNORECASE)
# RFC 9110, 7.2, of what RFC 3986, 3.2.2 allows: a name or an address, and a port.
_HOST = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


class VersionNotSupported(Error):  # type: ignore[misc] # waitress publishes no types, here and below
    """An HTTP other than 1.0 and 1.1 (RFC 9110, 15.6.6)."""

    code = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED.value
    reason = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED.phrase


class RequestParser(HTTPRequestParser):  # type: ignore[misc]
    """One request. ``began``: when its first byte came, in monotonic seconds."""

    version: str  # once the head was read: "" if it names none

    def __init__(self, adjustments: Adjustments) -> None:
        super().__init__(adjustments)
        self.began = time.monotonic()
        self._head = bytearray()

    def received(self, data: bytes) -> int:
        """How many bytes of ``data`` are this request's. waitress gets the head whole: it would look through all of
        what had come at each piece that comes."""
        if self.completed or self.headers_finished:
            return super().received(data)  # type: ignore[no-any-return]
        before = len(self._head)
        self._head += data
        is_whole = self._head.find(_HEAD_END, max(0, before - len(_HEAD_END))) >= 0
        if not is_whole and len(self._head) < self.adj.max_request_header_size:
            return len(data)
        return super().received(bytes(self._head)) - before  # type: ignore[no-any-return]

    def parse_header(self, header_plus: bytes) -> None:
        """Called by waitress with the whole head. Raises what it understands: ParsingError (400), or 501."""
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("a folded header line")  # RFC 9112, 5.2
        if b"transfer-encoding" in header_plus.lower():
            _check_codings(header_plus)
        super().parse_header(header_plus)
        if not self.version:
            raise ParsingError("a request line without a version")
        if self.version not in _VERSIONS:
            self.error, self.completed = VersionNotSupported(self.version), True
            self.version = _VERSIONS[-1]  # of the answer (RFC 9110, 2.5)
            return
        self._check_host()
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("both Transfer-Encoding and Content-Length")  # RFC 9112, 6.1
        if "TRANSFER_ENCODING" in self.headers:  # still there: waitress reads it in HTTP/1.1 only
            raise ParsingError("Transfer-Encoding in HTTP/1.0")  # RFC 9112, 6.1

    def _check_host(self) -> None:
        """RFC 9112, 3.2: exactly one Host, and a valid one; HTTP/1.0 knew none."""
        host = self.headers.get("HOST")  # waitress joins several by ", ", which no valid one has
        if host is None:
            if self.version != "1.0":
                raise ParsingError("no Host")
        elif not _HOST.fullmatch(host):
            raise ParsingError("more than one Host, or one that is no name or address and port")


def _check_codings(header_plus: bytes) -> None:
    """Transfer-Encoding is exactly ``chunked``, if it is there: RFC 9112, 6.1 has it applied once, and other readers
    take ``chunked, chunked``, or an empty one, for something else."""
    codings = _CODINGS.findall(header_plus)
    if not codings or (len(codings) == 1 and codings[0].strip(b" \t").lower() == b"chunked"):
        return
    named = {coding.strip(b" \t").lower() for line in codings for coding in line.split(b",")}
    if named <= {b"", b"chunked"}:
        raise ParsingError("Transfer-Encoding is not chunked once")
    raise TransferEncodingNotImplemented("a transfer coding other than chunked")
