"""Clients that mean harm, or are broken, over real connections: what they cost is bounded, and others don't notice."""

import random
import re
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.fields import CSR_BYTES_MAX
from tests.frontend.running import Frontend, read_all, status_of
from tests.frontend.signer_stub import SignerStub, make_csr

PEM = make_csr("a.example.net")[1].public_bytes(Encoding.PEM)
SOON = 10.0  # seconds: what is not held up takes milliseconds, and what is, a minute and more
MEGABYTE = 1024 * 1024


def put_to(target: bytes) -> bytes:
    """The bytes of a PUT whose request-target is exactly this."""
    return b"PUT %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (target, len(PEM), PEM)


# --- the path -----------------------------------------------------------------------------------

HOSTILE_CLIENTS = [
    b"%41",
    b"web%31",
    b"web1%0a",
    b"web1%0d%0a",
    b"%00",
    b"web1%00",
    b"..",
    b"%2e%2e",
    b"web1/..",
    b"x/../web1",
    b"%2fetc%2fpasswd",
    b"web1%2f",
    b"web1/",
    "\u202e1bew".encode(),
    b"%e2%80%ae1bew",
    "wéb1".encode(),
    "\uff11".encode(),  # a digit, but not one of ours
    b"a%c3%28",
    b"a\xc3\x28",
    b"a\xff",
    b"web1\x00",
    b"web1\x0b",
    b"web1\x7f",
    b"web1\x85",
    b"web1;x",
    b"web1#x",
    b"_web1",
    b"-web1",
    b".web1",
    b"web1_",
    b"web1-",
    b"web1.",
    b".",
    b"..",
    b"web1/../web2",
    b"web1%2eexample.net",
    b"web1%2Dx",
    b"a" * 129,
    b"",
]


@pytest.mark.parametrize("client", HOSTILE_CLIENTS)
def test_a_client_id_is_letters_digits_and_three_signs_inside_on_the_raw_path(
    frontend: Frontend, signer: SignerStub, client: bytes
) -> None:
    answer = frontend.exchange(put_to(b"/api/csr/" + client))
    assert status_of(answer) in {400, 404}
    assert b"application/problem+json" in answer
    assert not signer.issue_requests()


@pytest.mark.parametrize(
    "target",
    [b"//api/csr/web1", b"/api//csr/web1", b"/API/csr/web1", b"http://x/api/csr/web1", b"*", b"/api%2fcsr/web1"],
)
def test_another_spelling_of_the_path_is_another_path(frontend: Frontend, signer: SignerStub, target: bytes) -> None:
    assert status_of(frontend.exchange(put_to(target))) in {400, 404}
    assert not signer.issue_requests()


def test_the_longest_client_id_is_taken(frontend: Frontend, signer: SignerStub) -> None:
    assert status_of(frontend.exchange(put_to(b"/api/csr/" + b"aZ09" * 32))) == 200


# --- framing ------------------------------------------------------------------------------------

HEAD = b"PUT /api/csr/web1 HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PEM), PEM)


def test_a_chunked_body_is_taken(frontend: Frontend) -> None:
    assert (
        status_of(frontend.exchange(HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED)) == 200
    )


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED) + CHUNKED,
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        HEAD + b"Content-Length: +4\r\n\r\nabcd",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 0x4\r\n\r\nabcd",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcdX\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-4\r\nabcd\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKED,
        HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKED,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        HEAD + b"Transfer-Encoding: chunked,\r\n\r\n" + CHUNKED,
        HEAD + b"Transfer-Encoding: \r\n\r\n" + CHUNKED,
        HEAD + b"Transfer-Encoding: chunked;a=b\r\n\r\n" + CHUNKED,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n" + CHUNKED,
        HEAD + b"X\nContent-Length: 4\r\n\r\nabcd",
        HEAD + b" folded: x\r\n\r\n",
        HEAD + b"X: y\r\n\tContent-Length: 4\r\n\r\nabcd",
        HEAD + b"Name with blank: x\r\n\r\n",
        HEAD + b"Content-Length : 4\r\n\r\nabcd",
        b"PUT  /api/csr/web1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /api/csr/web1 HTTP/9\r\nHost: x\r\n\r\n",
        b"put /api/csr/web1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_framing_that_two_readers_may_read_differently_is_refused_and_the_connection_closed(
    frontend: Frontend, signer: SignerStub, request_: bytes
) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = frontend.exchange(request_ + smuggled)
    assert status_of(answer) in {400, 404, 501, 505}
    assert b"200 OK" not in answer.split(b"\r\n\r\n")[0]
    assert b"application/problem+json" in answer
    assert not signer.issue_requests()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ping HTTP/1.1\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nhost: a\r\n",
        b"GET /ping HTTP/1.0\r\nHost: a\r\nHost: a\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a, b\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a b\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a/b\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a@b\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a:b\r\n",
        b"GET /ping HTTP/1.1\r\nHost: [x]\r\n",
        b"GET /ping HTTP/1.1\r\nHost: \xc3\xbc\r\n",
        b"GET /ping HTTP/1.1\r\nX-Host: a\r\n",
        b"GET /ping\r\nHost: a\r\n",
    ],
)
def test_a_request_has_exactly_one_host_and_a_version(frontend: Frontend, head: bytes) -> None:
    answer = frontend.exchange(head + b"Connection: close\r\n\r\n")
    assert status_of(answer) == 400
    assert b"one Host" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ping HTTP/1.0\r\n",
        b"GET /ping HTTP/1.1\r\nhOST:a.example.net:8080 \r\n",
        b"GET /ping HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n",
        b"GET /ping HTTP/1.1\r\nHost:\r\n",  # RFC 9112, 3.2: where there is no authority
    ],
)
def test_a_valid_host_is_taken_and_http_1_0_needs_none(frontend: Frontend, head: bytes) -> None:
    assert status_of(frontend.exchange(head + b"Connection: close\r\n\r\n")) == 200


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0"])
def test_another_version_of_http_is_refused_as_such(frontend: Frontend, signer: SignerStub, version: bytes) -> None:
    answer = frontend.exchange(put_to(b"/api/csr/web1").replace(b"HTTP/1.1", b"HTTP/" + version))
    assert status_of(answer) == 505
    assert b"application/problem+json" in answer
    assert not signer.issue_requests()


EXPECT = b"Expect: 100-continue\r\n"
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("before", [b"", PING])
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD + b"Content-Length: %d\r\n" % (CSR_BYTES_MAX + 1), 413),
        (HEAD + b"Content-Length: 9\r\nContent-Type: image/png\r\n", 415),
        (HEAD.replace(b"PUT", b"POST") + b"Content-Length: 9\r\n", 405),
        (HEAD.replace(b"/web1", b"/web%31") + b"Content-Length: 9\r\n", 404),
        (HEAD.replace(b"Host: x\r\n", b"") + b"Content-Length: 9\r\n", 400),
        (HEAD + b"Host: y\r\nContent-Length: 9\r\n", 400),
        (HEAD.replace(b"1.1", b"1.2") + b"Content-Length: 9\r\n", 505),
        (HEAD + b"Transfer-Encoding: chunked, chunked\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n", 400),
        (HEAD.replace(b"PUT", b"POST") + b"Transfer-Encoding: chunked\r\n", 405),
    ],
)
def test_who_waits_to_send_what_is_refused_anyway_is_told_so_at_once(
    frontend: Frontend, head: bytes, status: int, before: bytes
) -> None:
    answer = frontend.exchange(before + head + EXPECT + b"\r\n")
    statuses = [int(found) for found in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)]
    assert statuses == ([200] if before else []) + [status]
    assert b'"status":%d' % status in answer


def test_what_follows_a_refused_head_is_its_body_and_no_request(frontend: Frontend, signer: SignerStub) -> None:
    smuggled = put_to(b"/api/csr/web1")
    head = HEAD.replace(b"/web1", b"/web%31") + EXPECT + b"Content-Length: %d\r\n\r\n" % len(smuggled)
    answer = frontend.exchange(head + smuggled)
    assert re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answer) == [b"404"]
    assert not signer.issue_requests()


@pytest.mark.parametrize("before", [b"", PING])
def test_who_waits_to_send_what_may_be_taken_is_told_to_go_on(frontend: Frontend, before: bytes) -> None:
    with frontend.connect() as connection:
        connection.sendall(before + HEAD + EXPECT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(PEM))
        received = b""
        while b"100 Continue\r\n\r\n" not in received:
            received += connection.recv(65536)
        connection.sendall(PEM)
        assert status_of(read_all(connection)) == 200


def test_garbage_is_answered_or_dropped_and_leaves_no_traceback(frontend: Frontend) -> None:
    chance = random.Random(4711)  # noqa: S311 - repeatable, not secret
    pieces = [
        b"PUT ",
        b"/api/csr/a",
        b" HTTP/1.1",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"7",
        b":",
        b"\0",
        b"%0a",
        b" ",
    ]
    for _ in range(300):
        data = b"".join(chance.choice([*pieces, chance.randbytes(3)]) for _ in range(chance.randrange(1, 30)))
        with frontend.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
            assert not answer or 200 <= status_of(answer) < 600


def test_a_request_byte_by_byte_is_still_a_request(frontend: Frontend) -> None:
    with frontend.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in put_to(b"/api/csr/web1"):
            connection.sendall(bytes([byte]))
        assert status_of(read_all(connection)) == 200


def test_pipelined_requests_are_answered_in_their_order(frontend: Frontend) -> None:
    first, last = (put_to(b"/api/csr/web1?profile=" + p) for p in (b"%", b"a"))
    answer = frontend.exchange(first.replace(b"Connection: close\r\n", b"") + last)
    assert answer.index(b"HTTP/1.1 400 ") < answer.index(b"HTTP/1.1 200 ")


# --- size ---------------------------------------------------------------------------------------


def test_64_kib_are_taken_and_a_byte_more_is_refused(frontend: Frontend) -> None:
    assert frontend.put_csr(b"x" * CSR_BYTES_MAX).status == 400
    response = frontend.put_csr(b"x" * (CSR_BYTES_MAX + 1))
    assert response.status == 413
    assert response.json()["code"] == "bad_request"
    assert "65536" in response.json()["detail"]


@pytest.mark.parametrize("line", [b"-----END ", b"-----END \n", b"-----BEGIN ", b"\n", b"\t", b"="])
def test_a_body_that_is_costly_to_read_holds_up_nobody(frontend: Frontend, line: bytes) -> None:
    """An expression for the whole of a PEM block took seconds for one of these, with the interpreter's lock held."""
    body = b"-----BEGIN CERTIFICATE REQUEST-----\n" + line * ((CSR_BYTES_MAX - 40) // len(line))
    asking = [threading.Thread(target=frontend.put_csr, args=(body,)) for _ in range(5)]
    began = time.monotonic()
    for thread in asking:
        thread.start()
    assert frontend.put_csr(PEM).status == 200
    for thread in asking:
        thread.join()
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_far_too_much_gets_the_refusal_though_it_is_not_read(frontend: Frontend, chunked: bool) -> None:
    block = b"x" * MEGABYTE
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (5 * MEGABYTE)
    with frontend.connect() as connection:
        connection.sendall(HEAD + framing + b"\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
        answer = read_all(connection)
    assert status_of(answer) == 413
    assert b'"status":413' in answer


def test_a_header_beyond_16_kib_is_refused(frontend: Frontend) -> None:
    for header in (b"X: " + b"a" * 20_000, b"".join(b"X%d: a\r\n" % n for n in range(3000))):
        assert status_of(frontend.exchange(HEAD + header + b"\r\n\r\n")) == 431
    endless = HEAD + b"X: " + b"a" * 100_000
    assert status_of(frontend.exchange(endless)) == 431


# --- the log ------------------------------------------------------------------------------------


def test_no_control_character_of_a_client_reaches_the_log(frontend: Frontend) -> None:
    evil = b"\x1b[31m\x00\x07\x08\x7f\x85\x9b\xe2\x80\xae\xff"
    forged = b"%0d%0a2024-01-01%2000:00:00%20INFO%20forged"
    header = b"Idempotency-Key: \x85\x9b\xe2\x80\xae\xff\r\n"  # what passes for a header's value
    close = b"Host: x\r\nConnection: close\r\n\r\n"
    for request in (
        b"GET /evil1" + evil + b" HTTP/1.1\r\n" + close,
        b"GET /evil2?" + evil + b" HTTP/1.1\r\n" + close,
        b"GET /evil3" + forged + b" HTTP/1.1\r\n" + close,
        b"GET /evil4" + b"a" * 15_000 + b" HTTP/1.1\r\n" + close,
        b"EVIL5" + b" /evil5 HTTP/1.1\r\n" + header + close,
        b"PUT /api/csr/evil6 HTTP/1.1\r\n" + header + close,
        evil + b" /evil7 HTTP/1.1\r\n" + close,
        b"GET /evil8 HTTP/1.1\r\nbad" + evil + b"header\r\n" + close,
        b"GET /evil9 HTTP/1.1\r\nX: " + evil + b"\r\n" + close,
    ):
        assert 400 <= status_of(frontend.exchange(request)) < 500
    frontend.wait_for_log("evil6")
    raw = frontend.log_path.read_bytes()
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in raw)
    assert b"INFO forged" not in raw
    assert max(map(len, raw.splitlines())) < 500


def logged_address(frontend: Frontend, mark: str, *forwarded: str) -> str:
    """Whom the log names for a request with these values of X-Forwarded-For."""
    headers = "".join(f"X-Forwarded-For: {value}\r\n" for value in forwarded)
    frontend.exchange(
        f"GET /{mark} HTTP/1.1\r\nHost: x\r\n{headers}Forwarded: for=9.9.9.9\r\nConnection: close\r\n\r\n".encode()
    )
    frontend.wait_for_log(f"GET /{mark} 404 ")
    [line] = [line for line in frontend.log.splitlines() if f"GET /{mark} " in line]
    return line.partition(" ms ")[2].removesuffix(" not_found")


def test_x_forwarded_for_counts_only_from_the_trusted_proxy_and_only_its_right_most_value(
    frontend: Frontend, signer: SignerStub
) -> None:
    assert logged_address(frontend, "untrusted", "1.1.1.1") == "127.0.0.1"
    with Frontend(signer.path, trusted_proxy="127.0.0.1") as behind:
        assert logged_address(behind, "one", "192.0.2.7") == "192.0.2.7"
        assert logged_address(behind, "two", "1.1.1.1, 192.0.2.7") == "192.0.2.7"
        assert logged_address(behind, "lines", "1.1.1.1", "192.0.2.7") == "192.0.2.7"
        assert logged_address(behind, "quoted", '"1.1.1.1', "2001:db8::7") == "2001:db8::7"
        assert logged_address(behind, "none") == "127.0.0.1"
        for number, nonsense in enumerate(("x", "1.1.1.1,", "1.1.1.1 admin", "\xff", "unix")):
            assert logged_address(behind, f"nonsense{number}", nonsense) == "127.0.0.1"
    with Frontend(signer.path, trusted_proxy="192.0.2.1") as elsewhere:
        assert logged_address(elsewhere, "elsewhere", "1.1.1.1") == "127.0.0.1"


def test_the_peer_on_the_unix_socket_is_trusted_if_that_is_set_and_only_there(signer: SignerStub) -> None:
    path = signer.path.with_name("http.sock")
    with Frontend(signer.path, listen=f"unix:{path}", trusted_proxy="unix") as behind:
        assert logged_address(behind, "behind", "192.0.2.7") == "192.0.2.7"
    with Frontend(signer.path, listen=f"unix:{path}") as plain:
        assert logged_address(plain, "plain", "192.0.2.7") == "unix"
    with Frontend(signer.path, trusted_proxy="unix") as by_tcp:
        assert logged_address(by_tcp, "tcp", "192.0.2.7") == "127.0.0.1"
