"""What surrounds a view in every request: the raw path in, problems out, one log line, one count."""

import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from frontend import http_request
from frontend.answers import Answer
from frontend.app import App, Route
from frontend.metrics import OTHER_ROUTE, Board
from frontend.problems import HttpRefused, problem
from frontend.settings import TRUST_UNIX_PEER
from protocol.errors import ErrorCode, Refused
from protocol.pem import PrivateKeyFound

_logger = logging.getLogger(__name__)
_access = logging.getLogger("frontend.access")
StartResponse = Callable[..., Any]

_LOGGED_PATH_MAX = 256  # characters of a request-target in a log line
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}")  # what an IP address is written with
UNIX_PEER = "localhost"  # waitress's REMOTE_ADDR for whoever connects by a unix socket
_PRIVATE_KEY_SENT = (
    "the body holds a private key, which never belongs in a request: it has been seen by others now,"
    " so throw it away and make a new one"
)


class Edge:
    """The WSGI application. Never raises, and never tells the client more than a problem does."""

    def __init__(self, app: App, board: Board, worker: int, trusted_proxy: str | None) -> None:
        self._app = app
        self._board = board
        self._worker = worker
        self._trusted_peer = UNIX_PEER if trusted_proxy == TRUST_UNIX_PEER else trusted_proxy

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        started = time.perf_counter()
        code = ""
        route: Route | None = None
        arguments: dict[str, str] = {}
        try:
            # The router sees the raw path: it would match one that was decoded.
            environ["PATH_INFO"] = http_request.raw_path(environ)
            route, arguments = self._app.find(environ)
            answer = self._app.call(route, environ, arguments)
        except Exception as error:
            refused = self._understand(error, arguments)
            code = f" {refused.code}"
            answer = problem(refused)
        start_response(answer.status_line, answer.headers)
        seconds = time.perf_counter() - started
        self._board.count(self._worker, route.name if route else OTHER_ROUTE, answer.status, seconds)
        if _access.isEnabledFor(logging.INFO):
            _access.info(
                f"{environ['REQUEST_METHOD']} {_loggable(environ['REQUEST_URI'])} {answer.status}"
                f" {seconds * 1000:.1f} ms {self._client_address(environ)}{code}"
            )
        return [] if environ["REQUEST_METHOD"] == "HEAD" or not answer.body else [answer.body]

    def _understand(self, error: Exception, arguments: dict[str, str]) -> Refused:
        if isinstance(error, Refused):
            return error
        if isinstance(error, PrivateKeyFound):
            client = arguments["client"]
            _logger.warning("client %s sent a private key along with its CSR; it was told so", client)
            return Refused(ErrorCode.BAD_CSR, _PRIVATE_KEY_SENT)
        _logger.error("unexpected failure", exc_info=error)
        return Refused(ErrorCode.INTERNAL, "something failed on the server; its log says what")

    def refusal_of_head(self, method: str, target: str, content_type: str) -> Refused | None:
        """Why this request is refused, whatever its body is; or None."""
        environ = {"REQUEST_METHOD": method, "REQUEST_URI": target, "CONTENT_TYPE": content_type}
        try:
            environ["PATH_INFO"] = http_request.raw_path(environ)
            route, _ = self._app.find(environ)
            self._app.check_type(route, environ)
        except Refused as refused:
            return refused
        return None

    def refuse_unread(self, reason: int | Refused, address: str) -> Answer:
        """The answer to what is not read to its end: logged and counted. ``reason``: waitress's status for what could
        not be read as HTTP, or is too large to be read; or what ``refusal_of_head`` said."""
        answer = problem(refused := reason if isinstance(reason, Refused) else _unreadable(reason))
        self._board.count(self._worker, OTHER_ROUTE, answer.status, 0.0)
        _access.info(f"- - {answer.status} 0.0 ms {address} {refused.code}")
        return answer

    def _client_address(self, environ: dict[str, Any]) -> str:
        """The peer; where that is the trusted proxy, whom it forwards for. Only the right-most value of
        X-Forwarded-For is that proxy's own word, the others are what the client says."""
        peer: str = environ["REMOTE_ADDR"]
        if peer == self._trusted_peer:
            forwarded = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
            if _ADDRESS.fullmatch(forwarded):
                return forwarded  # type: ignore[no-any-return]
        return "unix" if peer == UNIX_PEER else peer


def _unreadable(status: int) -> Refused:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return http_request.too_large()
    if status == HTTPStatus.HTTP_VERSION_NOT_SUPPORTED:
        return HttpRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 and HTTP/1.0 are spoken here")
    return HttpRefused(
        HTTPStatus(status),
        "the request is not well-formed HTTP (RFC 9112: one Host, for example), or its head is too large",
    )


def _loggable(target: str) -> str:
    """The request-target without control characters, and not too long."""
    if len(target) > _LOGGED_PATH_MAX:
        target = target[:_LOGGED_PATH_MAX] + "..."
    return target if target.isascii() and target.isprintable() else ascii(target)
