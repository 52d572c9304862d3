"""The views: each takes the services, the WSGI environ and what the route found in the path, and returns an answer.

What is refused is raised (see edge.py).
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from frontend import http_request, metrics, pipeline
from frontend.answers import Answer, answer
from frontend.hook_loader import MakeHooks
from frontend.http_request import Environ
from frontend.problems import HttpRefused
from protocol import pem
from protocol.certificate_text import describe_to_be_signed
from protocol.chain import without_root
from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused
from protocol.messages import CheckRequest, IssueReply
from protocol.times import rfc3339

JSON = "application/json"
PEM = "application/x-pem-file"
PEM_CHAIN = "application/pem-certificate-chain"  # RFC 8555, 9.1
CERTIFICATE_DER = "application/pkix-cert"  # RFC 2585, 4.1
_CHAIN_SECONDS = 60  # how long the CA's certificates are taken from memory
_CACHED = f"max-age={_CHAIN_SECONDS}"
_STATE_CODES = {"frozen": ErrorCode.FROZEN}


class CaChain:
    """The CA's certificate and those above it; the last known ones while the signer is away."""

    def __init__(self, probe: SignerClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe = probe
        self._clock = clock
        self._chain: tuple[bytes, ...] = ()
        self._until = 0.0

    def get(self) -> tuple[bytes, ...]:
        """The certificates, the CA's own first. Raises ``Refused`` if they were never to be had."""
        now = self._clock()
        if now >= self._until:
            try:
                self._chain, self._until = self._probe.ask_describe().chain, now + _CHAIN_SECONDS
            except Refused:
                if not self._chain:
                    raise
        if not self._chain:
            raise Refused(ErrorCode.UNAVAILABLE, "the signer has no certificate to show")
        return self._chain


@dataclass(frozen=True)
class Services:
    """What views work with. ``signer`` is asked for what takes its time, ``probe`` for what must not wait
    behind that."""

    signer: SignerClient
    probe: SignerClient
    make_hooks: MakeHooks | None
    board: metrics.Board
    chain: CaChain
    now: Callable[[], float] = time.time


def put_csr(services: Services, environ: Environ, client: str) -> Answer:
    request = http_request.parse(environ, client)
    if isinstance(request, CheckRequest):
        return _check(services, request)
    reply = pipeline.issue(services.signer, services.make_hooks, request)
    if http_request.wants_pem_chain(environ):
        text = pem.encode(reply.certificate, pem.CERTIFICATE_LABEL) + _intermediates_pem(reply.chain)
        return answer(PEM_CHAIN, text.encode())
    return answer(JSON, _issued(reply))


def _check(services: Services, request: CheckRequest) -> Answer:
    reply = pipeline.check(services.signer, services.make_hooks, request)
    text = None if reply.to_be_signed is None else describe_to_be_signed(reply.to_be_signed)
    return answer(JSON, msgspec.json.encode({"allowed": reply.allowed, "rules": reply.rules, "certificate_text": text}))


def get_ping(services: Services, environ: Environ) -> Answer:
    return answer("text/plain", b"")


def get_healthz(services: Services, environ: Environ) -> Answer:
    return answer("text/plain", b"ok\n")


def get_readyz(services: Services, environ: Environ) -> Answer:
    state = services.probe.ask_describe().state
    if state != "ready":
        raise Refused(_STATE_CODES.get(state, ErrorCode.UNAVAILABLE), f"the signer is {state}")
    return answer("text/plain", b"ready\n")


def get_ca_pem(services: Services, environ: Environ) -> Answer:
    return answer(PEM, pem.encode_certificates(services.chain.get()[:1]).encode(), cache_control=_CACHED)


def get_ca_der(services: Services, environ: Environ) -> Answer:
    return answer(CERTIFICATE_DER, services.chain.get()[0], cache_control=_CACHED)


def get_chain_pem(services: Services, environ: Environ) -> Answer:
    return answer(PEM, pem.encode_certificates(services.chain.get()).encode(), cache_control=_CACHED)


def get_index(services: Services, environ: Environ) -> Answer:
    raise HttpRefused(HTTPStatus.FORBIDDEN, "there is no page here")


def get_metrics(services: Services, environ: Environ) -> Answer:
    try:
        reply = services.probe.ask_metrics()
    except Refused:
        reply = None
    return answer(metrics.CONTENT_TYPE, metrics.render(services.board, reply))


# The chain is the same for certificate after certificate; a few, should it be replaced meanwhile.
@functools.lru_cache(maxsize=4)
def _chain_pem(chain: tuple[bytes, ...]) -> str:
    return pem.encode_certificates(chain)


@functools.lru_cache(maxsize=4)
def _intermediates_pem(chain: tuple[bytes, ...]) -> str:
    return pem.encode_certificates(without_root(chain))


def _issued(reply: IssueReply) -> bytes:
    return msgspec.json.encode(
        {
            "signed_x509_pem": pem.encode(reply.certificate, pem.CERTIFICATE_LABEL),
            "chain_pem": _chain_pem(reply.chain),
            "serial": reply.serial.hex(),
            "not_before": rfc3339(reply.not_before),
            "not_after": rfc3339(reply.not_after),
        }
    )
