"""How the signer comes, reloads and goes: as systemd drives it, under load, and no request is lost."""

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from protocol.errors import ErrorCode, Refused
from protocol.messages import CheckRequest, IssueRequest
from tests.activation import ActivatedSigner, NotifySocket
from tests.csrs import csr_for, dns
from tests.identities import PASSPHRASE
from tests.raw_peer import RawPeer
from tests.running import Signer, eventually, short_directory

CSR = csr_for(dns("a.example.net"))
REQUEST = IssueRequest(csr=CSR, client="web1")


@pytest.fixture
def systemd() -> Iterator[NotifySocket]:
    directory = short_directory()
    with NotifySocket(directory / "notify") as sink:
        yield sink
    (directory / "notify").unlink()
    directory.rmdir()


# --- start ----------------------------------------------------------------------------------------


def test_ready_is_said_when_the_sockets_answer_and_not_before(systemd: NotifySocket) -> None:
    signer = Signer(environ=systemd.environ)
    try:
        signer.passphrase_path.unlink()
        os.mkfifo(signer.passphrase_path, 0o600)
        signer.start(wait=False)
        with signer.passphrase_path.open("wb") as pipe:  # it waits for the passphrase now, its sockets bound
            with RawPeer(signer.sign_path, greet=False) as early:
                early.send(early.request("hello", version=1))
                early.socket.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    early.receive()
            with pytest.raises(TimeoutError):
                systemd.next(seconds=0.01)
            pipe.write(PASSPHRASE + b"\n")
        assert systemd.wait_for("READY=1") == []
        with RawPeer(signer.sign_path) as on_sign, RawPeer(signer.admin_path) as on_admin:
            assert on_sign.ask("describe")["state"] == on_admin.ask("describe")["state"] == "ready"
    finally:
        signer.close()


def test_a_signer_that_is_not_handed_both_sockets_does_not_start_and_says_so() -> None:
    signer = ActivatedSigner(names=("sign", "other"))
    try:
        signer.start(wait=False)
        assert signer.wait() == 78
        assert "no socket named 'admin'" in signer.log
        assert "Traceback" not in signer.log
    finally:
        signer.close()


def test_inherited_sockets_are_used_instead_of_its_own_and_left_where_they_are() -> None:
    with ActivatedSigner() as signer:
        inodes = [Path(path).stat().st_ino for path in (signer.sign_path, signer.admin_path)]
        signer.restart()
        assert [Path(path).stat().st_ino for path in (signer.sign_path, signer.admin_path)] == inodes
        assert not (signer.state / "none1").exists()


class LimitedSigner(Signer):
    """One that may open ``soft`` files at once, and can raise that to ``hard``."""

    limits = (1024, 1024)

    def command(self) -> list[str]:
        return ["prlimit", "--nofile={}:{}".format(*self.limits), *super().command()]


def test_a_limit_of_open_files_that_is_too_low_for_its_connections_is_raised_or_said_at_the_start() -> None:
    signer = LimitedSigner()
    signer.limits = (64, 4096)
    with signer, contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(RawPeer(signer.sign_path))
        assert "Too many open files" not in signer.log
    signer = LimitedSigner()
    signer.limits = (64, 64)
    try:
        signer.start(wait=False)
        assert signer.wait() == 78
        assert "LimitNOFILE=" in signer.log
        assert "Traceback" not in signer.log
    finally:
        signer.close()


# --- the watchdog ---------------------------------------------------------------------------------


def test_the_watchdog_is_fed_while_the_loop_turns_and_starves_when_it_hangs(systemd: NotifySocket) -> None:
    allowed = 1.0
    with Signer(environ=systemd.environ | {"WATCHDOG_USEC": str(int(allowed * 1_000_000))}) as signer:
        systemd.wait_for("WATCHDOG=1")
        client = signer.sign()
        began, pings = time.monotonic(), 0
        while time.monotonic() < began + 3 * allowed:
            client.ask_issue(REQUEST)  # a loop that is never quiet must feed it too
            with contextlib.suppress(TimeoutError):
                pings += systemd.next(seconds=0.001) == "WATCHDOG=1"
        assert pings >= 3
        signer.pause()
        assert drain(systemd, seconds=2 * allowed) < 10
        signer.resume()
        systemd.wait_for("WATCHDOG=1")


def drain(systemd: NotifySocket, *, seconds: float) -> int:
    """Takes notifications until none has come for that long, and counts them."""
    for number in itertools.count():
        try:
            systemd.next(seconds=seconds)
        except TimeoutError:
            return number
    raise AssertionError


# --- reload ---------------------------------------------------------------------------------------

ONLY_NET = '[profile.server.names]\ndns = [".example.net"]\n'
ONLY_ORG = '[profile.server.names]\ndns = [".example.org"]\n'


def may_have_net(signer: Signer) -> bool:
    return signer.sign().ask_check(CheckRequest(csr=CSR, client="web1")).allowed


def test_sighup_puts_the_new_policy_in_force_and_tells_systemd(systemd: NotifySocket) -> None:
    with Signer(policy=ONLY_NET, environ=systemd.environ) as signer:
        systemd.wait_for("READY=1")
        pid = signer.pid
        assert may_have_net(signer)
        signer.configure(ONLY_ORG)
        assert may_have_net(signer)
        signer.reload()
        assert not may_have_net(signer)
        assert signer.pid == pid
        said = [line for note in systemd.wait_for("READY=1") for line in note.split("\n")]
        assert "RELOADING=1" in said
        assert any(line.startswith("MONOTONIC_USEC=") for line in said)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_text("[signer\n"),
        lambda path: path.write_text(path.read_text() + "\nunknown = 1\n"),
        lambda path: path.write_text(path.read_text() + '\n[profile.server]\nlifetime = "never"\n'),
        lambda path: path.write_text("x = " + "[" * 10_000),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["no TOML", "an unknown key", "a wrong value", "nested too deep", "no UTF-8", "empty", "missing"],
)
def test_a_broken_file_keeps_the_old_policy_in_force_and_says_so(break_it: Callable[[Path], object]) -> None:
    with Signer(policy=ONLY_NET) as signer:
        break_it(signer.config)
        signer.reload()
        assert "not reloaded, the policy before stays in force: " in signer.log
        assert "Traceback" not in signer.log
        assert may_have_net(signer)
        assert signer.ended is None
        signer.configure(ONLY_ORG)
        signer.reload()
        assert not may_have_net(signer)


def test_reloads_under_load_lose_no_request() -> None:
    with Signer(policy=ONLY_NET) as signer, hammering(signer, threads=4) as load:
        for _ in range(10):
            signer.reload()
        load.wait_for_more(100)
    assert load.refusals == []


# --- the end --------------------------------------------------------------------------------------


class Load:
    """Threads that ask for certificates as fast as they are answered."""

    def __init__(self, signer: Signer) -> None:
        self._client = signer.sign()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: list[bytes] = []  # serial numbers
        self.refusals: list[Refused] = []

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                serial = self._client.ask_issue(REQUEST).serial
            except Refused as refusal:
                with self._lock:
                    self.refusals.append(refusal)
                time.sleep(0.01)
            else:
                with self._lock:
                    self.answers.append(serial)

    def wait_for_more(self, number: int) -> None:
        target = len(self.answers) + number
        eventually(lambda: len(self.answers) >= target, f"{number} more answers ({self.refusals[-3:]})")

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def hammering(signer: Signer, *, threads: int) -> Iterator[Load]:
    """``Load`` while the block runs; all of its threads have ended after it."""
    load = Load(signer)
    with ThreadPoolExecutor(threads) as pool:
        running: list[Future[None]] = [pool.submit(load.run) for _ in range(threads)]
        try:
            yield load
        finally:
            load.stop()
    for one in running:
        one.result()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_at_once_with_status_0_and_tells_systemd(
    systemd: NotifySocket, number: signal.Signals
) -> None:
    with Signer(environ=systemd.environ) as signer:
        systemd.wait_for("READY=1")
        with RawPeer(signer.sign_path) as idle, RawPeer(signer.sign_path, greet=False) as silent:
            with RawPeer(signer.sign_path) as half_way:
                half_way.send(half_way.request("describe")[:9])
                began = time.monotonic()
                signer.send_signal(number)
                assert signer.wait() == 0
                assert time.monotonic() - began < 8  # nobody holds it up for the 10 s that replies may take
            assert idle.is_closed()
            assert silent.is_closed()
        systemd.wait_for("STOPPING=1")
        assert "Traceback" not in signer.log
        assert "Warning" not in signer.log


def test_each_request_that_was_sent_whole_before_the_end_gets_its_answer() -> None:
    with ActivatedSigner() as signer:
        tally = {"sent": 0, "answered": 0}
        lock = threading.Lock()

        def hammer() -> None:
            with RawPeer(signer.sign_path) as peer:
                for _ in itertools.count():
                    batch = [peer.request("issue", csr=CSR, client="web1") for _ in range(8)]
                    sent = 0
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        for one in batch:
                            peer.send(one)
                            sent += 1
                    for _ in range(sent):
                        assert peer.receive()["ok"] is True
                    with lock:
                        tally["sent"] += sent
                        tally["answered"] += sent
                    if sent < len(batch):
                        assert peer.is_closed()
                        return

        with ThreadPoolExecutor(8) as threads:
            running = [threads.submit(hammer) for _ in range(8)]
            eventually(lambda: tally["answered"] > 200, "some load")
            assert signer.stop() == 0
            for one in running:
                one.result()
        assert tally["answered"] == tally["sent"] == signer.recorded() == signer.certificates()


def test_over_five_restarts_with_inherited_sockets_no_request_is_lost_or_done_twice() -> None:
    with ActivatedSigner() as signer:
        with hammering(signer, threads=8) as load:
            for _ in range(5):
                load.wait_for_more(50)
                signer.restart()
            load.wait_for_more(50)
        assert load.refusals == []
        assert len(load.answers) == len(set(load.answers)) == signer.recorded()


def test_over_three_kills_no_answer_is_wrong_and_the_clients_recover_by_themselves() -> None:
    with ActivatedSigner() as signer:
        with hammering(signer, threads=8) as load:
            for _ in range(3):
                load.wait_for_more(50)
                signer.kill()
                signer.start()
            load.wait_for_more(50)
        assert {refusal.code for refusal in load.refusals} <= {ErrorCode.UNAVAILABLE}
        known = {body["serial"] for body in signer.intents().values()}
        assert set(load.answers) <= known
        # What a kill leaves behind is a certificate that is on record, and whose answer was lost with it.
        assert len(known) - len(load.answers) <= len(load.refusals)
        signer.restart()
        assert signer.certificates() == signer.recorded()


def test_a_peer_that_never_reads_holds_the_end_up_for_ten_seconds_at_most() -> None:
    with Signer() as signer, RawPeer(signer.sign_path) as deaf:
        deaf.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                deaf.send(deaf.request("describe"))
        began = time.monotonic()
        assert signer.stop() == 0
        assert time.monotonic() - began < 20


def test_a_stopped_signer_s_own_sockets_are_replaced_by_the_next_one() -> None:
    with Signer() as signer:
        signer.kill()
        assert Path(signer.sign_path).is_socket()
        with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as peer:
            peer.connect(signer.sign_path)
        signer.start()
        assert signer.sign().ask_describe().state == "ready"
