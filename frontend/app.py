"""The Bottle app: one table of routes."""

import functools
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple, NoReturn

import bottle

from frontend import revocation, views
from frontend.problems import HttpRefused
from frontend.views import Services


class Route(NamedTuple):
    """One row of the table. Bottle matches paths as they stand in the request line (see
    http_request.raw_path), so that %41 is no letter."""

    method: str
    path: str
    view: Callable[..., bytes]

    @property
    def name(self) -> str:
        """The view's name; the route's label in the metrics."""
        return self.view.__name__


ROUTES = (
    Route("PUT", "/api/csr/<client:re:[A-Za-z0-9]{1,128}>", views.put_csr),
    Route("POST", "/api/revoke", revocation.post_revoke),
    Route("GET", "/crl/<shard:re:(?:0|[1-9][0-9]{0,4})>.crl", revocation.get_crl),
    Route("GET", "/crl/all.pem", revocation.get_all_crls),
    Route("POST", "/ocsp", revocation.post_ocsp),
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


class _Bottle(bottle.Bottle):  # type: ignore[misc] # bottle publishes no types
    """Leaves every refusal to whoever called it, in place of Bottle's own error pages."""

    def default_error_handler(self, error: bottle.HTTPError) -> NoReturn:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            methods = set(error.headers["Allow"].split(","))
            allowed = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
            detail = f"this path knows {allowed} alone"
            raise HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, detail, ("Allow", allowed))
        raise HttpRefused(
            HTTPStatus.NOT_FOUND, "there is nothing at this path (a client id is 1 to 128 letters and digits)"
        )


def make_app(services: Services, routes: Iterable[Route]) -> bottle.Bottle:
    """The app that serves ``routes``. It raises ``Refused``, and whatever else a view raises."""
    app = _Bottle()
    app.catchall = False
    for route in routes:
        view = functools.partial(route.view, services)
        app.route(route.path, route.method, view, name=route.name, skip=True)  # skip: no plugins
    return app
