"""Whatever a peer may say by the protocol's types, the signer has an answer to it, and that is never a fault."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import ErrorCode, Refused
from protocol.fields import Message
from protocol.messages import OPERATIONS, BackupRequest, IssueRequest, ListRequest, Socket, VerifyRequest
from protocol.wire import decode_reply, encode_request
from tests.csrs import csr_for, dns
from tests.protocol.strategies import REQUESTS, messages_of
from tests.protocol.test_garbage import every_request, mutated
from tests.raw_peer import RawPeer
from tests.running import Signer

EVERYWHERE = [
    pytest.param(op, where, id=f"{op}-{where.value}") for op in OPERATIONS for where in OPERATIONS[op].sockets
]


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer() as signer:
        client = signer.sign()
        for number in range(3):
            client.ask_issue(IssueRequest(csr=csr_for(dns(f"n{number}.example.net")), client="web1"))
        yield signer


@pytest.mark.parametrize(("op", "where"), EVERYWHERE)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_request_that_the_types_allow_is_answered_and_never_with_internal(
    signer: Signer, op: str, where: Socket, data: st.DataObject
) -> None:
    message = data.draw(messages_of(REQUESTS[op]))
    answer = ask(signer.sign_path if where is Socket.SIGN else signer.admin_path, op, message)
    if isinstance(answer, Refused):
        assert answer.code is not ErrorCode.INTERNAL, signer.log[-2000:]
    else:
        assert isinstance(answer, OPERATIONS[op].reply)
    assert signer.ended is None


@pytest.mark.parametrize("place", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_place_that_no_ledger_has_is_no_fault(signer: Signer, place: int) -> None:
    # SQLite's integers and lseek's offsets have 63 bits, msgpack's have 64.
    for op, message in (
        ("list", ListRequest(after=place)),
        ("verify", VerifyRequest(seq=place)),
        ("backup", BackupRequest(offset=0)),
        ("backup", BackupRequest(offset=place)),
    ):
        answer = ask(signer.admin_path, op, message)
        assert not isinstance(answer, Refused) or answer.code is not ErrorCode.INTERNAL, op


@pytest.mark.parametrize("where", Socket)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60) | every_request | mutated(every_request), max_size=6), st.booleans())
def test_whatever_bytes_a_peer_sends_it_gets_frames_back_and_then_the_end(
    signer: Signer, where: Socket, stream: list[bytes], greet: bool
) -> None:
    with RawPeer(signer.sign_path if where is Socket.SIGN else signer.admin_path, greet=greet) as peer:
        with contextlib.suppress(BrokenPipeError):
            peer.send(b"".join(stream))
            peer.socket.shutdown(socket.SHUT_WR)
        while not peer.is_closed():
            reply = peer.receive()
            assert reply["ok"] is True or reply["error"] in set(ErrorCode) - {ErrorCode.INTERNAL}
    assert signer.ended is None


def ask(path: str, op: str, message: Message) -> Message | Refused:
    with RawPeer(path) as peer:
        peer.send(encode_request(op, 2, message))
        length = int.from_bytes(peer.receive_bytes(4), "big")
        _, answer = decode_reply(peer.receive_bytes(length), OPERATIONS[op].reply)
        return answer
