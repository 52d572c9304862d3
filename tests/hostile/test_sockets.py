"""Peers that mean harm, on both sockets: each costs the signer a bounded amount, and others don't notice.

The limits that the tests rest on are the signer's own (signerd/connection.py, signerd/server.py).
"""

import array
import contextlib
import grp
import itertools
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from protocol.client import SignerClient
from protocol.messages import IssueRequest, Socket
from protocol.wire import FRAME_BYTES_MAX
from signerd.connection import CONNECTIONS_MAX, FRAME_SECONDS, HELLO_SECONDS, REPLY_SECONDS, RESERVED
from tests.csrs import csr_for, dns
from tests.identities import OTHER_UID
from tests.raw_peer import RawPeer, frame
from tests.running import ROOT, Signer, eventually, needs_root

CSR = csr_for(dns("a.example.net"))
REQUEST = IssueRequest(csr=CSR, client="web1")
MIB = 2**20
PATIENCE = 5.0  # seconds for one request while others attack: a thousand times what it takes in peace
PATHS = {Socket.SIGN: "sign_path", Socket.ADMIN: "admin_path"}
BOTH = pytest.mark.parametrize("where", Socket)


@pytest.fixture
def signer() -> Iterator[Signer]:
    """A signer of the test's own, which it must leave alive, able to answer, and no larger than it should be."""
    with Signer() as signer:
        signer.sign().ask_issue(REQUEST)
        yield signer
        assert signer.ended is None
        assert signer.sign().ask_issue(REQUEST).certificate
        assert "Traceback" not in signer.log


class Bystander:
    """An honest client that keeps asking while others misbehave, and remembers its longest wait."""

    def __init__(self, client: SignerClient) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = 0
        self.longest = 0.0  # seconds
        self.trouble: Exception | None = None

    def _run(self) -> None:
        while not self._stop.is_set() and self.trouble is None:
            began = time.monotonic()
            try:
                self._client.ask_issue(REQUEST)
            except Exception as error:
                self.trouble = error
            self.answered += 1
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.005)

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()
        assert self.trouble is None, self.trouble
        assert self.answered > 0
        assert self.longest < PATIENCE


def send_all_it_takes(peer: RawPeer, data: Iterator[bytes]) -> int:
    """Sends until the peer's buffers and the signer's are full; the number of bytes that went."""
    peer.socket.setblocking(False)
    sent = 0
    quiet_since = time.monotonic()
    for piece in data:
        rest = memoryview(piece)
        while rest:
            try:
                went = peer.socket.send(rest)
            except BlockingIOError:
                if time.monotonic() - quiet_since > 0.5:
                    return sent
                time.sleep(0.01)
            except (BrokenPipeError, ConnectionResetError):
                return sent
            else:
                rest, sent, quiet_since = rest[went:], sent + went, time.monotonic()
    return sent


# --- slow peers -----------------------------------------------------------------------------------


@pytest.mark.timeout(200)
def test_slow_peers_are_dropped_by_their_deadlines_and_nobody_else_notices(signer: Signer) -> None:
    """One sends nothing, one a byte a second, before its hello and after it, and one never reads its replies."""
    with contextlib.ExitStack() as stack, Bystander(signer.sign()), RawPeer(signer.sign_path) as idle:
        peers: dict[str, tuple[RawPeer, float]] = {}

        def join(name: str, limit: float, *, greet: bool) -> RawPeer:
            peer = stack.enter_context(RawPeer(signer.sign_path, greet=greet))
            peers[name] = (peer, limit)
            return peer

        join("silent", HELLO_SECONDS, greet=False)
        slow = [join("slow before hello", HELLO_SECONDS, greet=False), join("slow after", FRAME_SECONDS, greet=True)]
        deaf = join("deaf", REPLY_SECONDS, greet=True)
        began = time.monotonic()
        send_all_it_takes(deaf, (deaf.request("describe") for _ in itertools.count()))
        deaf_since = time.monotonic()
        trickle = [iter(struct.pack(">I", 200) + bytes(200)), iter(struct.pack(">I", 200) + bytes(200))]
        ended: dict[str, float] = {}
        while len(ended) < len(peers):
            assert time.monotonic() - began < 60, f"only {ended} were dropped"
            for peer, octets in zip(slow, trickle, strict=True):
                with contextlib.suppress(OSError):
                    peer.socket.send(bytes([next(octets)]))
            for name, (peer, _) in peers.items():
                if name not in ended and is_dropped(peer):
                    ended[name] = time.monotonic() - (deaf_since if name == "deaf" else began)
            time.sleep(1)
        # Not before its time, and not long after it: the signer looks once a second, and so does this test.
        for name, (_, limit) in peers.items():
            assert limit - 2 < ended[name] < limit + 20, ended
        assert idle.ask("describe")["ok"] is True  # who has said hello, and owes nothing, may stay
    assert signer.log.count("was too slow") == len(peers)


def is_dropped(peer: RawPeer) -> bool:
    """Whether the signer has closed its end, without reading what is there to be read."""
    poll = select.poll()
    poll.register(peer.socket, 0)
    return bool(poll.poll(0))


# --- many connections -----------------------------------------------------------------------------


# Opens argv[2] connections to argv[1], every other one with a hello, and holds them until its stdin ends.
OPEN_MANY = """
import socket, sys
hello = bytes.fromhex("0000001783a26f70a568656c6c6fa2696401a776657273696f6e01")
peers = []
for number in range(int(sys.argv[2])):
    peers.append(socket.socket(socket.AF_UNIX))
    peers[-1].connect(sys.argv[1])
    if number % 2:
        try:
            peers[-1].sendall(hello)
        except OSError:
            pass
print("open", flush=True)
sys.stdin.read()
"""


@needs_root  # looks into /proc/PID/fd
@BOTH
def test_a_thousand_connections_cost_a_bounded_number_of_descriptors_and_whoever_opens_them_pays(
    signer: Signer, where: Socket
) -> None:
    path = getattr(signer, PATHS[where])
    with RawPeer(path) as idle, Bystander(SignerClient(path)):
        at_rest = signer.descriptors()
        command = [sys.executable, "-c", OPEN_MANY, path, "1000"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"open\n"
            most = signer.descriptors()
            with RawPeer(path) as newcomer:
                assert newcomer.ask("describe")["ok"] is True
            assert idle.ask("describe")["ok"] is True  # the oldest of all, and another process's
            assert child.stdin is not None
            child.stdin.close()
        assert most <= at_rest + CONNECTIONS_MAX[where] + RESERVED + 10
        eventually(lambda: signer.descriptors() <= at_rest + 4, "that the descriptors are closed")
    assert signer.log.count("makes room") >= 1000 - CONNECTIONS_MAX[where] - RESERVED


def test_of_one_process_s_connections_the_one_that_was_idle_for_longest_makes_room(signer: Signer) -> None:
    with contextlib.ExitStack() as stack:
        most = CONNECTIONS_MAX[Socket.ADMIN] + RESERVED
        peers = [stack.enter_context(RawPeer(signer.admin_path)) for _ in range(most)]
        peers[0].ask("describe")
        stack.enter_context(RawPeer(signer.admin_path))
        assert peers[1].is_closed()
        assert peers[0].ask("describe")["ok"] is True


def test_while_every_connection_is_busy_a_newcomer_is_turned_away_and_the_other_socket_serves(signer: Signer) -> None:
    """Peers that never read keep their connections busy: no number of them takes more than the limit."""
    peers: list[RawPeer] = []
    try:
        with Bystander(signer.admin()):
            for _ in range(CONNECTIONS_MAX[Socket.SIGN] + 50):
                peer = RawPeer(signer.sign_path, greet=False)
                peers.append(peer)
                keep_busy(peer)
            eventually(lambda: "has no room on sign.sock" in signer.log, "that newcomers are turned away")
            assert signer.memory() < 400 * MIB
    finally:
        for peer in peers:
            peer.close()
    eventually(lambda: can_be_asked(signer), "an answer after the attack")


BE_STUCK = """
import json, os, sys
from tests.hostile.test_sockets import keep_busy
from tests.raw_peer import RawPeer

path, gid, uid, number = sys.argv[1], *map(int, sys.argv[2:])
os.setgroups([gid])
os.setgid(uid)
os.setuid(uid)
peers = []
for _ in range(number):
    peers.append(RawPeer(path, greet=False))
    keep_busy(peers[-1])
print("stuck", flush=True)
sys.stdin.read()
"""


@needs_root  # becomes another user
def test_operators_who_are_stuck_on_every_connection_lock_out_each_other_but_not_root_nor_the_signer_s_user() -> None:
    group = next(group for group in grp.getgrall() if group.gr_gid)
    with Signer(uid=OTHER_UID + 7, sign_users=["0"], admin_group=group.gr_name) as signer:
        arguments = [signer.admin_path, str(group.gr_gid), str(OTHER_UID), str(CONNECTIONS_MAX[Socket.ADMIN] + 20)]
        command = [sys.executable, "-c", BE_STUCK, *arguments]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == b"stuck\n"
            signer.wait_for_log(rf"uid {OTHER_UID} has no room on admin\.sock")
            for _ in range(RESERVED):
                assert signer.admin().ask_status().state == "ready"
            child.stdin.close()


def keep_busy(peer: RawPeer) -> None:
    """Has replies wait that are never read."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 300_000)
    peer.socket.setblocking(False)
    with contextlib.suppress(OSError):
        peer.send(peer.request("hello", version=1) + b"".join(peer.request("describe") for _ in range(700)))


def can_be_asked(signer: Signer) -> bool:
    with contextlib.suppress(AssertionError, OSError), RawPeer(signer.sign_path) as peer:
        return bool(peer.ask("describe")["ok"])
    return False


# --- much data ------------------------------------------------------------------------------------


def test_five_hundred_requests_in_one_write_are_answered_in_order_and_nobody_waits(signer: Signer) -> None:
    before, at_rest = signer.recorded(), signer.memory()
    with Bystander(signer.sign()) as bystander, RawPeer(signer.sign_path) as peer:
        requests = b"".join(peer.request("issue", csr=CSR, client="web1") for _ in range(500))
        sender = threading.Thread(target=peer.send, args=(requests,))
        sender.start()
        ids = [peer.receive()["id"] for _ in range(500)]
        sender.join()
        assert ids == list(range(2, 502))
    assert signer.recorded() == before + 500 + bystander.answered
    assert signer.memory_peak() < at_rest + 32 * MIB


def test_what_peers_have_the_signer_hold_is_bounded(signer: Signer) -> None:
    """So many connections at once, each with as much of a frame as it may have, and requests behind it."""
    at_rest = signer.memory()
    peers: list[RawPeer] = []
    number = 200
    try:
        with Bystander(signer.admin()):
            for _ in range(number):
                peer = RawPeer(signer.sign_path)
                peers.append(peer)
                half = struct.pack(">I", FRAME_BYTES_MAX) + bytes(FRAME_BYTES_MAX - 1)
                send_quickly(peer, half)
            assert signer.memory_peak() < at_rest + number * (FRAME_BYTES_MAX + 128 * 1024) + 32 * MIB
    finally:
        for peer in peers:
            peer.close()
    eventually(lambda: signer.memory() < at_rest + 64 * MIB, "that the memory is given back")


def send_quickly(peer: RawPeer, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # dropped by its deadline meanwhile
        peer.send(data)


def test_a_flood_without_end_on_one_connection_is_held_back_not_held(signer: Signer) -> None:
    at_rest = signer.memory()
    with Bystander(signer.sign()), RawPeer(signer.sign_path) as peer:
        took = send_all_it_takes(peer, (peer.request("describe") * 100 for _ in range(2000)))
        assert took < 8 * MIB  # what the replies fill is the end of it
        assert signer.memory_peak() < at_rest + 16 * MIB


@BOTH
def test_a_storm_of_wrong_connections_leaves_an_audit_line_each_and_the_daemon_alive(
    signer: Signer, where: Socket
) -> None:
    at_rest = signer.memory()
    long_name = frame({"op": "describe", "id": 1, "x" * 250_000: 0})
    with Bystander(signer.sign()):
        for number, garbage in enumerate([b"\xff" * 100, frame(b"\x91" * 200_000), long_name], start=1):
            for _ in range(100):
                with RawPeer(getattr(signer, PATHS[where])) as peer:
                    send_quickly(peer, garbage)
                    assert peer.receive()["ok"] is False
            signer.wait_for_log("audit: .* sent what is refused", times=100 * number)
        for _ in range(100):
            with RawPeer(getattr(signer, PATHS[where])) as peer:
                peer.send(b"\0")  # and is gone
    assert max(map(len, signer.log.splitlines())) < 1000
    assert signer.memory() < at_rest + 32 * MIB


# --- descriptors ----------------------------------------------------------------------------------


@needs_root  # looks into /proc/PID/fd
@BOTH
def test_descriptors_that_a_peer_sends_along_are_never_installed(signer: Signer, where: Socket) -> None:
    with RawPeer(getattr(signer, PATHS[where])) as peer, open("/dev/null") as null:  # noqa: PTH123
        before = signer.descriptors()
        sent = array.array("i", [null.fileno()] * 200)
        for _ in range(20):
            peer.socket.sendmsg([peer.request("describe")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
            assert peer.receive()["ok"] is True
            assert signer.descriptors() == before
        # With half a frame they would wait in the signer, if anywhere.
        peer.socket.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
        time.sleep(0.3)
        assert signer.descriptors() == before


@needs_root
def test_a_socket_that_is_sent_along_is_not_installed_either(signer: Signer) -> None:
    with RawPeer(signer.sign_path) as peer, socket.socket(socket.AF_UNIX) as other:
        before = signer.descriptors()
        peer.socket.sendmsg(
            [peer.request("describe")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("@i", other.fileno()))]
        )
        assert peer.receive()["ok"] is True
        assert signer.descriptors() == before


# --- logs -----------------------------------------------------------------------------------------


FORGED = "1999-12-31 23:59:59,999 INFO signerd.server: all is well"
HOSTILE_REQUESTS: list[dict[str, object]] = [
    {"op": "issue", "id": 1, "csr": b"DER", "client": f"web1\n{FORGED}"},
    {"op": "issue", "id": 1, "csr": b"DER", "client": "\x1b[2J"},
    {"op": f"check\n{FORGED}", "id": 1},
    {"op": "describe", "id": 1, f"\n{FORGED}\x1b[2J\u202e": 1},
    {"op": "issue", "id": 1, "csr": b"DER", "client": "web1", "profile": f"a\r{FORGED}"},
    {"op": "issue", "id": 1, "csr": csr_for(dns(f"a\n{FORGED}")), "client": "web1"},
    {"op": "issue", "id": 1, "csr": csr_for(dns("a\x1b[2J.example.net")), "client": "web1"},
]


def test_no_control_character_of_a_peer_reaches_the_log(signer: Signer) -> None:
    for request in HOSTILE_REQUESTS:
        with RawPeer(signer.sign_path) as peer:
            peer.send(frame(request))
            assert peer.receive()["ok"] is False
    log = signer.log_path.read_bytes().decode()
    assert all(line.isprintable() for line in log.split("\n"))
    assert not [line for line in log.splitlines() if line.startswith("1999-12-31")]
