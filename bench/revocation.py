"""What issuance notices of a mass revocation: its latency before, while everything is revoked and every shard's
CRL is signed, and after; all from one run.

    python -m bench.revocation [--certificates N] [--clients N] [--seconds S]

It builds a ledger, starts a signer on it, keeps it busy with requests for certificates on so many connections,
and then has all that was ever issued revoked by one request, as an operator does whose frontend was taken over
but who did not freeze issuance first.
"""

import argparse
import contextlib
import multiprocessing
import os
import selectors
import socket
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from bench.ledger_million import build, close_quietly
from protocol.messages import CrlRequest, HelloRequest, IssueRequest, RevokeRequest
from protocol.wire import FrameReader, encode_request
from signerd.ledger.index import ALL_SHARDS
from tests.csrs import csr_for, dns
from tests.running import Signer

# Of the certificates that ``build`` makes a tenth has expired, and some are revoked.
_BUILT_PER_LIVE = 1.15


class Latencies(NamedTuple):
    """What was seen in one stretch of time. Milliseconds."""

    what: str
    seconds: float
    certificates: int
    p50: float
    p99: float
    longest: float

    def __str__(self) -> str:
        return (
            f"{self.what:44} {self.seconds:6.1f} s {self.certificates / self.seconds:7.0f}/s"
            f"   p50 {self.p50:6.1f}   p99 {self.p99:6.1f}   longest {self.longest:6.1f} ms"
        )


class Outcome(NamedTuple):
    """What came of one run."""

    revoked: int
    answered: float  # seconds from the operator's request to its answer
    published: float  # seconds from the request until the last CRL was signed
    crls: int
    largest: int  # bytes
    stretches: tuple[Latencies, ...]


def run(certificates: int, clients: int, seconds: float) -> Outcome:
    """One run with so many certificates, about, and so many seconds of load before and after."""
    signer = Signer(base_url="http://ca.example.net")
    with contextlib.ExitStack() as stack:
        stack.callback(close_quietly, signer)
        build(signer.ledger_path, int(certificates * _BUILT_PER_LIVE), signer.identity)
        signer.start()
        load = stack.enter_context(_load(signer.sign_path, clients))
        time.sleep(2 + seconds)
        began = time.monotonic()
        reply = signer.admin().ask_revoke(RevokeRequest(reason="superseded", issued_since=0))
        answered = time.monotonic()
        wait_until_published(signer.ledger_path)
        published = time.monotonic()
        time.sleep(seconds)
        seen = _stop(load)
        sizes = [len(signer.sign().ask_crl(CrlRequest(shard=shard)).crl) for shard in shards(signer.ledger_path)]
    return Outcome(
        reply.revoked,
        answered - began,
        published - began,
        len(sizes),
        max(sizes),
        (
            _latencies("before", seen, began - seconds, began),
            _latencies("while all is revoked and the CRLs are signed", seen, began, published),
            _latencies("after", seen, published, published + seconds),
        ),
    )


def shards(ledger: Path) -> range:
    """The numbers of the shards that a ledger's certificates are in."""
    [(last,)] = _query(ledger, "SELECT max(shard) FROM certificates")
    return range(last + 1)


_UNPUBLISHED = f"""
SELECT count(*) FROM (SELECT shard, max(changed) AS last FROM certificates WHERE revoked_at IS NOT NULL GROUP BY shard)
WHERE NOT EXISTS (SELECT 1 FROM crls WHERE scope IN (shard, {ALL_SHARDS}) AND crls.seq > last)
"""  # noqa: S608 - a constant


def wait_until_published(ledger: Path, seconds: float = 300) -> None:
    """Until each revocation is followed by a CRL that covers it. Raises ``RuntimeError`` if that takes longer."""
    until = time.monotonic() + seconds
    while _query(ledger, _UNPUBLISHED) != [(0,)]:
        if time.monotonic() > until:
            raise RuntimeError(f"the CRLs are not signed after {seconds:g} s")
        time.sleep(0.1)


def _query(ledger: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a ledger, read beside its signer."""
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


# --- load -----------------------------------------------------------------------------------------


class _Load(NamedTuple):
    process: multiprocessing.Process
    control: Connection


@contextlib.contextmanager
def _load(path: str, clients: int) -> Iterator[_Load]:
    """A process that asks for certificates on so many connections until it is stopped."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_ask, args=(path, clients, theirs), daemon=True)
    process.start()
    try:
        yield _Load(process, ours)
    finally:
        process.kill()
        process.join()


def _stop(load: _Load) -> list[tuple[float, float]]:
    """Ends the load: when each answer came, and how long it took, in seconds."""
    load.control.send("stop")
    seen: list[tuple[float, float]] = load.control.recv()
    return seen


def _ask(path: str, clients: int, control: Connection) -> None:
    csrs = [csr_for(dns(f"new{number}.example.net")) for number in range(100)]
    frames = [encode_request("issue", 1, IssueRequest(csr=csr, client="load")) for csr in csrs]
    selector = selectors.DefaultSelector()
    asked: dict[socket.socket, float] = {}
    for number in range(clients):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        connection.sendall(encode_request("hello", 0, HelloRequest(version=1)))
        connection.recv(1000)
        selector.register(connection, selectors.EVENT_READ, FrameReader())
        asked[connection] = time.monotonic()
        connection.sendall(frames[number % len(frames)])
    seen: list[tuple[float, float]] = []
    while not control.poll():
        for key, _ in selector.select(1.0):
            connection = key.fileobj  # type: ignore[assignment] # each is a socket
            key.data.feed(connection.recv(65536))
            if (frame := key.data.next_frame()) is None:
                continue
            if b"certificate" not in frame:
                raise RuntimeError(f"no certificate: {frame!r}")
            now = time.monotonic()
            seen.append((now, now - asked[connection]))
            asked[connection] = now
            connection.sendall(frames[len(seen) % len(frames)])
    control.send(seen)


def _latencies(what: str, seen: Sequence[tuple[float, float]], begin: float, end: float) -> Latencies:
    took = [latency * 1000 for when, latency in seen if begin <= when < end]
    cuts = statistics.quantiles(took, n=100)
    return Latencies(what, end - begin, len(took), cuts[49], cuts[98], max(took))


def main() -> None:
    parser = argparse.ArgumentParser(description="What issuance notices of a mass revocation.")
    parser.add_argument("--certificates", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load before and after")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {arguments.clients} clients", file=sys.stderr)  # noqa: T201
    outcome = run(arguments.certificates, arguments.clients, arguments.seconds)
    print(  # noqa: T201
        f"{outcome.revoked} revoked, answered after {outcome.answered:.1f} s; the last of {outcome.crls} CRLs signed"
        f" after {outcome.published:.1f} s, the largest of {outcome.largest / 1000:.0f} kB"
    )
    for stretch in outcome.stretches:
        print(stretch)  # noqa: T201


if __name__ == "__main__":
    main()
