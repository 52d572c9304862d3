"""The signer's admin socket, as commands use it: which one it is, and why it can't be used."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused

DEFAULT_SOCKET = "/run/ca/admin.sock"
SOCKET_VARIABLE = "CA_ADMIN_SOCKET"
DEVELOPMENT_SOCKET = "ca-dev/admin.sock"  # where ca_start_dev has it, from where it was started

# A command that revokes a hundred thousand certificates waits for one answer; a person can press Ctrl-C.
_ANSWER_SECONDS = 600.0
_PROBE_SECONDS = 0.5

_WHAT_TO_DO = f"start the signer (systemctl start ca-signerd), or name its socket by --socket or {SOCKET_VARIABLE}"
_WHO_MAY = "only root and the members of the group ca-admin may use it"


@contextlib.contextmanager
def signer_at(path: str, seconds: float = _ANSWER_SECONDS) -> Iterator[SignerClient]:
    """A client of the admin socket at ``path``, closed with the block. If the signer can't be reached, or has not
    answered after so many ``seconds``, the ``Refused`` that leaves the block says what to do about it."""
    client = SignerClient(path, timeout=seconds, pool_size=1)
    try:
        yield client
    except Refused as refusal:
        if refusal.code is ErrorCode.UNAVAILABLE and (why := why_unreachable(path)) is not None:
            raise Refused(ErrorCode.UNAVAILABLE, why) from None
        raise
    finally:
        client.close()


def why_unreachable(path: str) -> str | None:
    """What keeps this process from the socket at ``path``, and what to do; None where nothing does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
            # A peer that the signer admits is waited for; another one's connection is closed at once.
            return None if probe.recv(1) else f"the signer at {path} turned you away: {_WHO_MAY}"
        except TimeoutError:
            return None
        except FileNotFoundError:
            here = f"; here: --socket {DEVELOPMENT_SOCKET}" if Path(DEVELOPMENT_SOCKET).is_socket() else ""
            return f"there is no socket at {path}: {_WHAT_TO_DO}{here}"
        except (ConnectionRefusedError, ConnectionResetError):
            return f"nobody answers at {path}: {_WHAT_TO_DO}"
        except OSError as error:
            why = _WHO_MAY if isinstance(error, PermissionError) else _WHAT_TO_DO
            return f"{path}: {error.strerror or error}: {why}"
