"""The app: one table of routes."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple

import bottle

from frontend import http_request, revocation, views
from frontend.answers import Answer
from frontend.http_request import Environ
from frontend.problems import HttpRefused
from frontend.views import Services
from protocol.fields import CLIENT_ID, CLIENT_ID_IN_WORDS


class Route(NamedTuple):
    """One row of the table. Bottle matches paths as they stand in the request line (see
    http_request.raw_path), so that %41 is no letter."""

    method: str
    path: str
    view: Callable[..., Answer]
    media_types: tuple[str, ...] | None = None  # of the body; "": none named. None: there is no body, or it is not read

    @property
    def name(self) -> str:
        """The view's name; the route's label in the metrics."""
        return self.view.__name__


ROUTES = (
    Route("PUT", f"/api/csr/<client:re:{CLIENT_ID}>", views.put_csr, http_request.CSR_TYPES),
    Route("POST", "/api/revoke", revocation.post_revoke, revocation.WISH_TYPES),
    Route("GET", "/crl/<shard:re:(?:0|[1-9][0-9]{0,4})>.crl", revocation.get_crl),
    Route("GET", "/crl/all.pem", revocation.get_all_crls),
    Route("GET", "/crl/chain.pem", revocation.get_chain_crls),
    Route("POST", "/ocsp", revocation.post_ocsp, (revocation.OCSP_REQUEST,)),
    Route("GET", "/ocsp/<request:re:[A-Za-z0-9+/=%]+>", revocation.get_ocsp),
    Route("GET", "/ca.pem", views.get_ca_pem),
    Route("GET", "/ca.der", views.get_ca_der),
    Route("GET", "/chain.pem", views.get_chain_pem),
    Route("GET", "/ping", views.get_ping),
    Route("GET", "/healthz", views.get_healthz),
    Route("GET", "/readyz", views.get_readyz),
    Route("GET", "/metrics", views.get_metrics),
    Route("GET", "/", views.get_index),
)
METRICS_ROUTES = tuple(route for route in ROUTES if route.view is views.get_metrics)


class App:
    """The routes, found by Bottle's router. Nothing else of Bottle's is in the way of a request: what a view needs it
    is given, and what it answers it returns."""

    def __init__(self, services: Services, routes: Iterable[Route]) -> None:
        self._services = services
        self._router = bottle.Router()
        for route in routes:
            self._router.add(route.path, route.method, route)

    def find(self, environ: Environ) -> tuple[Route, dict[str, str]]:
        """The route, and what it found in the path. Raises ``HttpRefused``: 404, 405."""
        try:
            return self._router.match(environ)  # type: ignore[no-any-return]
        except bottle.HTTPError as error:
            raise _refused(error) from None

    def check_type(self, route: Route, environ: Environ) -> None:
        """Raises ``HttpRefused`` (415) for a body of a type that the route doesn't take."""
        if route.media_types is not None and http_request.media_type(environ) not in route.media_types:
            known = ", ".join(filter(None, route.media_types))
            detail = f"the body's type is none of {known}"
            raise HttpRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, ("Accept", known))

    def call(self, route: Route, environ: Environ, arguments: dict[str, str]) -> Answer:
        """What the view answers. Raises ``Refused``, and whatever else a view raises."""
        self.check_type(route, environ)
        return route.view(self._services, environ, **arguments)


def _refused(error: bottle.HTTPError) -> HttpRefused:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = set(error.headers["Allow"].split(","))
        allowed = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
        detail = f"this path knows {allowed} alone"
        return HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, detail, ("Allow", allowed))
    return HttpRefused(HTTPStatus.NOT_FOUND, f"there is nothing at this path (a client id is {CLIENT_ID_IN_WORDS})")
