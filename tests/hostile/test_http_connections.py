"""Clients that hold connections: they cost a bounded amount, and others don't notice."""

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from frontend import connections, http_server
from frontend.app import ROUTES, App
from frontend.edge import Edge
from frontend.http_server import CONNECTIONS_MAX, HttpServer
from frontend.metrics import Board
from frontend.views import CaChain, Services
from protocol.client import SignerClient
from tests.frontend.running import Frontend, ask, connect_to, read_all, status_of
from tests.frontend.signer_stub import SignerStub, make_csr
from tests.running import DEADLINE, eventually

PEM = make_csr("a.example.net")[1].public_bytes(Encoding.PEM)
HEAD = b"PUT /api/csr/web1 HTTP/1.1\r\nHost: x\r\n"
SOON = 10.0  # seconds: what is not held up takes milliseconds, and what is, a minute and more
MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def _many_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))


@contextlib.contextmanager
def half_open(frontend: Frontend, number: int, data: bytes) -> Iterator[list[socket.socket]]:
    """That many connections on which ``data`` was sent and nothing follows."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(frontend.connect()) for _ in range(number)]
        for connection in opened:
            with contextlib.suppress(ConnectionError):  # it had to make room
                connection.sendall(data)
        yield opened


def assert_others_are_served(frontend: Frontend) -> None:
    began = time.monotonic()
    for _ in range(20):
        assert frontend.put_csr(PEM).status == 200
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("data", [b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\nMII"])
def test_150_half_open_connections_hold_up_nobody(frontend: Frontend, data: bytes) -> None:
    with half_open(frontend, 150, data):
        assert_others_are_served(frontend)


def test_more_half_open_connections_than_there_is_room_for_hold_up_nobody_and_cost_a_bounded_amount(
    frontend: Frontend, signer: SignerStub
) -> None:
    memory = frontend.memory()
    with frontend.session() as kept:
        signer.go_on.clear()
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(ask(kept, "PUT", "/api/csr/kept", PEM).status))
        asking.start()
        eventually(lambda: len(signer.issue_requests()) == 1, "a request under way")
        with half_open(frontend, CONNECTIONS_MAX + 200, HEAD):
            signer.go_on.set()
            assert_others_are_served(frontend)
            assert frontend.descriptors() < CONNECTIONS_MAX + 100
            assert frontend.memory() - memory < 60 * MEGABYTE
        asking.join(DEADLINE)
        assert answers == [200]  # who is being served is not the one to make room


def test_a_client_that_never_reads_its_replies_costs_a_bounded_amount(frontend: Frontend) -> None:
    memory = frontend.memory()
    with frontend.connect() as connection:
        connection.settimeout(2)
        with contextlib.suppress(TimeoutError):  # the frontend stops reading: that is the point
            for _ in range(400):
                connection.sendall(b"GET /chain.pem HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        assert_others_are_served(frontend)
        assert frontend.memory() - memory < 60 * MEGABYTE


@pytest.fixture
def impatient(signer: SignerStub, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the same server listens, in this process, with its patience of seconds cut to one."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1)
    monkeypatch.setattr(connections, "LINGER_SECONDS", 1)
    monkeypatch.setitem(http_server.LIMITS, "channel_timeout", 1)
    monkeypatch.setitem(http_server.LIMITS, "cleanup_interval", 0)
    client = SignerClient(str(signer.path))
    board = Board([route.name for route in ROUTES], 1)
    services = Services(client, client, None, board, CaChain(client))
    listener = socket.create_server(("127.0.0.1", 0))
    where = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = HttpServer([(Edge(App(services, ROUTES), board, 0, None), listener)], threads=2)
    thread = threading.Thread(target=server.run, args=(lambda: None,), kwargs={"take_waiting": True})
    thread.start()
    yield where
    server.stop()
    thread.join(DEADLINE)
    client.close()


def assert_cut_off(connection: socket.socket, data: bytes) -> None:
    """Whoever goes on sending ``data`` finds the connection closed."""

    def is_closed() -> bool:
        try:
            connection.sendall(data)
        except ConnectionError:
            return True
        time.sleep(0.1)
        return False

    eventually(is_closed, "an end of the connection")


@pytest.mark.parametrize(
    "start", [b"", HEAD, HEAD + b"Content-Length: 60000\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_who_sends_a_request_in_a_trickle_is_cut_off(impatient: str, start: bytes) -> None:
    with connect_to(impatient) as connection:
        connection.sendall(start or b"P")
        trickle = b"1\r\nx\r\n" if start.endswith(b"chunked\r\n\r\n") else b"x"
        assert_cut_off(connection, trickle)


def test_who_connects_and_says_nothing_is_cut_off(impatient: str) -> None:
    with connect_to(impatient) as silent, connect_to(impatient) as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status_of(idle.recv(65536)) == 200
        assert read_all(silent) == b""
        assert read_all(idle) == b""


def test_who_goes_on_sending_after_a_refusal_is_cut_off(impatient: str) -> None:
    with connect_to(impatient) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n")
        assert_cut_off(connection, b"x" * 1000)
