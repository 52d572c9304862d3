"""What the signer lets a peer say, and how it ends a connection: default deny, and the daemon lives."""

import time
from collections.abc import Iterator

import pytest

from protocol.errors import ErrorCode, Refused
from protocol.messages import OPERATIONS, CheckRequest, IssueRequest, Socket
from protocol.wire import FRAME_BYTES_MAX
from signerd.connection import FRAME_SECONDS
from tests.csrs import csr_for, dns
from tests.protocol.examples import required_fields
from tests.raw_peer import RawPeer, frame
from tests.running import Signer

PATHS = {Socket.SIGN: "sign_path", Socket.ADMIN: "admin_path"}
ELSEWHERE = [
    pytest.param(op, where, id=f"{op}-{where.value}")
    for op, row in OPERATIONS.items()
    for where in Socket
    if where not in row.sockets
]


@pytest.fixture(scope="module")
def running() -> Iterator[Signer]:
    with Signer() as signer:
        yield signer


@pytest.fixture
def signer(running: Signer) -> Iterator[Signer]:
    """The module's signer, which every test must leave alive, whole and able to issue."""
    pid = running.pid
    yield running
    reply = running.sign().ask_issue(IssueRequest(csr=csr_for(dns("a.example.net")), client="after"))
    assert reply.certificate
    assert running.ended is None
    assert running.pid == pid
    assert "Traceback" not in running.log


def audited(signer: Signer) -> int:
    return signer.log.count("audit: ")


def assert_refused_and_closed(peer: RawPeer, *, quoting: str = "") -> None:
    reply = peer.receive()
    assert (reply["id"], reply["ok"], reply["error"]) == (0, False, "bad_request")
    assert quoting in reply["detail"]
    assert peer.is_closed()


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "where"), ELSEWHERE)
def test_an_operation_of_the_other_socket_s_table_is_refused_and_closes_the_connection(
    signer: Signer, op: str, where: Socket
) -> None:
    before = audited(signer)
    with RawPeer(getattr(signer, PATHS[where])) as peer:
        peer.send(peer.request(op, **required_fields(op)))
        assert_refused_and_closed(peer, quoting=f"operation {op} is not for this socket")
    assert audited(signer) == before + 1
    assert f"{where.value}.sock sent what is refused: operation {op}" in signer.log


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op != "hello"])
def test_an_operation_before_the_hello_is_refused_and_closes_the_connection(signer: Signer, op: str) -> None:
    where = next(iter(OPERATIONS[op].sockets))
    before = audited(signer)
    with RawPeer(getattr(signer, PATHS[where]), greet=False) as peer:
        peer.send(peer.request(op, **required_fields(op)))
        assert_refused_and_closed(peer, quoting="hello")
    assert audited(signer) == before + 1


@pytest.mark.parametrize("version", [0, 2, -1, 2**64 - 1])
def test_another_version_is_refused_and_nothing_after_it_is_answered(signer: Signer, version: int) -> None:
    before = audited(signer)
    with RawPeer(signer.sign_path, greet=False) as peer:
        peer.send(peer.request("hello", version=version) + peer.request("describe"))
        assert_refused_and_closed(peer, quoting="speaks 1")
    assert audited(signer) == before + 1


def test_a_second_hello_is_answered(signer: Signer) -> None:
    with RawPeer(signer.sign_path) as peer:
        assert peer.ask("hello", version=1) == {"id": 2, "ok": True, "version": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        frame({"op": "sign", "id": 1, "data": b"bytes"}),
        frame({"op": "describe", "id": 1, "more": 1}),
        frame({"op": "describe", "id": True}),
        frame({"op": "describe", "id": 1, "x" * 262_100: 1}),
        frame({"op": "issue", "id": 1, "csr": b"DER", "client": "web1", "is_ca": True}),
        frame({"op": "issue", "id": 1, "csr": b"DER", "client": "web1", "serial": b"\1"}),
        frame(b"\xc1"),
        frame(b"\x91" * 100_000),
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=lambda wrong: wrong[:40].hex(),
)
@pytest.mark.parametrize("where", Socket)
def test_a_frame_that_is_none_closes_that_connection_alone_and_leaves_one_audit_line(
    signer: Signer, where: Socket, wrong: bytes
) -> None:
    path = getattr(signer, PATHS[where])
    before = audited(signer)
    with RawPeer(path) as bystander, RawPeer(path) as peer:
        peer.send(wrong)
        assert_refused_and_closed(peer)
        assert bystander.ask("describe")["ok"] is True
    assert audited(signer) == before + 1


def test_what_was_right_before_a_wrong_frame_is_answered_and_what_comes_after_is_not(signer: Signer) -> None:
    with RawPeer(signer.sign_path) as peer:
        peer.send(peer.request("describe") + frame({"op": "sign", "id": 9}) + peer.request("describe"))
        assert peer.receive()["id"] == 2
        assert_refused_and_closed(peer)


def test_a_refused_request_leaves_the_connection_as_it_was(signer: Signer) -> None:
    with RawPeer(signer.sign_path) as peer:
        reply = peer.ask("issue", csr=b"no CSR", client="web1")
        assert (reply["id"], reply["ok"], reply["error"]) == (2, False, "bad_csr")
        assert peer.ask("describe")["ok"] is True


# --- frames and streams ---------------------------------------------------------------------------


def test_a_request_may_come_split_at_every_byte(signer: Signer) -> None:
    with RawPeer(signer.sign_path) as peer:
        whole = peer.request("describe")
        for cut in range(1, len(whole)):
            peer.send(whole[:cut])
            time.sleep(0.002)  # so that the two parts are received apart; the answer is the same if not
            peer.send(whole[cut:])
            assert peer.receive()["ok"] is True


def test_a_request_may_come_byte_by_byte(signer: Signer) -> None:
    with RawPeer(signer.sign_path) as peer:
        for byte in peer.request("issue", csr=csr_for(dns("b.example.net")), client="web1"):
            peer.send(bytes([byte]))
        assert peer.receive()["ok"] is True


@pytest.mark.parametrize("left", [1, 2, 3, 4, 5])
def test_a_frame_at_the_cap_is_read_to_its_end_wherever_it_was_split(signer: Signer, left: int) -> None:
    empty = frame({"op": "describe", "id": 1, "padding": b""})
    whole = frame({"op": "describe", "id": 1, "padding": bytes(4 + FRAME_BYTES_MAX - len(empty) - 3)})
    assert len(whole) == 4 + FRAME_BYTES_MAX
    with RawPeer(signer.sign_path) as peer:
        peer.send(whole[:-left])
        time.sleep(0.05)  # so that the two parts are received apart
        peer.send(whole[-left:])
        began = time.monotonic()
        assert_refused_and_closed(peer, quoting="padding")
        assert time.monotonic() - began < FRAME_SECONDS - 3


def test_requests_sent_in_one_write_are_answered_in_order(signer: Signer) -> None:
    csr = csr_for(dns("c.example.net"))
    before = signer.recorded()
    with RawPeer(signer.sign_path) as peer:
        kinds = ["describe", "issue", "check", "wrong"]
        fields = {
            "describe": ("describe", {}),
            "issue": ("issue", {"csr": csr, "client": "web1"}),
            "check": ("check", {"csr": csr, "client": "web1"}),
            "wrong": ("issue", {"csr": b"no CSR", "client": "web1"}),
        }
        asked = [kinds[number % 4] for number in range(100)]
        peer.send(b"".join(peer.request(fields[kind][0], **fields[kind][1]) for kind in asked))
        for number, kind in enumerate(asked):
            reply = peer.receive()
            assert reply["id"] == number + 2
            assert reply["ok"] is (kind != "wrong")
            assert ("certificate" in reply) is (kind == "issue")
    assert signer.recorded() == before + 25


def test_a_peer_that_shuts_down_its_writing_side_still_gets_its_answers(signer: Signer) -> None:
    with RawPeer(signer.sign_path) as peer:
        peer.send(peer.request("describe") + peer.request("issue", csr=csr_for(dns("d.example.net")), client="web1"))
        peer.socket.shutdown(1)
        assert peer.receive()["id"] == 2
        assert peer.receive()["certificate"]
        assert peer.is_closed()


def test_a_peer_that_goes_away_in_the_middle_of_anything_is_forgotten(signer: Signer) -> None:
    csr = csr_for(dns("e.example.net"))
    for cut in (0, 1, 3, 4, 5, 50, -1, None):
        with RawPeer(signer.sign_path) as peer:
            peer.send(peer.request("issue", csr=csr, client="web1")[:cut])
    with RawPeer(signer.sign_path) as peer:
        peer.send(peer.request("issue", csr=csr, client="web1") * 50)  # and reads none of the answers


# --- faults of our own ----------------------------------------------------------------------------

BROKEN = """
from protocol.messages import CrlReply, RevokeOwnReply
from signerd import __main__
from signerd.operations import ANSWERS

def fault(authority, request, asker, now):
    raise RuntimeError(f"/a/path and a secret, with a newline\\n1999-12-31 INFO forged: {request}")

ANSWERS["check"] = fault
ANSWERS["crl"] = lambda *_: CrlReply(crl=bytes(300_000), this_update=0, next_update=0)
ANSWERS["revoke_own"] = lambda *_: RevokeOwnReply(revoked_at=2**70)
__main__.main()
"""


class BrokenSigner(Signer):
    """Three of its operations have a fault: one raises, one answers too much, one what can't be encoded."""

    def command(self) -> list[str]:
        command = super().command()
        at = command.index("-m")
        return [*command[:at], "-c", BROKEN, *command[at + 2 :]]


def test_a_fault_inside_an_operation_is_answered_with_internal_and_the_daemon_lives() -> None:
    with BrokenSigner() as signer:
        client = signer.sign()
        with pytest.raises(Refused) as refusal:
            client.ask_check(CheckRequest(csr=b"DER", client="web1"))
        assert refusal.value.code is ErrorCode.INTERNAL
        assert "Traceback" not in refusal.value.detail
        assert "secret" not in refusal.value.detail
        signer.wait_for_log(r"Traceback")
        with RawPeer(signer.sign_path) as peer:
            for op in ("crl", "revoke_own"):
                reply = peer.ask(op, **required_fields(op))
                assert (reply["ok"], reply["error"]) == (False, "internal")
            assert peer.ask("describe")["ok"] is True
        assert not [line for line in signer.log.splitlines() if line.startswith("1999-12-31")]
