"""ca_frontend: the HTTP side, unprivileged.

What this process does: it listens for HTTP, by TCP or on a unix socket behind nginx, runs the operator's
hooks, and asks the signer on sign.sock for certificates. What it may touch: its settings, its listening
sockets, the signer's socket, and stderr. It holds no key, no ledger and no policy, never opens the
identity's directory, and writes no file. Whoever takes it over can ask what the signer's policy allows,
and nothing else.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click

from frontend.app import METRICS_ROUTES, ROUTES, App, Route
from frontend.edge import Edge
from frontend.hook_loader import load_hooks
from frontend.http_server import HttpServer
from frontend.measured_client import MeasuredClient
from frontend.metrics import Board
from frontend.settings import Address, FrontendSettings, describe_settings, parse_address, read_settings
from frontend.views import CaChain, Services
from frontend.workers import Watchdog, Workers
from protocol.daemon import BACKLOG, inherited_sockets, listen_unix, notify
from protocol.errors import EXIT_CONFIGURATION, ConfigurationError
from protocol.logs import LogHandler, configure_logging

_logger = logging.getLogger(__name__)

_SOCKET_MODE = 0o660  # of a unix socket of our own: for nginx in our group; systemd's units set their own
_METRICS_NAME = "metrics"  # FileDescriptorName= of an inherited socket for /metrics
_PROBE_SECONDS = 3.0  # how long /readyz and /metrics wait for the signer


class Listeners:
    """The listening sockets: for everything, and, if so set, one for /metrics alone."""

    def __init__(self, settings: FrontendSettings) -> None:
        inherited = inherited_sockets()
        self.are_inherited = bool(inherited)
        self.metrics = inherited.pop(_METRICS_NAME, None)
        if len(inherited) > 1:
            raise ConfigurationError(f"systemd hands over several sockets ({', '.join(inherited)}): one is wanted")
        self.http = inherited.popitem()[1] if inherited else _listen(settings.listen, "listen")
        if self.metrics is None and settings.metrics_listen is not None:
            try:
                self.metrics = _listen(settings.metrics_listen, "metrics_listen")
            except ConfigurationError:
                self.http.close()
                raise

    def names(self) -> str:
        """Where they listen, for people."""
        sockets = [self.http] if self.metrics is None else [self.http, self.metrics]
        return " and ".join(_name(listener) for listener in sockets)

    def close(self) -> None:
        """Closes this process's copies. Other processes' stay open."""
        self.http.close()
        if self.metrics is not None:
            self.metrics.close()


def _listen(text: str, key: str) -> socket.socket:
    address: Address = parse_address(text, key)
    if address.path is not None:
        return listen_unix(address.path, _SOCKET_MODE)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"{key}: can't listen at {text}: {error.strerror}") from None


def _name(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Worker:
    """What one serving process does."""

    def __init__(
        self, settings: FrontendSettings, listeners: Listeners, board: Board, log: LogHandler, number: int
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._board = board
        self._log = log
        self._number = number

    def serve(self, on_turn: Callable[[], None], *, parent: int | None = None) -> None:
        """Serves until SIGTERM or SIGINT, or until ``parent``, the process to end with, is gone. ``on_turn`` is called
        at least every second while the loop turns. Raises ``ConfigurationError`` if the hooks can't be loaded."""
        settings = self._settings
        make_hooks = load_hooks(settings.hooks)
        signer = MeasuredClient(settings.sign_socket, self._board, self._number, pool_size=settings.threads)
        probe = MeasuredClient(settings.sign_socket, self._board, self._number, timeout=_PROBE_SECONDS, pool_size=2)
        services = Services(signer, probe, make_hooks, self._board, CaChain(probe))
        server = HttpServer(self._endpoints(services), settings.threads)

        def stop(number: int, frame: FrameType | None) -> None:
            server.stop()

        def turn() -> None:
            self._board.beat(self._number, time.monotonic())
            if parent is not None and os.getppid() != parent:
                server.stop()
            self._log.flush()
            on_turn()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        turn()
        with self._log.collecting():
            server.run(turn, take_waiting=not self._listeners.are_inherited)
        signer.close()
        probe.close()

    def _endpoints(self, services: Services) -> list[tuple[Edge, socket.socket]]:
        listener = self._listeners.metrics
        if listener is None:
            return [(self._edge(services, ROUTES), self._listeners.http)]
        others = tuple(route for route in ROUTES if route not in METRICS_ROUTES)
        return [
            (self._edge(services, others), self._listeners.http),
            (self._edge(services, METRICS_ROUTES), listener),
        ]

    def _edge(self, services: Services, routes: tuple[Route, ...]) -> Edge:
        return Edge(App(services, routes), self._board, self._number, self._settings.trusted_proxy)


def _run(settings: FrontendSettings, log: LogHandler) -> int:
    """Serves until told to stop; returns the exit status. Raises ``ConfigurationError``."""
    board = Board([route.name for route in ROUTES], settings.workers)
    with contextlib.closing(Listeners(settings)) as listeners:
        _logger.info("listening at %s", listeners.names())
        return (_run_one if settings.workers == 1 else _run_many)(settings, listeners, board, log)


def _run_one(settings: FrontendSettings, listeners: Listeners, board: Board, log: LogHandler) -> int:
    watchdog, told = Watchdog(), False

    def on_turn() -> None:
        nonlocal told
        if not told:
            notify("READY=1")
            told = True
        watchdog.ping()

    Worker(settings, listeners, board, log, 0).serve(on_turn)
    return 0


def _run_many(settings: FrontendSettings, listeners: Listeners, board: Board, log: LogHandler) -> int:
    parent = os.getpid()

    def serve(number: int) -> int:
        try:
            Worker(settings, listeners, board, log, number).serve(lambda: None, parent=parent)
        except ConfigurationError as error:
            _say(error)
            return EXIT_CONFIGURATION
        return 0

    return Workers(board, serve, on_stop=listeners.close).run()


def _say(error: ConfigurationError) -> None:
    click.echo(f"ca_frontend: {error}", err=True)


_EPILOG = """\b
Examples:
  ca_frontend                                  with /etc/ca/frontend.toml
  ca_frontend --check-config
  ca_frontend --config ./frontend.toml --listen 127.0.0.1:9000 --workers 2
  DEBUG=1 ca_frontend --config ./frontend.toml
\b
Exit status: 0 ended by SIGTERM or SIGINT, 1 failed, 2 wrong usage, 78 bad configuration.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),  # what can't be read is bad configuration, not wrong usage
    default=Path("/etc/ca/frontend.toml"),
    show_default=True,
    help="The settings.",
)
@click.option("--listen", metavar="ADDRESS", help='In place of the settings\' "listen": HOST:PORT or unix:/PATH.')
@click.option("--workers", type=click.IntRange(1, 64), help='In place of the settings\' "workers": processes.')
@click.option(
    "--check-config", is_flag=True, help="Read the settings, say what they are, and end. Hooks aren't loaded."
)
@click.version_option(package_name="signerd", prog_name="ca_frontend", message="%(prog)s %(version)s")
def main(config: Path, listen: str | None, workers: int | None, check_config: bool) -> None:
    """Serves the certificate authority's HTTP side: takes CSRs, runs the operator's hooks, asks the signer.

    SIGTERM ends it once the requests under way are answered.
    """
    log = configure_logging()
    try:
        settings = read_settings(config).override(listen=listen, workers=workers)
        if check_config:
            click.echo(describe_settings(settings))
            return
        sys.exit(_run(settings, log))
    except ConfigurationError as error:
        _say(error)
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
