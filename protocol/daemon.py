"""What both daemons share on their way up: sockets, inherited or their own, and word to systemd.

The protocols are systemd's: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
"""

import contextlib
import logging
import os
import socket
import stat
from collections.abc import MutableMapping
from pathlib import Path

from protocol.errors import ConfigurationError

_log = logging.getLogger(__name__)

_LISTEN_FDS_START = 3
_PROBE_SECONDS = 1.0  # for another local process to take a connection or a datagram
BACKLOG = 1024  # connections that wait while the daemon restarts; the kernel caps it at somaxconn


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """The listening sockets that systemd hands over, by their FileDescriptorName=. Empty without systemd.

    Removes the variables, lest a child takes the descriptors for its own.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "0")
    names = dict(enumerate(environ.pop("LISTEN_FDNAMES", "").split(":")))
    if pid != str(os.getpid()):
        return {}
    sockets = {}
    for index in range(int(count)):
        descriptor = _LISTEN_FDS_START + index
        os.set_inheritable(descriptor, False)
        sockets[names.get(index) or str(index)] = socket.socket(fileno=descriptor)
    return sockets


def listen_unix(path: str | Path, mode: int, group: int | None = None) -> socket.socket:
    """A listening unix socket at ``path`` with the permission bits ``mode``, never wider even for a moment; of the
    group with the id ``group``, if it is given.

    A stale socket is replaced; anything else at that path is a ``ConfigurationError``.
    """
    path = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(f"{path} exists and is no socket")
        if _answers(path):
            raise ConfigurationError(f"{path} is in use by another process")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
        if group is not None:
            os.chown(path, -1, group, follow_symlinks=False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"can't listen at {path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def _answers(path: Path) -> bool:
    """Whether some process listens there; in doubt it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)  # a process that hangs has a full queue
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def notify(state: str) -> None:
    """Tells systemd the state ("READY=1", "WATCHDOG=1", …); does nothing without systemd.

    A systemd that can't be told is no reason to end, nor to wait for: it is logged.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagram:
            datagram.settimeout(_PROBE_SECONDS)
            datagram.connect("\0" + address[1:] if address[0] == "@" else address)
            datagram.sendall(state.encode())
    except OSError as error:
        _log.warning("systemd was not told %s: %s", state.partition("=")[0], error)


def watchdog_seconds() -> float | None:
    """How often to send "WATCHDOG=1": half of what systemd allows (sd_watchdog_enabled(3)); None: never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    return microseconds / 2_000_000 if microseconds else None
