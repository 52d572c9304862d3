"""Several workers behind one socket, and what systemd hears of one or many."""

import itertools
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.frontend.conftest import StartFrontend
from tests.frontend.running import Asking, children
from tests.frontend.signer_stub import make_csr
from tests.running import DEADLINE, eventually

PEM = make_csr("a.example.net")[1].public_bytes(Encoding.PEM)


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(start_frontend: StartFrontend) -> None:
    frontend = start_frontend(workers=2)
    first, second = children(frontend)
    os.kill(first, signal.SIGKILL)
    frontend.wait_for_log(r"worker \d ended with status -9; the next starts in 0\.5 s")
    assert frontend.put_csr(PEM).status == 200
    eventually(lambda: len(children(frontend)) == 2, "a new worker")
    assert second in children(frontend)
    assert first not in children(frontend)
    assert frontend.put_csr(PEM).status == 200
    assert frontend.stop() == 0


def test_a_worker_that_dies_at_once_is_replaced_ever_more_slowly(start_frontend: StartFrontend) -> None:
    frontend = start_frontend(workers=1 + 1)
    for pause in ("0.5", "1.0"):
        victim = children(frontend)[-1]
        os.kill(victim, signal.SIGKILL)
        frontend.wait_for_log(rf"worker \d ended with status -9; the next starts in {pause} s")
        eventually(lambda: len(children(frontend)) == 2, "a new worker")


def test_workers_do_not_outlive_their_parent(start_frontend: StartFrontend) -> None:
    frontend = start_frontend(workers=2)
    workers = children(frontend)
    frontend.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of the workers")


def test_the_parent_of_workers_reads_no_hooks_and_holds_no_connection(start_frontend: StartFrontend) -> None:
    frontend = start_frontend(
        workers=2, hooks="import os\nAPI_CSR_HOOKS_FACTORY = SigningHooksBase\nprint('IN', os.getpid())\n"
    )
    assert len(children(frontend)) == 2
    assert f"IN {frontend.pid}" not in frontend.log


# --- what systemd hears -------------------------------------------------------------------------


@pytest.fixture
def notices(directory: Path) -> Iterator[socket.socket]:
    """systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(directory / "notify"))
        end.settimeout(DEADLINE)
        yield end


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told_when_it_serves_and_hears_the_watchdogs_ping(
    start_frontend: StartFrontend, notices: socket.socket, workers: int
) -> None:
    environ = {"NOTIFY_SOCKET": notices.getsockname(), "WATCHDOG_USEC": "100000"}
    frontend = start_frontend(workers=workers, environ=environ)
    heard = [notices.recv(100) for _ in range(4)]
    assert heard.count(b"READY=1") == 1
    assert heard.count(b"WATCHDOG=1") == 3
    assert frontend.put_csr(PEM).status == 200


HANG_SECONDS = 4
HANGING = """
import ctypes, pathlib
class API_CSR_HOOKS_FACTORY(SigningHooksBase):
    def authorize(self, names):
        pathlib.Path(STATE, "hangs").touch()
        ctypes.PyDLL(None).sleep(HANG)  # PyDLL keeps the interpreter's lock: nothing else in the process runs
        pathlib.Path(STATE, "goes on").touch()
"""


def test_the_watchdog_hears_nothing_while_the_serving_loop_hangs(
    start_frontend: StartFrontend, notices: socket.socket, directory: Path
) -> None:
    environ = {"NOTIFY_SOCKET": notices.getsockname(), "WATCHDOG_USEC": "100000"}
    frontend = start_frontend(environ=environ, hooks=f"STATE, HANG = {str(directory)!r}, {HANG_SECONDS}\n{HANGING}")
    asking = Asking(frontend, PEM)
    eventually((directory / "hangs").exists, "the hang")
    heard_at = [time.monotonic()]
    while heard_at[-1] < heard_at[0] + HANG_SECONDS + 1:
        notices.recv(100)
        heard_at.append(time.monotonic())
    longest = max(after - before for before, after in itertools.pairwise(heard_at))
    assert longest > HANG_SECONDS - 1.5  # the loop turns, and hence pings, each second
    frontend.send_signal(signal.SIGTERM)  # ends the kept connection, too
    asking.join(DEADLINE)
    assert asking.answer.startswith(b"HTTP/1.1 200 ")
