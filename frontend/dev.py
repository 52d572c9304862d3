"""ca_start_dev: signer and frontend in the foreground, everything under one directory, for trying things out.

Runs as whoever starts it, and so do both daemons: the wall between them is the processes' alone here, not
that of two users. What is missing in the directory it makes; what is there it uses as it is.
"""

import contextlib
import fcntl
import os
import secrets
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from frontend.settings import parse_address
from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused

_LISTEN = "127.0.0.1:8080"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0

_SIGNER_TOML = """\
# The signer's settings and policy. `ca_signerd --check-config --config THIS_FILE` says what it means;
# `ca_admin --socket {state}/admin.sock reload` puts it in force.

[signer]
identity = "{state}/identity"
ledger = "{state}/ledger.db"
sign_socket = "{state}/sign.sock"
admin_socket = "{state}/admin.sock"
sign_users = ["{uid}"]            # who runs the frontend
base_url = "http://{listen}"      # what certificates say: here are CRL, OCSP and the CA's certificate

[profile.server]
lifetime = "90d"
lifetime_max = "365d"

[quota]
total = "10000/hour"
bytes = "1GiB/day"                # that certificates may add to the ledger
freeze_above = "5000/hour"        # then nothing is issued until `ca_admin thaw`
"""

_FRONTEND_TOML = """\
# The frontend's settings.

listen = "{listen}"
sign_socket = "{state}/sign.sock"
"""

_READY = """
signerd is ready at http://{listen}. In another terminal:

  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\
    -keyout web1.key -out web1.csr -subj /CN=web1.example.net
  curl -sSf -T web1.csr -H 'Accept: application/pem-certificate-chain' -o web1.pem http://{listen}/api/csr/web1
  openssl verify -x509_strict -CAfile {state}/identity/ca.crt.pem web1.pem

The operator's side: {bin}/ca_admin --socket {state}/admin.sock list
The policy: edit {state}/signerd.toml, then the same with reload

Ctrl-C ends it. Everything is kept in {state}.
"""


@contextlib.contextmanager
def _held(state: Path) -> Iterator[None]:
    """The directory ``state``, made if it is missing, for one ca_start_dev alone. Raises OSError or ClickException."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = "--state DIR --listen 127.0.0.1:9000"
            raise click.ClickException(
                f"another ca_start_dev runs in {state}: end that one, or say {other} (make run ARGS='{other}')"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block has ended, for this process and for the children that it starts there."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare(state: Path, listen: str) -> None:
    """Makes what is missing in the directory ``state``: a throw-away identity and the two settings files."""
    values = {"state": state, "listen": listen, "uid": os.getuid()}
    for name, text in (("signerd.toml", _SIGNER_TOML), ("frontend.toml", _FRONTEND_TOML)):
        if not (state / name).exists():
            (state / name).write_text(text.format(**values), encoding="utf-8")
    if not (state / "identity").exists():
        passphrase = state / "passphrase"
        if not passphrase.exists():
            passphrase.touch(mode=0o600)
            passphrase.write_text(secrets.token_urlsafe(24) + "\n", encoding="ascii")
        create = ["-m", "signerd.commands.create_identity", "--path", str(state / "identity")]
        create += ["--passphrase-file", str(passphrase), "-f", "CN", "signerd development CA"]
        if os.geteuid() == 0:
            create += ["--owner", "root"]  # the signer, started by us, runs as root too
        if subprocess.run([sys.executable, *create], check=False, stdout=subprocess.DEVNULL).returncode != 0:
            raise click.ClickException(f"no identity could be made in {state}")


def _refuse_a_port_in_use(listen: str) -> None:
    """Else whoever has it would be taken for our frontend. Raises ``click.ClickException``."""
    try:
        address = parse_address(listen, "listen")
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if address.path is not None:
        raise click.ClickException(f"listen: {listen!r} is no address and port, which certificates could name")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        socket.create_server((address.host, address.port), family=family).close()
    except OSError as error:
        other = "--listen 127.0.0.1:9000"
        why = os.strerror(error.errno or 0)  # its own text names the address again
        raise click.ClickException(
            f"can't listen at {listen}: {why}; say where else by {other} (make run ARGS='{other}')"
        ) from None


@contextlib.contextmanager
def _running(*arguments: str, asks: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of ours as a child, ended with the block.

    Until it has its own way with it, it knows nothing of Ctrl-C, to which it would answer with a traceback: we end it.
    One that ``asks`` a person does, for it has to leave the terminal as it found it.
    """
    before = signal.getsignal(signal.SIGINT) if asks else signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    signal.signal(signal.SIGINT, before)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listener(path: str) -> int:
    """The pid of the process that listens at this unix socket (unix(7), SO_PEERCRED). Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(path)
        pid, _uid, _gid = struct.unpack("@iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


def _wait_until_ready(process: subprocess.Popen[bytes], state: Path, listen: str | None = None) -> bool:
    """Waits for the signer's socket to answer, or, with ``listen``, for the frontend's. False: it ended."""
    path = str(state / "sign.sock")
    client = SignerClient(path, timeout=1.0)
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if listen is None:
                client.ask_describe()
                if _listener(path) != process.pid:  # somebody else's signer, which keeps ours from starting
                    time.sleep(0.05)
                    continue
            else:
                host, _, port = listen.rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except (Refused, OSError) as error:
            if isinstance(error, Refused) and error.code is not ErrorCode.UNAVAILABLE:
                raise
            time.sleep(0.05)
        else:
            client.close()
            return True
    return False


def _settings(path: Path) -> dict[str, Any]:
    """What is in a settings file, if there is one. Raises ``click.ClickException``."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise click.ClickException(f"{path}: {error}") from None


def start(state: Path, wanted: str | None) -> int:
    """Runs both daemons until Ctrl-C, SIGTERM, or one of them ends; returns the exit status.

    ``wanted``: where to listen, if that was said; else frontend.toml says it.
    """
    listen = wanted or str(_settings(state / "frontend.toml").get("listen", _LISTEN))
    _refuse_a_port_in_use(listen)  # before it is written into the settings, and from there into certificates
    with _undisturbed():
        prepare(state, listen)
    base_url = _settings(state / "signerd.toml").get("signer", {}).get("base_url")
    if base_url and base_url != f"http://{listen}":
        click.echo(f"note: certificates will say {base_url}: signer.base_url in {state}/signerd.toml", err=True)
    signer = ["signerd", "--config", str(state / "signerd.toml")]
    knows = (state / "passphrase").exists()
    if knows:
        signer += ["--passphrase-file", str(state / "passphrase")]
    if os.geteuid() == 0:
        signer.append("--allow-root")
    with _running(*signer, asks=not knows) as first:
        if not _wait_until_ready(first, state):
            return 1
        frontend = ["frontend.serve", "--config", str(state / "frontend.toml"), "--listen", listen]
        with _running(*frontend) as second:
            if not _wait_until_ready(second, state, listen):
                return 1
            paths = {"state": shlex.quote(str(state)), "bin": shlex.quote(str(Path(sys.executable).parent))}
            click.echo(_READY.format(listen=listen, **paths))
            _say_what_is_in_the_way(state)
            while first.poll() is None and second.poll() is None:
                time.sleep(0.2)
    return 1


def _say_what_is_in_the_way(state: Path) -> None:
    """A clock that is in doubt after the machine was off for days, say: nothing is issued until it is seen to."""
    with contextlib.closing(SignerClient(str(state / "admin.sock"), timeout=1.0)) as client:
        status = client.ask_status()
    if status.state != "ready":
        click.echo(f"note: nothing is issued, for the signer is {status.state}: {status.detail}", err=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@click.command(
    epilog="""\b
Examples:
  ca_start_dev
  ca_start_dev --state /tmp/ca --listen 127.0.0.1:9000
"""
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("ca-dev"),
    show_default=True,
    help="The directory that everything is kept in.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help=f"Where to serve HTTP; else as frontend.toml says, which is made with {_LISTEN}.",
)
@click.version_option(package_name="signerd", message="%(prog)s %(version)s")
def command(state: Path, listen: str | None) -> None:
    """Starts signer and frontend in the foreground, with all their files under one directory.

    Not for production: both run as you, and the passphrase lies beside the key.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    state = state.resolve()
    try:
        with _held(state):
            sys.exit(start(state, listen))
    except KeyboardInterrupt:
        sys.exit(0)
    except OSError as error:
        raise click.ClickException(f"{error.filename or state}: {error.strerror or error}") from None
    except Refused as refusal:
        raise click.ClickException(refusal.detail) from None


def main() -> None:
    """The entry point of ca_start_dev."""
    command()


if __name__ == "__main__":
    main()
