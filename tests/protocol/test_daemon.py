"""Sockets, inherited or own, and word to systemd: against real sockets and real processes."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.daemon import BACKLOG, inherited_sockets, listen_unix, notify, watchdog_seconds
from protocol.errors import ConfigurationError
from tests.activation import EXEC, NotifySocket
from tests.running import ROOT, short_directory


@pytest.fixture
def directory() -> Iterator[Path]:
    path = short_directory()
    yield path
    subprocess.run(["rm", "-r", path], check=True)


# --- own sockets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_socket_has_the_mode_that_was_asked_for_whatever_the_umask(directory: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        with listen_unix(directory / "s", mode):
            assert stat.S_IMODE((directory / "s").lstat().st_mode) == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_the_mode_is_never_wider_even_for_a_moment(directory: Path) -> None:
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for number in range(3):
                with contextlib.suppress(FileNotFoundError):
                    seen.add(stat.S_IMODE((directory / str(number)).lstat().st_mode))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for number in range(300):
            listen_unix(directory / str(number % 3), 0o600).close()
    finally:
        done.set()
        watcher.join()
    assert seen <= {0o600}


def test_a_stale_socket_is_replaced(directory: Path) -> None:
    listen_unix(directory / "s", 0o600).close()
    with listen_unix(directory / "s", 0o600), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(directory / "s"))


def test_a_socket_that_somebody_listens_at_is_left_alone(directory: Path) -> None:
    with listen_unix(directory / "s", 0o600) as first:
        with pytest.raises(ConfigurationError, match="in use"):
            listen_unix(directory / "s", 0o600)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(directory / "s"))
            first.accept()[0].close()


def test_a_socket_whose_process_hangs_is_left_alone(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung, socket.socket(socket.AF_UNIX) as waiting:
        hung.bind(str(directory / "s"))
        hung.listen(0)
        waiting.connect(str(directory / "s"))  # the queue is full
        with pytest.raises(ConfigurationError, match="in use"):
            listen_unix(directory / "s", 0o600)
        assert (directory / "s").is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "link", "fifo"])
def test_what_is_no_socket_is_never_replaced(directory: Path, kind: str) -> None:
    path, target = directory / "s", directory / "target"
    listen_unix(target, 0o600).close()
    match kind:
        case "file":
            path.touch()
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(target)
        case "fifo":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(ConfigurationError, match=f"{path} exists and is no socket"):
        listen_unix(path, 0o600)
    assert path.lstat() == before


@pytest.mark.parametrize("path", ["missing/s", "x" * 200])
def test_a_path_that_can_t_be_listened_at_is_a_configuration_error_that_names_it(directory: Path, path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        listen_unix(directory / path, 0o600)


def test_connections_wait_while_nobody_accepts(directory: Path) -> None:
    most = min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii")))
    number = min(most, 200)
    with listen_unix(directory / "s", 0o600):
        peers = [socket.socket(socket.AF_UNIX) for _ in range(number)]
        for peer in peers:
            peer.setblocking(False)
            peer.connect(str(directory / "s"))
            peer.close()


# --- inherited sockets ----------------------------------------------------------------------------

# Prints the names and paths of what it inherited, what is left in the environment, and whether a child of
# its own would inherit a descriptor.
INHERIT = """
import os
from protocol.daemon import inherited_sockets
sockets = inherited_sockets()
print({name: (one.getsockname(), one.fileno(), os.get_inheritable(one.fileno())) for name, one in sockets.items()})
print([name for name in os.environ if name.startswith("LISTEN_")], inherited_sockets())
"""


def inherit(directory: Path, **environ: str) -> list[str]:
    with listen_unix(directory / "a", 0o600) as first, listen_unix(directory / "b", 0o600) as second:
        for one in (first, second):
            one.set_inheritable(True)
        moved = [os.dup(one.fileno()) for one in (first, second)]
        command = ["bash", "-c", EXEC, "bash", *map(str, moved), sys.executable, "-c", INHERIT]
        child = subprocess.run(
            command,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
            pass_fds=moved,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for descriptor in moved:
            os.close(descriptor)
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()


def test_inherited_sockets_come_by_name_and_are_not_passed_on(directory: Path) -> None:
    sockets, rest = inherit(directory, LISTEN_FDS="2", LISTEN_FDNAMES="sign:admin")
    assert sockets == str({"sign": (f"{directory}/a", 3, False), "admin": (f"{directory}/b", 4, False)})
    assert rest == "[] {}"


def test_sockets_without_names_are_numbered(directory: Path) -> None:
    sockets, _ = inherit(directory, LISTEN_FDS="2")
    assert sockets == str({"0": (f"{directory}/a", 3, False), "1": (f"{directory}/b", 4, False)})


def test_sockets_that_are_meant_for_another_process_are_left_alone() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "sign:admin", "OTHER": "1"}
    assert inherited_sockets(environ) == {}
    assert environ == {"OTHER": "1"}


def test_without_systemd_nothing_is_inherited() -> None:
    assert inherited_sockets({}) == {}


# --- notifications --------------------------------------------------------------------------------


def test_a_notification_arrives_at_a_path_and_at_an_abstract_name(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with NotifySocket(directory / "n") as at_path:
        monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "n"))
        notify("READY=1")
        assert at_path.next() == "READY=1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0{directory}/n")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{directory}/n")
        notify("STOPPING=1")
        assert abstract.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_notified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize("what", ["gone", "closed", "full"])
def test_a_systemd_that_can_t_be_told_is_no_reason_to_end_or_to_hang(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    path = directory / "n"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with NotifySocket(path) as sink:
        if what == "gone":
            path.unlink()
        elif what == "closed":
            sink.close()
        else:
            fill(path)
        began = time.monotonic()
        notify("WATCHDOG=1")
        assert time.monotonic() - began < 20
    assert "systemd was not told WATCHDOG" in caplog.text


def fill(path: Path) -> None:
    """Sends datagrams that nobody takes until there is no room for more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(BlockingIOError):
        sender.setblocking(False)
        sender.connect(str(path))
        while True:
            sender.send(b"x")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_systemd_asks_for(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert watchdog_seconds() == expected
