"""The client against a real signer: its pool, its time-outs, and what it does when the signer goes and comes."""

import contextlib
import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import pytest

from protocol import wire
from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused
from protocol.messages import CheckRequest, DescribeReply, IssueReply, IssueRequest
from tests.activation import ActivatedSigner
from tests.csrs import csr_for, dns
from tests.raw_peer import frame
from tests.running import Signer, eventually, short_directory

REQUEST = IssueRequest(csr=csr_for(dns("a.example.net")), client="web1")


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer() as signer:
        yield signer


def refusal_of(client: SignerClient, request: CheckRequest) -> Refused:
    with pytest.raises(Refused) as refusal:
        client.ask_check(request)
    return refusal.value


# --- a signer that answers ------------------------------------------------------------------------


def test_an_answer_is_the_reply_s_own_type(signer: Signer) -> None:
    client = signer.sign()
    assert type(client.ask_describe()) is DescribeReply
    assert type(client.ask_issue(REQUEST)) is IssueReply


def test_a_refusal_keeps_the_signer_s_code_and_its_connection(signer: Signer) -> None:
    client = signer.sign()
    client.ask_describe()
    before = established(signer.sign_path)
    assert refusal_of_issue(client, b"no CSR").code is ErrorCode.BAD_CSR
    client.ask_describe()
    assert established(signer.sign_path) == before


def refusal_of_issue(client: SignerClient, csr: bytes) -> Refused:
    with pytest.raises(Refused) as refusal:
        client.ask_issue(IssueRequest(csr=csr, client="web1"))
    return refusal.value


def established(path: str) -> int:
    """How many connections of that socket there are, by the kernel's list."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()
    # net/unix.rst: num refcount protocol flags type state inode path; state 3 is connected
    return sum(fields[-1] == path and fields[5] == "03" for line in lines if len(fields := line.split()) == 8)


@pytest.mark.parametrize(
    "request_",
    [CheckRequest(csr=b"", client="web1"), CheckRequest(csr=b"DER", client="no such thing")],
    ids=["empty CSR", "wrong client id"],
)
def test_what_the_protocol_can_t_say_is_a_bad_request_and_the_next_request_is_answered(
    signer: Signer, request_: CheckRequest
) -> None:
    client = signer.sign()
    for _ in range(5):
        assert refusal_of(client, request_).code is ErrorCode.BAD_REQUEST
        assert not client._idle  # noqa: SLF001 - the signer closes it; kept, it fails a later request now and then
        assert client.ask_describe().state == "ready"


@pytest.mark.parametrize(
    "request_",
    [CheckRequest(csr=bytes(wire.FRAME_BYTES_MAX), client="web1"), CheckRequest(csr=b"DER", client="\ud800")],
    ids=["too large for a frame", "no text"],
)
def test_what_can_t_be_sent_is_a_bad_request_and_the_signer_never_sees_it(
    signer: Signer, request_: CheckRequest
) -> None:
    client = signer.sign()
    audited = signer.log.count("audit:")
    assert refusal_of(client, request_).code is ErrorCode.BAD_REQUEST
    assert client.ask_describe().state == "ready"
    assert signer.log.count("audit:") == audited


def test_many_threads_share_a_client_and_each_gets_its_own_answers(signer: Signer) -> None:
    client, before = signer.sign(pool_size=4), established(signer.sign_path)

    def ask(number: int) -> bool:
        shard = f"n{number}.example.net"
        reply = client.ask_check(CheckRequest(csr=csr_for(dns(shard)), client=f"web{number}"))
        return reply.to_be_signed is not None and shard.encode() in reply.to_be_signed

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(200)))
    eventually(lambda: established(signer.sign_path) <= before + 4, "that only the pool is left")
    client.close()


def test_a_closed_client_keeps_no_connection_and_can_still_be_asked(signer: Signer) -> None:
    client = signer.sign()
    client.ask_describe()
    client.close()
    assert not client._idle  # noqa: SLF001
    before = established(signer.sign_path)
    client.ask_describe()
    eventually(lambda: established(signer.sign_path) == before, "that no connection is left")


def test_request_ids_start_anew_before_they_leave_their_range(signer: Signer) -> None:
    client = signer.sign()
    client.ask_describe()
    [connection] = client._idle  # noqa: SLF001 - 4,294,967,295 requests would take a week
    connection._last_id = wire.ID_MAX - 1  # noqa: SLF001
    for expected in (wire.ID_MAX, 1, 2):
        client.ask_describe()
        assert connection._last_id == expected  # noqa: SLF001


# --- a signer that goes and comes -----------------------------------------------------------------


def fill_pool(client: SignerClient, number: int) -> None:
    """Has the client keep that many idle connections, as so many threads at once would."""
    idle = client._idle  # noqa: SLF001
    for _ in range(number):
        taken = list(idle)
        idle.clear()
        client.ask_describe()
        idle.extend(taken)
    assert len(idle) == number


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_restart_between_two_requests_goes_unnoticed_however_many_connections_were_idle(how: str) -> None:
    with Signer() as signer:
        client = signer.sign()
        fill_pool(client, 20)
        if how == "stopped":
            signer.restart()
        else:
            signer.kill()
            signer.start()
        assert client.ask_issue(REQUEST).certificate
        assert signer.recorded() == 1


def test_while_the_signer_is_away_the_answer_is_unavailable_and_comes_at_once() -> None:
    with Signer() as signer:
        client = signer.sign()
        client.ask_describe()
        signer.stop()
        for _ in range(3):
            with pytest.raises(Refused) as refusal:
                client.ask_describe()
            assert refusal.value.code is ErrorCode.UNAVAILABLE
            assert str(signer.state) not in refusal.value.detail
        signer.start()
        assert client.ask_describe().state == "ready"


def test_with_inherited_sockets_a_request_waits_for_the_next_signer() -> None:
    with ActivatedSigner() as signer, ThreadPoolExecutor(4) as threads:
        client = signer.sign()
        client.ask_describe()
        signer.stop()
        waiting = [threads.submit(client.ask_issue, REQUEST) for _ in range(4)]
        signer.start()
        assert all(one.result().certificate for one in waiting)
        assert signer.recorded() == 4


# --- a signer that misbehaves ---------------------------------------------------------------------


@contextlib.contextmanager
def pretender(*answers: bytes) -> Iterator[str]:
    """The path of a socket where something answers each frame with the next of these, then hangs up."""
    directory = short_directory()
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                for answer in answers:
                    peer.recv(65536)
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(path)
        finally:
            thread.join()
            path.unlink()
            directory.rmdir()


HELLO = frame({"id": 1, "ok": True, "version": 1})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (frame({"id": 3, "ok": True, "version": 1}), "nonsense"),
        (frame({"id": 2, "ok": True}), "nonsense"),
        (frame(b"\xc1"), "nonsense"),
        (struct.pack(">I", wire.FRAME_BYTES_MAX + 1), "nonsense"),
        (struct.pack(">I", 100) + b"half a frame", "ended before it answered"),
        (b"", "ended before it answered"),
    ],
    ids=["another id", "a missing field", "no msgpack", "too long", "half", "nothing"],
)
def test_an_answer_that_is_none_is_unavailable(answer: bytes, said: str) -> None:
    with pretender(HELLO, answer) as path:
        client = SignerClient(path)
        with pytest.raises(Refused, match=said) as refusal:
            client.ask_describe()
        assert refusal.value.code is ErrorCode.UNAVAILABLE
        client.close()


def test_a_signer_that_does_not_answer_is_unavailable_after_the_time_out() -> None:
    directory = short_directory()
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(directory / "s"))
        hung.listen()
        client = SignerClient(str(directory / "s"), timeout=0.2)
        with pytest.raises(Refused, match=r"no answer within 0\.2 s") as refusal:
            client.ask_describe()
        assert refusal.value.code is ErrorCode.UNAVAILABLE
    (directory / "s").unlink()
    directory.rmdir()


def test_a_refused_hello_is_that_refusal() -> None:
    with pretender(frame({"id": 1, "ok": False, "error": "frozen", "detail": "until thawed"})) as path:
        client = SignerClient(path)
        with pytest.raises(Refused, match="until thawed") as refusal:
            client.ask_describe()
        assert refusal.value.code is ErrorCode.FROZEN


def test_what_was_sent_whole_and_not_answered_is_not_sent_again() -> None:
    # Whether it was carried out is not known then: a second time might make a second certificate.
    seen: list[bytes] = []
    directory = short_directory()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.recv(65536)
                        peer.sendall(HELLO)
                        seen.append(peer.recv(65536))

        thread = threading.Thread(target=serve)
        thread.start()
        client = SignerClient(str(directory / "s"))
        with pytest.raises(Refused) as refusal:
            client.ask_issue(REQUEST)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    (directory / "s").unlink()
    directory.rmdir()
    assert refusal.value.code is ErrorCode.UNAVAILABLE
    assert len(seen) == 1
    assert msgpack.unpackb(seen[0][4:])["op"] == "issue"


def test_a_signer_that_is_killed_with_a_request_under_way_is_unavailable_and_the_next_is_answered() -> None:
    with ActivatedSigner() as signer, ThreadPoolExecutor(1) as threads:
        client = signer.sign()
        client.ask_describe()
        [connection] = client._idle  # noqa: SLF001
        signer.pause()
        asked = threads.submit(client.ask_issue, REQUEST)
        eventually(lambda: unread(connection._socket) > 0, "the request's arrival")  # noqa: SLF001
        signer.kill()
        with pytest.raises(Refused) as refusal:
            asked.result()
        assert refusal.value.code is ErrorCode.UNAVAILABLE
        signer.start()
        assert client.ask_issue(REQUEST).certificate
        assert signer.recorded() == 1


def unread(end: socket.socket) -> int:
    """How many bytes were sent and not yet received (unix(7), SIOCOUTQ)."""
    (number,) = struct.unpack("@i", fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)))
    return int(number)
