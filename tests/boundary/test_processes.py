"""Two processes with a wall between them, seen from outside: by strace, and by what /proc says of them."""

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509

from tests import certs
from tests.csrs import openssl, openssl_csr
from tests.identities import OTHER_UID, PASSPHRASE, make_old_identity
from tests.running import DEADLINE, ROOT, Daemon, Signer, eventually, needs_root

FRONTEND_UID, SIGNER_UID = OTHER_UID, OTHER_UID + 1
INET_TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6", "packet", "netlink")


def strace(trace: Path, calls: str) -> list[str]:
    """What to put before a command: strace of it and of its children, as a process beside it (-D), not above it."""
    return ["strace", "-D", "-f", "-q", "-s", "4096", "-e", f"trace={calls}", "-o", str(trace)]


def calls_in(trace: Path) -> list[str]:
    """The system calls of a process that has ended."""
    lines: list[str] = []

    def is_complete() -> bool:
        lines[:] = trace.read_text().splitlines()
        return bool(lines) and "+++" in lines[-1]

    eventually(is_complete, "the end of the trace")
    return lines


class Frontend(Daemon):
    """``ca_frontend`` before a signer, under strace from its first instruction on where ``traced``.

    ``hooks``: the source of an operator's module.
    """

    def __init__(self, signer: Signer, *, uid: int | None = None, traced: bool = False, hooks: str = "") -> None:
        super().__init__(uid=uid)
        self.trace = self.state / "trace"
        self._traced = traced
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.config = self.state / "frontend.toml"
        self.config.write_text(f'listen = "127.0.0.1:{self.port}"\nsign_socket = "{signer.sign_path}"\n')
        if hooks:
            (self.state / "operators_hooks.py").write_text(hooks)
            self.environ["PYTHONPATH"] = f"{ROOT}:{self.state}"
            self.config.write_text(self.config.read_text() + 'hooks = "operators_hooks"\n')
        if uid is not None:
            self.state.chmod(0o755)

    def command(self) -> list[str]:
        frontend = [sys.executable, "-m", "frontend.serve", "--config", str(self.config)]
        return [*strace(self.trace, "%file,connect"), *frontend] if self._traced else frontend

    def answers(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def request(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def certificate(self, directory: Path, key_type: str = "p256") -> x509.Certificate:
        """A certificate by HTTP, for a CSR made by openssl."""
        der = openssl_csr(directory, key_type)
        (directory / "csr.der").write_bytes(der)
        pem = openssl("req", "-inform", "DER", "-in", directory / "csr.der")
        status, body = self.request("PUT", "/api/csr/web1", pem)
        assert status == 200, body
        return x509.load_pem_x509_certificate(json.loads(body)["signed_x509_pem"].encode())

    def paths(self) -> set[str]:
        """Every path that a system call of the process named; the process has ended."""
        return {path for line in calls_in(self.trace) for path in re.findall(r'"(/[^"]*)"', line)}


def ca_certificate_of(signer: Signer) -> x509.Certificate:
    return x509.load_pem_x509_certificate((signer.identity / "ca.crt.pem").read_bytes())


@pytest.fixture
def house() -> Iterator[tuple[Signer, Frontend]]:
    """Both, as in production: each as a user of its own."""
    with (
        Signer(uid=SIGNER_UID, sign_users=[str(FRONTEND_UID)]) as signer,
        Frontend(signer, uid=FRONTEND_UID) as frontend,
    ):
        yield signer, frontend


# --- what the frontend touches --------------------------------------------------------------------


def forbidden(signer: Signer, paths: set[str]) -> set[str]:
    """Those of the paths that are behind the wall."""
    behind = (signer.identity, signer.ledger_path, signer.passphrase_path, signer.config, signer.admin_path)
    prefixes = (*map(str, behind), f"{ROOT}/signerd/")
    return {path for path in paths if path.startswith(prefixes)}


def test_the_frontend_opens_nothing_of_the_identity_and_the_ledger_and_imports_nothing_of_the_signer(
    tmp_path: Path,
) -> None:
    with Signer() as signer, Frontend(signer, traced=True) as frontend:
        for key_type in ("p256", "rsa2048", "ed25519"):
            certificate = frontend.certificate(tmp_path, key_type)
            certs.assert_verifies_with_openssl(certificate, ca_certificate_of(signer))
        assert frontend.request("PUT", "/api/csr/web1", b"nonsense")[0] == 400
        for target in ("/ping", "/ca.pem", "/chain.pem", "/metrics", "/nothing"):
            frontend.request("GET", target)
        assert frontend.stop() == 0
        paths = frontend.paths()
        assert {str(frontend.config), signer.sign_path} <= paths
        assert any(path.startswith(f"{ROOT}/frontend/") for path in paths)
        assert forbidden(signer, paths) == set()


@pytest.mark.parametrize(
    ("breach", "found"),
    [
        ("import signerd.policy.names", "/signerd/policy/"),
        ("open('{identity}/ca.private_key.pem', 'rb').close()", "/identity/ca.private_key.pem"),
        ("__import__('os').stat('{ledger}')", "/ledger.db"),
        ("__import__('socket').socket(1).connect('{admin}')", "/admin.sock"),
    ],
)
def test_a_frontend_that_did_would_be_found_out(tmp_path: Path, breach: str, found: str) -> None:
    with Signer() as signer:
        line = breach.format(identity=signer.identity, ledger=signer.ledger_path, admin=signer.admin_path)
        hooks = f"def API_CSR_HOOKS_FACTORY(*_):\n    {line}\n    raise SystemError\n"
        with Frontend(signer, traced=True, hooks=hooks) as frontend:
            with pytest.raises(AssertionError, match="500"):
                frontend.certificate(tmp_path)
            frontend.stop()
            assert any(found in path for path in forbidden(signer, frontend.paths()))


@needs_root
def test_the_frontends_user_gets_at_nothing_behind_the_wall_and_certificates_come_all_the_same(
    house: tuple[Signer, Frontend], tmp_path: Path
) -> None:
    signer, frontend = house
    certs.assert_verifies_with_openssl(frontend.certificate(tmp_path), ca_certificate_of(signer))
    secrets = [signer.identity / "ca.private_key.pem", signer.ledger_path, signer.passphrase_path, signer.identity]
    secrets += [Path(f"/proc/{signer.pid}/{name}") for name in ("environ", "mem", "maps", "fd")]
    code = f"""
import os, signal, socket
def refused(what, *arguments):
    try:
        what(*arguments)
    except PermissionError:
        return
    raise SystemExit(f"{{arguments}} was let through")
for path in {[str(path) for path in secrets]!r}:
    refused(os.open, path, os.O_RDONLY)
refused(os.kill, {signer.pid}, signal.SIGTERM)
refused(socket.socket(socket.AF_UNIX).connect, {signer.admin_path!r})
"""
    done = run_as(FRONTEND_UID, code)
    assert done.returncode == 0, done.stdout + done.stderr
    assert signer.ended is None


@needs_root
def test_where_the_permission_bits_let_the_frontends_user_in_the_kernels_word_about_it_does_not(
    house: tuple[Signer, Frontend],
) -> None:
    signer, _ = house
    admin = Path(signer.admin_path)
    mode = admin.stat().st_mode
    admin.chmod(0o666)
    code = f"""
import socket
admin = socket.socket(socket.AF_UNIX)
admin.connect({signer.admin_path!r})
assert admin.recv(1) == b"", "admin.sock answers"
"""
    done = run_as(FRONTEND_UID, code)
    admin.chmod(mode)
    assert done.returncode == 0, done.stdout + done.stderr
    signer.wait_for_log(f"uid {FRONTEND_UID} may not connect to admin.sock")


def run_as(uid: int, code: str) -> subprocess.CompletedProcess[str]:
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    return subprocess.run(
        [*drop, sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=60, check=False
    )


# --- what the signer is ---------------------------------------------------------------------------


def socket_inodes(pid: int) -> set[str]:
    """The inodes of the sockets that a process holds."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}


def inodes_in(pid: int, table: str) -> set[str]:
    """The inodes of all sockets in a table of the process's network namespace; proc(5) has their columns."""
    path = Path(f"/proc/{pid}/net/{table}")
    return set(path.read_text().split()) if path.exists() else set()


@needs_root
def test_the_signer_holds_unix_sockets_and_no_others(house: tuple[Signer, Frontend], tmp_path: Path) -> None:
    signer, frontend = house
    with ExitStack() as stack:
        for _ in range(3):  # while it serves
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", frontend.port)))
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: ca\r\n\r\n")
            assert connection.recv(16) == b"HTTP/1.1 200 OK\r"
        frontend.certificate(tmp_path)
        held = socket_inodes(signer.pid)
        assert len(held) >= 4  # two that listen, a pair that wakes it, and the frontend's connection
        assert held <= inodes_in(signer.pid, "unix")
        for table in INET_TABLES:
            assert not held & inodes_in(signer.pid, table), table
        # The same look at the frontend finds what it listens on.
        assert socket_inodes(frontend.pid) & inodes_in(frontend.pid, "tcp")


def test_the_signer_never_asks_for_a_socket_that_is_not_a_unix_one(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class TracedSigner(Signer):
        def command(self) -> list[str]:
            return [*strace(trace, "socket,socketpair"), *super().command()]

    with TracedSigner() as signer, Frontend(signer) as frontend:
        frontend.certificate(tmp_path)
        assert signer.stop() == 0
    calls = [call for call in calls_in(trace) if "socket" in call]
    assert len(calls) >= 3
    assert [call for call in calls if "AF_UNIX" not in call] == []


@needs_root
def test_the_signers_memory_and_core_are_nobodys(house: tuple[Signer, Frontend]) -> None:
    signer, frontend = house
    # proc(5): what is not dumpable belongs to root there, also to its own user's dismay.
    assert Path(f"/proc/{signer.pid}/environ").stat().st_uid == 0
    assert Path(f"/proc/{frontend.pid}/environ").stat().st_uid == FRONTEND_UID
    limits = Path(f"/proc/{signer.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits
    assert re.search(r"^NoNewPrivs:\t1$", Path(f"/proc/{signer.pid}/status").read_text(), re.MULTILINE)
    for name in ("mem", "environ", "maps"):
        done = run_as(SIGNER_UID, f"open('/proc/{signer.pid}/{name}', 'rb')")
        assert "PermissionError" in done.stderr


@needs_root
def test_no_passphrase_is_in_the_signers_environment_or_arguments_however_it_came() -> None:
    class ByEnvironment(Signer):
        def command(self) -> list[str]:
            command = super().command()
            at = command.index("--passphrase-file")
            return command[:at] + command[at + 2 :]

    with ByEnvironment(environ={"CA_PASSPHRASE": PASSPHRASE.decode(), "KEPT": "as it is"}) as signer:
        shown = [Path(f"/proc/{signer.pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
        assert b"KEPT=as it is" in shown[0]
        assert not any(PASSPHRASE in text for text in shown)
        assert PASSPHRASE.decode() not in signer.log
    with Signer() as by_file:
        shown = [Path(f"/proc/{by_file.pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
        assert not any(PASSPHRASE in text for text in shown)


# --- for trying things out ------------------------------------------------------------------------


class Development(Daemon):
    """``ca_start_dev``."""

    def __init__(self) -> None:
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def command(self) -> list[str]:
        listen = ["--listen", f"127.0.0.1:{self.port}"]
        return [sys.executable, "-m", "frontend.dev", "--state", str(self.state / "ca"), *listen]

    def answers(self) -> bool:
        return "signerd is ready at" in self.log

    def children(self) -> dict[int, str]:
        """The command lines of its child processes, by pid."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                if parent == self.pid:
                    found[int(stat.parent.name)] = stat.with_name("cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found


def test_the_development_server_is_two_processes_and_ends_both() -> None:
    with Development() as development:
        children = development.children()
        assert len(children) == 2
        [signer] = [pid for pid, command in children.items() if " -m signerd " in command]
        [frontend] = [pid for pid, command in children.items() if " -m frontend.serve " in command]
        assert signer != frontend
        development.stop()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "both have ended")


# --- an identity of 2014 --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ca.cert.pem", "ca.crt.pem"])
def test_an_identity_made_by_the_old_recipe_is_adopted_and_signs_through_http(tmp_path: Path, name: str) -> None:
    class OldSigner(Signer):
        def start(self, *, wait: bool = True) -> None:
            for path in self.identity.iterdir():
                path.unlink()
            self.identity.rmdir()
            make_old_identity(self.identity)
            (self.identity / "ca.cert.pem").rename(self.identity / name)
            super().start(wait=wait)

    with OldSigner() as signer:
        key = (signer.identity / "ca.private_key.pem").read_text()
        assert "Proc-Type: 4,ENCRYPTED" in key
        assert "DEK-Info: AES-128-CBC" in key
        ca = x509.load_pem_x509_certificate((signer.identity / name).read_bytes())
        with Frontend(signer) as frontend:
            for key_type in ("rsa2048", "p256", "p384", "ed25519"):
                certificate = frontend.certificate(tmp_path, key_type)
                certs.assert_is_leaf(certificate)
                # The CA's certificate of that time is too old for -x509_strict: it has no keyUsage.
                done = certs.openssl_verify([certificate], ca, "-purpose", "sslserver", strict=False)
                assert done.returncode == 0, done.stdout + done.stderr
                assert certificate.issuer == ca.subject
            status, pem = frontend.request("GET", "/ca.pem")
            assert (status, x509.load_pem_x509_certificate(pem)) == (200, ca)
