"""Every parser of what comes from outside takes time in proportion to what it is sent, whatever it is sent.

One input is parsed at one size and at ``TIMES`` that size, and the times are compared: a linear parser takes ``TIMES``
as long, a quadratic one ``TIMES`` squared. What is measured is the thread's own time on the processor, the least of
several runs: what else the machine does shows in neither.
"""

import contextlib
import gc
import io
import logging
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from waitress.adjustments import Adjustments

from frontend import http_request, revocation
from frontend.app import ROUTES, App
from frontend.edge import Edge
from frontend.http_server import LIMITS
from frontend.metrics import Board
from frontend.request_parser import RequestParser
from frontend.views import Services
from protocol import pem, wire
from protocol.errors import Refused
from protocol.fields import CSR_BYTES_MAX
from signerd import der, strict_der
from signerd.csr import read_csr
from signerd.policy import spelling
from signerd.revocation.ocsp_request import parse_query
from tests import csrs
from tests.csrs import OBJECT_IDENTIFIER, SET, oid, rdn, sequence, tlv

TIMES = 16
BOUND = 64  # between 16 and 256: as far from the one as from the other
RUNS = 7
LARGE = CSR_BYTES_MAX  # bytes: what a request's body may have
HEADERS = 15_000  # bytes: what a request's head may have, with some room

Parse = Callable[[Any], object]
Make = Callable[[int], Any]
_WRONG = (Refused, ValueError, wire.WireError, x509.DuplicateExtension)  # how parsers say no


def _seconds(parse: Parse, data: object) -> float:
    """The thread's time for one call, the least of some: several calls at once where one is too short to measure."""
    calls, least = 1, float("inf")
    for _ in range(RUNS):
        began = time.thread_time()
        for _ in range(calls):
            _call(parse, data)
        took = time.thread_time() - began
        least = min(least, took / calls)
        calls = max(calls, min(1000, int(0.002 / max(least, 1e-9))))
    return least


def _call(parse: Parse, data: object) -> None:
    with contextlib.suppress(*_WRONG):
        parse(data)


def growth(parse: Parse, make: Make, large: int = LARGE) -> float:
    """How many times longer ``TIMES`` the input takes."""
    gc.collect()
    gc.disable()
    try:
        return _seconds(parse, make(large)) / _seconds(parse, make(large // TIMES))
    finally:
        gc.enable()


def assert_linear(parse: Parse, make: Make, large: int = LARGE) -> None:
    grown = growth(parse, make, large)
    assert grown < BOUND, f"{TIMES} times the input takes {grown:.0f} times the time"


def _quadratic(data: bytes) -> int:
    return sum(len(data[at:]) for at in range(0, len(data), 16))


def test_a_quadratic_parser_would_be_found_and_a_linear_one_would_not() -> None:
    assert growth(_quadratic, bytes) > BOUND
    assert growth(bytes.split, lambda size: b"a " * (size // 2)) < BOUND


# --- PEM -------------------------------------------------------------------------------------------

_BEGIN, _END = b"-----BEGIN CERTIFICATE REQUEST-----\n", b"-----END CERTIFICATE REQUEST-----\n"


def filled(unit: bytes, before: bytes = b"", after: bytes = b"") -> Make:
    """Inputs of any size: one piece again and again, between two others."""
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


@pytest.mark.parametrize(
    "make",
    [
        filled(b"-----END ", _BEGIN),
        filled(b"-----END ", _BEGIN, b"-----"),
        filled(b"-----END \n", _BEGIN),
        filled(b"-----END CERTIFICATE REQUEST-----", _BEGIN),
        filled(b"-----BEGIN "),
        filled(_BEGIN),
        filled(b"-"),
        filled(b"\n"),
        filled(b" ", b"-----BEGIN "),
        filled(b"\t", _BEGIN.rstrip()),
        filled(b"\t", _BEGIN.rstrip(), b"x"),
        filled(b"A", _BEGIN),
        filled(b"A\n", _BEGIN, _END),
        filled(b"=", _BEGIN, _END),
        filled(b"\r", _BEGIN, _END),
        filled(b"*", _BEGIN, _END),
        filled(b"PRIVATE KE"),
    ],
)
def test_pem(make: Make) -> None:
    assert_linear(pem.decode_csr, make)


# --- CSRs, names, OCSP -----------------------------------------------------------------------------


def nested(size: int) -> bytes:
    """SEQUENCEs within each other, as deep as fits."""
    return b"".join(b"\x30\x82" + left.to_bytes(2, "big") for left in range(size - 4, 255, -4)) + bytes(256)


def _request(subject: bytes = b"", attributes: bytes = b"", spki: bytes | None = None) -> bytes:
    """A CertificationRequest with no good signature: that is looked at last."""
    key = csrs.spki_of(csrs.private_key("ed25519")) if spki is None else spki
    info = sequence(csrs.integer(0), sequence(subject), key, tlv(0xA0, attributes))
    return sequence(info, csrs.ED25519, csrs.bit_string(bytes(64)))


def _sans(unit: bytes) -> Make:
    fill = filled(unit)
    return lambda size: _request(attributes=csrs.extension_request(csrs.san(fill(size - 300))))


def _with(name: str, fill: Make) -> Make:
    return lambda size: _request(**{name: fill(size - 300)})


@pytest.mark.parametrize(
    "make",
    [
        filled(b"\x05\0"),
        filled(b"\x30\x80"),
        filled(b"\x30\x84\xff\xff\xff\xff"),
        nested,
        _with("subject", filled(rdn(csrs.O, "a"))),
        _with("subject", filled(tlv(SET))),
        _with("subject", lambda size: tlv(SET, filled(sequence(oid(csrs.O), tlv(0x0C, b"a")))(size))),
        _with("subject", lambda size: rdn(csrs.O, b"a" * size)),
        _with("subject", lambda size: rdn(csrs.O, "\u202e".encode() * (size // 3))),
        _with("subject", lambda size: tlv(SET, sequence(tlv(OBJECT_IDENTIFIER, b"\xff" * size), tlv(0x0C, b"a")))),
        _with("attributes", filled(csrs.attribute("1.2.3", tlv(0x05)))),
        _with("attributes", lambda size: csrs.extension_request(filled(csrs.extension("1.2.3", b"a"))(size))),
        _with("attributes", lambda size: csrs.extension_request(csrs.extension("2.5.29.37", nested(size)))),
        _with("spki", nested),
        _with("spki", lambda size: csrs.rsa_spki(256**size - 1)),
        _sans(csrs.dns("a")),
        _sans(csrs.dns("xn--bcher-kva")),
        _sans(csrs.dns(".".join(["a"] * 100))),
        _sans(tlv(0x86, b"a:")),
        lambda size: _request(attributes=csrs.extension_request(csrs.san(csrs.dns("xn--" * (size // 4))))),
    ],
)
def test_csrs(make: Make) -> None:
    assert_linear(read_csr, make, LARGE - 1000)


def test_der_is_taken_apart() -> None:
    assert_linear(der.parts, filled(b"\x05\0"))
    for make in (nested, filled(b"\x05\0"), lambda size: tlv(0x31, b"\x05\0" * (size // 2))):
        assert_linear(strict_der.check, make)


_HOSTS = [
    filled(unit) for unit in (b"a", b"a.", b".", b"-", b"a-", b"xn--", b"xn--a.", b"0x", b"1.", b"*.", b"\xc3\xbc")
]


@pytest.mark.parametrize("make", _HOSTS)
@pytest.mark.parametrize("parse", [spelling.host, spelling.address, spelling.is_numeric])
def test_hosts_and_addresses(parse: Parse, make: Make) -> None:
    assert_linear(lambda text: parse(text.decode()), make)


@pytest.mark.parametrize(
    "make", [*_HOSTS, *map(filled, (b"@", b"a@", b"a.@", b"a.b.", b":", b"::", b"0:", b"[", b"+", b"%", b"\0"))]
)
@pytest.mark.parametrize("parse", [spelling.mailbox, spelling.address])
def test_mailboxes_and_addresses(parse: Parse, make: Make) -> None:
    assert_linear(lambda text: parse(text.decode()), make)


@pytest.mark.parametrize(
    "make",
    [
        filled(unit, b"https://a")
        for unit in (b"/", b"/..", b"/a", b"%41", b"%c3", b"%", b"?", b"#", b":", b"@", b":1", b"[", b"]", b"a.", b"\\")
    ]
    + [filled(b"a"), filled(b"a:"), filled(b"a+", b"", b"://"), filled(b":", b"https://["), filled(b"xn--a.", b"a://")],
)
def test_uris(make: Make) -> None:
    assert_linear(lambda text: spelling.uri(text.decode()), make)


_EXTENSION = csrs.extension("1.2.3", b"a")
_HASH = tlv(0x30, oid("1.3.14.3.2.26"))
_CERT_ID = sequence(_HASH, tlv(4, bytes(20)), tlv(4, bytes(20)), csrs.integer(1))


@pytest.mark.parametrize(
    "make",
    [
        nested,
        filled(b"\x05\0"),
        lambda size: sequence(sequence(sequence(filled(sequence(_CERT_ID))(size)))),
        lambda size: sequence(sequence(sequence(sequence(_CERT_ID)), tlv(0xA2, sequence(filled(_EXTENSION)(size))))),
        lambda size: sequence(sequence(sequence(sequence(sequence(_HASH, tlv(4), tlv(4), tlv(2, b"\1" * size)))))),
    ],
)
def test_ocsp_requests(make: Make) -> None:
    assert_linear(parse_query, make)


# --- frames ----------------------------------------------------------------------------------------


def _cut(data: bytes, piece: int) -> int:
    """How many frames a stream has, fed in pieces of this size."""
    reader, frames = wire.FrameReader(), 0
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
        while reader.next_frame() is not None:
            frames += 1
    return frames


@pytest.mark.parametrize("piece", [16, 1 << 20])
@pytest.mark.parametrize("make", [filled(b"\0\0\0\1\x80"), lambda size: size.to_bytes(4, "big") + bytes(size)])
def test_frames_are_cut(make: Make, piece: int) -> None:
    assert_linear(lambda data: _cut(data, piece), make)


@pytest.mark.parametrize(
    "make",
    [
        filled(b"\x91"),  # arrays in each other
        filled(b"\x81\xa1a"),  # maps in each other
        filled(b"\xc0"),
        lambda size: b"\x81\xa2op\xdb" + size.to_bytes(4, "big") + b"a" * size,
        lambda size: b"\xde\x0f\xff" + b"".join(b"\xa4%04d\xc0" % n for n in range(min(4095, size // 6))),
        lambda size: b"\xde" + (size // 3).to_bytes(2, "big") + b"\xa1a\xc0" * (size // 3),
        lambda size: wire.pack({"op": "issue", "id": 1, "client": "a" * size, "csr": b"a"}),
        lambda size: wire.pack({"op": "issue", "id": 1, "client": "a", "csr": b"a" * (size - 99)}),
        lambda size: wire.pack({"op": "issue", "id": 1, "extensions": [{"oid": "1." * (size // 64)}] * 31}),
        lambda size: wire.pack({"op": "revoke", "id": 1, "reason": "a", "serials": [b"a"] * (size // 16)}),
    ],
)
def test_frames_are_decoded(make: Make) -> None:
    assert_linear(wire.decode_request, make)


# --- HTTP ------------------------------------------------------------------------------------------


def _environ(**fields: object) -> http_request.Environ:
    body = fields.pop("body", b"")
    environ = {"REQUEST_METHOD": "PUT", "REQUEST_URI": "/api/csr/a", "QUERY_STRING": "", "PATH_INFO": "/api/csr/a"}
    return {**environ, "wsgi.input": io.BytesIO(cast(bytes, body)), **fields}


def _heads(unit: bytes) -> Make:
    """A request's head that repeats this."""
    return filled(unit, b"PUT /api/csr/a HTTP/1.1\r\nHost: a\r\n", b"\r\n\r\n")


with warnings.catch_warnings():  # of a newer waitress, about a setting that goes away
    warnings.simplefilter("ignore", DeprecationWarning)
    _ADJUSTMENTS = Adjustments(**LIMITS)


def _receive(data: bytes, piece: int = 16 * 1024) -> None:
    """The request in ``data``, as it comes from a socket."""
    parser = RequestParser(_ADJUSTMENTS)
    for at in range(0, len(data), piece):
        rest = data[at : at + piece]
        while rest and not parser.completed:
            rest = rest[parser.received(rest) :]


@pytest.mark.parametrize(
    "make",
    [
        *map(
            _heads, (b"a:b\r\n", b"A: b\r\n", b"Host: a\r\n", b"Transfer-Encoding: chunked\r\n", b"\r", b":", b" \r\n")
        ),
        *map(_heads, (b"Host: a", b"Host: [", b"Host: :")),
        *map(_heads, (b"Accept: a, ", b"Expect: 100-continue\r\n", b"a", b"\t", b"a: \xff\r\n")),
        filled(b"/", b"GET ", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        filled(b"a://", b"GET ", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        filled(b"%41", b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        filled(b"#?", b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        filled(b"[", b"GET http://", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        filled(b" ", b"GET / HTTP/1.1", b"\r\nHost: a\r\n\r\n"),
        filled(b"\r\n"),
    ],
)
def test_heads_of_requests(make: Make) -> None:
    assert_linear(_receive, make, HEADERS)
    assert_linear(lambda data: _receive(data, piece=64), make, HEADERS)


@pytest.mark.parametrize("unit", [b"1\r\na\r\n", b"0001\r\na\r\n", b"1;", b"1" * 64, b"0\r\n"])
def test_chunked_bodies(unit: bytes) -> None:
    head = b"PUT /api/csr/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert_linear(_receive, filled(unit, head))


_BODY = pem.encode(b"a", "CERTIFICATE REQUEST").encode()


@pytest.mark.parametrize(
    "make",
    [
        *map(filled, (b"a", b"&", b"&a", b"profile=a&", b"dry_run=1&", b"%41", b"lifetime=1d&", b"=")),
        *(filled(unit, before) for before in (b"lifetime=", b"profile=", b"dry_run=") for unit in (b"1", b"1d", b"a")),
    ],
)
def test_queries(make: Make) -> None:
    def parse(text: bytes) -> None:
        http_request.parse(_environ(QUERY_STRING=text.decode(), body=_BODY), "a")

    assert_linear(parse, make, HEADERS)


@pytest.mark.parametrize("header", ["HTTP_X_CSR_MAC", "HTTP_X_CSR_RENEW", "HTTP_IDEMPOTENCY_KEY", "CONTENT_TYPE"])
@pytest.mark.parametrize("before", [b"", b"17:", b"0a:17:"])
@pytest.mark.parametrize("unit", [b"a", b"1:", b":", b"00", b"1:1:", b"=", b"A=", b"a;", b"\xff", b" "])
def test_headers_of_a_csr(header: str, before: bytes, unit: bytes) -> None:
    def parse(text: bytes) -> None:
        http_request.parse(_environ(body=_BODY, **{header: text.decode("latin-1")}), "a")

    assert_linear(parse, filled(unit, before), HEADERS)


@pytest.mark.parametrize("unit", [b",", b"a,", b"application/pem-certificate-chain;q=0.0", b";", b"q=0.0", b" "])
def test_what_a_client_accepts(unit: bytes) -> None:
    make = filled(unit, b"pem-certificate-chain")
    assert_linear(lambda text: http_request.wants_pem_chain({"HTTP_ACCEPT": text.decode()}), make, HEADERS)


@pytest.mark.parametrize("unit", [b"A", b"%2B", b"%", b"=", b"%41%", b"AAA=", b"+/"])
def test_ocsp_requests_in_a_path(unit: bytes) -> None:
    services = cast(Services, SimpleNamespace(signer=SimpleNamespace(ask_ocsp=_no_signer)))
    assert_linear(lambda text: revocation.get_ocsp(services, {}, text.decode()), filled(unit), HEADERS)


@pytest.mark.parametrize(
    "make",
    [
        *map(filled, (b"[", b'{"serial":', b'"', b"\\", b" ", b"1", b"-", b"{", b"\xff", b'{"a":1,', b"[1,")),
        filled(b"\\u0041", b'{"serial":"', b'"}'),
        filled(b"ab", b'{"reason":"a","signature":"AAAA","serial":"', b'"}'),
        filled(b"A", b'{"serial":"01","reason":"a","signature":"', b'"}'),
        filled(b"=", b'{"serial":"01","reason":"a","signature":"', b'"}'),
        filled(b'"a":1,', b"{", b'"b":1}'),
        filled(b'"serial":"01",', b"{", b'"reason":"a","signature":"AAAA"}'),
    ],
)
def test_revocations(make: Make) -> None:
    services = cast(Services, SimpleNamespace(signer=SimpleNamespace(ask_revoke_own=_no_signer)))
    assert_linear(lambda body: revocation.post_revoke(services, _environ(body=body)), make)


def _no_signer(request: object) -> None:
    raise ValueError("far enough")


@pytest.fixture(scope="module")
def app() -> Edge:
    """All that surrounds the views, as it answers what no route has, with its lines in the log."""
    return Edge(App(cast(Services, None), ROUTES), Board([route.name for route in ROUTES], 1), 0, "unix")


@pytest.mark.parametrize("unit", [b"/", b"a", b"%41", b"/a", b"/crl/", b"/ocsp/A", b"=", b"%", b"\xff", b"\n", b"1/"])
@pytest.mark.parametrize("before", [b"/", b"/ocsp/*", b"/api/csr/", b"/crl/"])
def test_paths(app: Edge, caplog: pytest.LogCaptureFixture, before: bytes, unit: bytes) -> None:
    assert_linear(lambda path: _serve(app, caplog, REQUEST_URI=path.decode("latin-1")), filled(unit, before), HEADERS)


@pytest.mark.parametrize("unit", [b",", b"1,", b" ", b"a", b"::", b"\t,"])
def test_forwarded_addresses(app: Edge, caplog: pytest.LogCaptureFixture, unit: bytes) -> None:
    assert_linear(lambda text: _serve(app, caplog, HTTP_X_FORWARDED_FOR=text.decode()), filled(unit), HEADERS)


def _serve(app: Edge, caplog: pytest.LogCaptureFixture, **fields: object) -> None:
    caplog.set_level(logging.INFO)
    caplog.clear()
    app(_environ(REMOTE_ADDR="localhost", **{"REQUEST_URI": "/none", **fields}), lambda *_: None)
