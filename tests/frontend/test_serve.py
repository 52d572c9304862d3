"""The process: its command line, where it listens, how it ends, and what systemd hears of it."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from frontend.http_server import DRAIN_IDLE_SECONDS, DRAIN_PARTIAL_SECONDS
from tests.frontend.conftest import StartFrontend
from tests.frontend.running import Asking, Frontend, Response, ask, children
from tests.frontend.signer_stub import SignerStub, make_csr
from tests.identities import OTHER_UID
from tests.running import DEADLINE, ROOT, eventually, needs_root

PEM = make_csr("a.example.net")[1].public_bytes(Encoding.PEM)
MAIN = [sys.executable, "-W", "error", "-m", "frontend.serve"]


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """The command, run to its end."""
    return subprocess.run([*MAIN, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=DEADLINE)


# --- the command line ---------------------------------------------------------------------------


def test_help_shows_examples_and_version_the_version() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert "Examples:" in shown.stdout
    assert run("--version").stdout == "ca_frontend 1.0.0\n"


@pytest.mark.parametrize("arguments", [["--lisen", "x"], ["--workers", "0"], ["--workers", "many"], ["extra"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_bad_configuration_exits_with_78_and_one_clear_line(directory: Path) -> None:
    config = directory / "frontend.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        for text, named in (
            ("thread = 1", "unknown key thread"),
            ("listen = 'unix:/nonexistent/http.sock'", "/nonexistent/http.sock"),
            (f"listen = '{busy}'", f"listen: can't listen at {busy}: Address already in use"),
            (f"listen = '127.0.0.1:0'\nmetrics_listen = '{busy}'", f"metrics_listen: can't listen at {busy}"),
            (f"listen = 'unix:{config}'", "is no socket"),
            ("listen = '127.0.0.1:0'\nhooks = 'no.such.module'", "no.such.module"),
        ):
            config.write_text(text)
            done = run("--config", config)
            assert done.returncode == 78, done
            said = [line for line in done.stderr.splitlines() if "INFO" not in line]
            assert len(said) == 1, done
            assert named in said[0]


@needs_root
def test_settings_that_it_may_not_read_are_bad_configuration(directory: Path) -> None:
    config = directory / "frontend.toml"
    config.touch(mode=0o600)
    directory.chmod(0o755)
    as_other = ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups"]
    command = [*as_other, *MAIN, "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert (done.returncode, done.stderr) == (78, f"ca_frontend: {config}: can't be read: Permission denied\n")


def test_check_config_says_what_the_settings_are_and_listens_nowhere(directory: Path) -> None:
    config = directory / "frontend.toml"
    config.write_text(f"listen = 'unix:{directory}/http.sock'\nhooks = 'no.such.module'\n")
    done = run("--config", config, "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"listen: unix:{directory}/http.sock\n" in done.stdout
    assert "threads: 64\n" in done.stdout
    assert not (directory / "http.sock").exists()
    config.write_text("thread = 1")
    done = run("--config", config, "--check-config")
    assert (done.returncode, done.stdout) == (78, "")
    assert "unknown key thread" in done.stderr


# --- where it listens ---------------------------------------------------------------------------


def test_it_listens_on_a_unix_socket_that_its_group_may_connect_to(directory: Path, signer: SignerStub) -> None:
    path = directory / "http.sock"
    for _ in range(2):  # the second time over the stale socket of the first
        with Frontend(signer.path, listen=f"unix:{path}") as frontend:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert frontend.put_csr(PEM).status == 200
            frontend.wait_for_log(r"PUT /api/csr/web1 200 \S+ ms unix$(?m:)")


def test_it_listens_by_ipv6(start_frontend: StartFrontend) -> None:
    frontend = start_frontend(listen="[::1]:0")
    assert frontend.url.startswith("http://[::1]:")
    assert frontend.put_csr(PEM).status == 200


def test_the_command_line_beats_the_settings(start_frontend: StartFrontend, directory: Path) -> None:
    frontend = start_frontend("--listen", f"unix:{directory}/http.sock", "--workers", "2")
    assert frontend.listening == f"unix:{directory}/http.sock"
    assert len(children(frontend)) == 2


class Activated(Frontend):
    """Started as systemd starts it, with listening sockets by name."""

    def __init__(self, sign_socket: Path, sockets: dict[str, socket.socket], **settings: Any) -> None:
        super().__init__(sign_socket, **settings)
        self._sockets = sockets

    def spawn(self, log: int) -> "subprocess.Popen[bytes]":
        # Descriptors from 3 on, and the process's own id in LISTEN_PID (sd_listen_fds(3)).
        given = [s.fileno() for s in self._sockets.values()]
        moved = " ".join(f"{100 + i}<&{fd}" for i, fd in enumerate(given))
        placed = " ".join(f"{3 + i}<&{100 + i}" for i in range(len(given)))
        script = f'exec {moved}; exec {placed}; export LISTEN_PID=$$; exec "$@"'
        names = {"LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": ":".join(self._sockets)}
        return subprocess.Popen(
            ["bash", "-c", script, "bash", *self.command()],
            cwd=ROOT,
            env={**os.environ, **self.environ, **names},
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def test_sockets_inherited_from_systemd_beat_the_settings(directory: Path, signer: SignerStub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as metrics:
        inherited = {"http": http, "metrics": metrics}
        with Activated(signer.path, inherited, listen=f"unix:{directory}/unused") as frontend:
            assert frontend.url == f"http://127.0.0.1:{http.getsockname()[1]}"
            assert frontend.put_csr(PEM).status == 200
            assert frontend.request("GET", "/metrics").status == 404
            with frontend.session(f"http://127.0.0.1:{metrics.getsockname()[1]}") as session:
                assert ask(session, "GET", "/metrics").status == 200
            assert not (directory / "unused").exists()


def test_more_sockets_than_it_knows_what_to_do_with_are_refused(signer: SignerStub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        frontend = Activated(signer.path, {"one": one, "other": other})
        try:
            frontend.start(wait=False)
            assert frontend.wait() == 78
            assert "several sockets (one, other)" in frontend.log
        finally:
            frontend.close()


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_are_answered_before_it_ends(
    start_frontend: StartFrontend, signer: SignerStub, number: signal.Signals, workers: int
) -> None:
    frontend = start_frontend(workers=workers)
    signer.go_on.clear()
    asking = [Asking(frontend, PEM) for _ in range(3)]
    eventually(lambda: len(signer.issue_requests()) == 3, "three requests at the signer")
    frontend.send_signal(number)
    eventually(lambda: not accepts(frontend), "an end of new connections")
    assert frontend.ended is None
    signer.go_on.set()
    for thread in asking:
        thread.join(DEADLINE)
        assert thread.answer.startswith(b"HTTP/1.1 200 "), thread.answer
        assert b"signed_x509_pem" in thread.answer
    assert frontend.wait() == 0


def accepts(frontend: Frontend) -> bool:
    try:
        frontend.connect().close()
    except ConnectionError:  # refused, or reset by the end of the listening socket just then
        return False
    return True


def test_a_kept_connection_is_served_once_more_while_it_ends_and_told_to_close(
    start_frontend: StartFrontend, signer: SignerStub
) -> None:
    frontend = start_frontend()
    with frontend.session() as session:
        assert "Connection" not in ask(session, "GET", "/ping").headers
        frontend.send_signal(signal.SIGTERM)
        eventually(lambda: not accepts(frontend), "an end of new connections")
        last = ask(session, "GET", "/ping")
        assert last.status == 200
        assert last.headers["Connection"] == "close"
    assert frontend.wait() == 0


def test_idle_and_half_open_connections_hold_up_the_end_for_a_few_seconds_only(start_frontend: StartFrontend) -> None:
    frontend = start_frontend()
    with frontend.session() as idle, frontend.connect() as half, frontend.connect():
        ask(idle, "GET", "/ping")
        half.sendall(b"PUT /api/csr/web1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nMII")
        frontend.send_signal(signal.SIGTERM)
        assert frontend.wait(seconds=DRAIN_IDLE_SECONDS + DRAIN_PARTIAL_SECONDS + DEADLINE) == 0


def test_a_restart_under_load_loses_no_request(signer: SignerStub) -> None:
    answers: list[Response] = []
    enough = threading.Event()

    def load(first: Frontend) -> None:
        while not enough.is_set():
            with first.session() as session:
                closed = False
                while not closed and not enough.is_set():
                    answer = ask(session, "PUT", "/api/csr/web1", PEM)
                    answers.append(answer)
                    closed = answer.headers.get("Connection") == "close"

    with (
        socket.create_server(("127.0.0.1", 0)) as http,
        Activated(signer.path, {"http": http}) as first,
        Activated(signer.path, {"http": http}, workers=2) as second,
    ):
        assert second.stop() == 0  # it was a rehearsal: the first serves alone now
        clients = [threading.Thread(target=load, args=(first,)) for _ in range(4)]
        for client in clients:
            client.start()
        for old, new in ((first, second), (second, first)):
            served = len(answers)
            eventually(lambda served=served: len(answers) > served + 50, "answers")  # type: ignore[misc]
            old.send_signal(signal.SIGTERM)
            assert old.wait() == 0
            new.start()
        enough.set()
        for client in clients:
            client.join(DEADLINE)
        assert len(answers) > 100
        assert {answer.status for answer in answers} == {200}
