"""Inside the box: tries what somebody who took over a user, or the frontend's process, would try.

    attack.py SIGNER_PID

Prints a JSON object: for each attack, null if it succeeded, else why it didn't. Harmless where it succeeds.
As the hooks module of the frontend it does the same in that process, for the pid in /srv/signer.pid.
"""

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

STATE = "/var/lib/ca"
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def read(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def write(path: str) -> None:
    Path(path).open("r+b").close()


def list_directory(path: str) -> None:
    list(Path(path).iterdir())


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def read_memory(pid: int) -> None:
    process = Path("/proc", str(pid))
    with (process / "maps").open() as maps, (process / "mem").open("rb") as memory:
        memory.seek(int(maps.readline().partition("-")[0], 16))
        memory.read(1)


def trace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, 0, 0)


def take_descriptors(pid: int) -> None:
    for descriptor in Path("/proc", str(pid), "fd").iterdir():
        descriptor.readlink()


def attacks(pid: int) -> dict[str, Callable[[], None]]:
    return {
        "list the identity": lambda: list_directory(STATE),
        "read the key": lambda: read(f"{STATE}/ca.private_key.pem"),
        "read the ledger": lambda: read(f"{STATE}/ledger.db"),
        "write the ledger": lambda: write(f"{STATE}/ledger.db"),
        "read the policy": lambda: read("/etc/ca/signerd.toml"),
        "read the clients' keys": lambda: list_directory("/etc/ca/mac-keys"),
        "read the credential on disk": lambda: read("/etc/credstore.encrypted/ca_passphrase"),
        "read the credential in use": lambda: read("/run/credentials/ca-signerd.service/ca_passphrase"),
        "read the signer's memory": lambda: read_memory(pid),
        "read the signer's environment": lambda: read(f"/proc/{pid}/environ"),
        "see the signer's descriptors": lambda: take_descriptors(pid),
        "trace the signer": lambda: trace(pid),
        "signal the signer": lambda: os.kill(pid, 0),
        "connect to admin.sock": lambda: connect("/run/ca/admin.sock"),
        "connect to sign.sock": lambda: connect("/run/ca/sign.sock"),
        "connect to http.sock": lambda: connect("/run/ca-frontend/http.sock"),
    }


def attempt(attack: Callable[[], None]) -> str | None:
    try:
        attack()
    except OSError as error:
        return error.strerror
    return None


def attempt_all(pid: int) -> str:
    return json.dumps({name: attempt(attack) for name, attack in attacks(pid).items()})


if __name__ == "__main__":
    sys.stdout.write(attempt_all(int(sys.argv[1])) + "\n")
else:
    from frontend.hooks import CsrNotAuthedError, SigningHooksBase

    class Attack(SigningHooksBase):
        """Attacks as the frontend itself, and says in its log how that went."""

        def authorize(self, subject_alt_name_exts: object) -> None:
            pid = int(Path("/srv/signer.pid").read_text())
            sys.stderr.write(f"attack: {attempt_all(pid)}\n")
            raise CsrNotAuthedError("attacked")

    API_CSR_HOOKS_FACTORY = Attack
