"""What a ledger of a million certificates costs, next to an empty one.

    python -m bench.ledger_million [--certificates N] [--seconds S]

It builds a ledger by the code that a signer records with, starts one signer on it and one on an empty ledger,
asks the large one what operators ask, and then both, by turns, for certificates. "Held" is for how long the
signer's one thread worked for an answer: meanwhile nobody else gets one. A million takes 4 GB of disk, in TMPDIR,
and some five minutes. Exit status 1: a limit was missed.
"""

import argparse
import contextlib
import hashlib
import io
import os
import random
import secrets
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from protocol.client import SignerClient
from protocol.messages import BackupRequest, HelloRequest, IssueRequest, ListRequest, ShowRequest, VerifyRequest
from protocol.wire import FrameReader, encode_request
from signerd.certificate import key_identifier_of
from signerd.identity import load_identity
from signerd.key import RecordedKey
from signerd.ledger import Kind, Ledger
from signerd.ledger_key_file import open_ledger_key
from signerd.statement import state_ledger_key
from signerd.trust import CaTrust
from tests.authorities import local_authority
from tests.csrs import csr_for, dns
from tests.identities import PASSPHRASE
from tests.running import Signer

DAY = 86_400
CLIENTS = 5_000
NAMES_OF_SERVICES = 1_000
REVOKED = 2_000
SPAN = 100 * DAY  # over which the certificates were issued, for 90 days each: a tenth has expired
CONNECTIONS = 16
BATCH = 500


class Figure(NamedTuple):
    """One line of the result. ``limit``: what it is to stay below, or None."""

    what: str
    value: float
    unit: str
    limit: float | None = None

    def __str__(self) -> str:
        verdict = "" if self.limit is None else f"(limit {self.limit:g}{': MISSED' if self.is_missed else ''})"
        return f"{self.what:58} {self.value:10.2f} {self.unit:4} {verdict}".rstrip()

    @property
    def is_missed(self) -> bool:
        return self.limit is not None and self.value > self.limit


# --- the ledger -----------------------------------------------------------------------------------


def build(path: Path, certificates: int, identity: Path, passphrase: bytes = PASSPHRASE) -> None:
    """A ledger at ``path`` as so many issuances by this identity leave it: the names, clients and times differ, the
    bytes that were signed do so in their serial number alone."""
    to_be_signed, serial, signature = _example()
    begin = int(time.time()) - SPAN
    ca = load_identity(identity, lambda: passphrase, int(time.time()))
    ledger = Ledger(path, open_ledger_key(identity, passphrase, path))
    ledger.query("PRAGMA synchronous = OFF")  # nothing is lost that could not be made again
    key = RecordedKey(ca.private_key, ledger)
    state_ledger_key(ledger, key, CaTrust(ca.certificate), key_identifier_of(ca.certificate), begin)
    ledger.append(begin, Kind.POLICY, {"hash": bytes(32), "base_url": None})
    recorded: list[int] = []
    for first in range(0, certificates, BATCH):
        now = begin + SPAN * first // certificates
        intents = []
        for number in range(first, min(first + BATCH, certificates)):
            octets = b"\x01" + random.randbytes(len(serial) - 1)  # noqa: S311 - no secret
            facts = _facts(number, octets, now) | {"to_be_signed": to_be_signed.replace(serial, octets)}
            intents.append(ledger.append(now, Kind.INTENT, facts))
        for intent in intents:
            ledger.append(now, Kind.ISSUED, {"intent": intent, "signature": signature})
        ledger.commit()
        recorded += intents
    body = {"certificates": recorded[-REVOKED * 5 :: 5], "shards": [certificates // 3000], "reason": "superseded"}
    ledger.append(begin + SPAN, Kind.REVOKED, {**body, "invalidity_date": None, "asker": "admin 0"})
    ledger.close()


def _facts(number: int, serial: bytes, now: int) -> dict[str, Any]:
    return {
        "what": "certificate",
        "serial": serial,
        "client": f"web{random.randrange(CLIENTS)}",  # noqa: S311
        "profile": "server",
        "subject": f"CN=host{number}.example.net",
        "names": [f"dns:host{number}.example.net", f"dns:svc{number % NAMES_OF_SERVICES}.example.net"],
        "not_before": now - 60,
        "not_after": now - 61 + 90 * DAY,
        "shard": number // 3000,
        "csr": random.randbytes(32),  # noqa: S311
        "policy": bytes(32),
        "spki": hashlib.sha256(serial).digest(),
        "issuer": bytes(20),
        "extensions": [],
        "idempotency_key": None,
        "proof": "none",
        "grounds": "the frontend's word",
        "proof_id": None,
        "renews": None,
        "asker": "sign 999",
    }


def _example() -> tuple[bytes, bytes, bytes]:
    """The to-be-signed bytes of a certificate, its serial number and its signature."""
    serial = b"\x01" + b"serial" * 3 + b"!"
    with (
        tempfile.TemporaryDirectory() as directory,
        local_authority(Path(directory), make_serial=lambda: int.from_bytes(serial)) as local,
    ):
        local.issue(csr_for(dns("host123456.example.net"), dns("svc123.example.net")))
        [intent], [issued] = local.bodies("intent"), local.bodies("issued")
        return intent["to_be_signed"], serial, issued["signature"]


# --- load -----------------------------------------------------------------------------------------


class Load:
    """Asks a signer for certificates on some connections at once, each one after the other."""

    def __init__(self, path: str, csrs: Sequence[bytes]) -> None:
        self._csrs = csrs
        self._selector = selectors.DefaultSelector()
        for _ in range(CONNECTIONS):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            connection.sendall(encode_request("hello", 0, HelloRequest(version=1)))
            connection.recv(1000)
            self._selector.register(connection, selectors.EVENT_READ, FrameReader())

    def run(self, seconds: float) -> tuple[int, float]:
        """How many certificates it got, and the longest that one of them took, in seconds."""
        asked = {key.fileobj: self._ask(key) for key in self._selector.get_map().values()}
        until, got, longest = time.perf_counter() + seconds, 0, 0.0
        while asked:
            for key, _ in self._selector.select():
                key.data.feed(key.fileobj.recv(65536))  # type: ignore[union-attr] # each is a socket
                if (frame := key.data.next_frame()) is None:
                    continue
                if b"certificate" not in frame:
                    raise RuntimeError(f"no certificate: {frame!r}")
                now = time.perf_counter()
                got, longest = got + 1, max(longest, now - asked.pop(key.fileobj))
                if now < until:
                    asked[key.fileobj] = self._ask(key)
        return got, longest

    def _ask(self, key: selectors.SelectorKey) -> float:
        request = IssueRequest(csr=random.choice(self._csrs), client=f"web{random.randrange(CLIENTS)}")  # noqa: S311
        key.fileobj.sendall(encode_request("issue", 1, request))  # type: ignore[union-attr]
        return time.perf_counter()


def rates(signers: Sequence[Signer], seconds: float) -> Iterator[Figure]:
    """Certificates a second of each, by turns, so that the machine's moods are the same for all."""
    csrs = [csr_for(dns(f"{secrets.token_hex(4)}.example.net"), dns(f"new{n}.example.net")) for n in range(500)]
    loads = [Load(signer.sign_path, csrs) for signer in signers]
    rounds = 6
    got, worked = [0] * len(signers), [0.0] * len(signers)
    for number in range(rounds + 1):
        for index, (load, signer) in enumerate(zip(loads, signers, strict=True)):
            before = on_cpu(signer)
            certificates, _ = load.run(seconds / rounds)
            if number:  # the first round fills caches
                got[index] += certificates
                worked[index] += on_cpu(signer) - before
    for name, number, work in zip(("an empty ledger", "the large one"), got, worked, strict=True):
        yield Figure(f"issued a second, {CONNECTIONS} clients, on {name}", number / seconds, "")
        yield Figure(f"work for one of them, on {name}", work / number * 1e6, "µs")
    yield Figure("the large one's work over the empty one's", (worked[1] / got[1]) / (worked[0] / got[0]), "", 1.15)
    yield Figure("the empty one's rate over the large one's", got[0] / got[1], "", 1.25)


def on_cpu(signer: Signer) -> float:
    """Seconds that the signer's thread has worked (the kernel's Documentation/scheduler/sched-stats.rst)."""
    return int(Path(f"/proc/{signer.pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


# --- operations -----------------------------------------------------------------------------------


def operations(signer: Signer, certificates: int) -> Iterator[Figure]:
    """What operators ask: how long they wait, and for how long the signer works for them."""
    admin = signer.admin()
    middle = certificates // 2
    [one] = admin.ask_list(ListRequest(name=f"host{middle}.example.net")).certificates
    asked: dict[str, Callable[[], object]] = {
        "status": admin.ask_status,
        "show, by serial number": lambda: admin.ask_show(ShowRequest(serial=one.serial)),
        "list, the first page": lambda: admin.ask_list(ListRequest()),
        "list, the largest page, with certificates": lambda: admin.ask_list(
            ListRequest(after=certificates, limit=1000, with_certificates=True)
        ),
        "search by name": lambda: admin.ask_list(ListRequest(name=f"host{middle}.example.net")),
        "search by a name that there is not": lambda: admin.ask_list(ListRequest(name="nobody.example.net")),
        "search by a name of a thousandth": lambda: admin.ask_list(ListRequest(name="svc7.example.net")),
        "search by a prefix of a few": lambda: admin.ask_list(ListRequest(name=f"host{middle}*")),
        "search by a prefix of a tenth": lambda: admin.ask_list(ListRequest(name="host1*")),
        "search by a prefix of all": lambda: admin.ask_list(ListRequest(name="host*")),
        "list, by client": lambda: admin.ask_list(ListRequest(client="web77")),
        "list, by profile": lambda: admin.ask_list(ListRequest(profile="server")),
        "list, the revoked": lambda: admin.ask_list(ListRequest(state="revoked")),
        "list, the expired": lambda: admin.ask_list(ListRequest(state="expired")),
        "list, expiring within a day": lambda: admin.ask_list(ListRequest(expiring_within=DAY)),
        "list, expiring within 90 days": lambda: admin.ask_list(ListRequest(expiring_within=90 * DAY)),
        "list, a page without a match": lambda: admin.ask_list(ListRequest(state="hold", profile="none")),
        "list, issued within an hour": lambda: admin.ask_list(ListRequest(issued_since=int(time.time()) - 3600)),
        "verify, a stretch in the middle": lambda: admin.ask_verify(VerifyRequest(seq=certificates, limit=5000)),
        "checkpoint": admin.ask_checkpoint,
        "reload": admin.ask_reload,
    }
    for what, ask in asked.items():
        waited, held = [], []
        for _ in range(15):
            before, began = on_cpu(signer), time.perf_counter()
            ask()
            waited.append((time.perf_counter() - began) * 1000)
            held.append((on_cpu(signer) - before) * 1000)
        is_search = what.startswith("search")
        yield Figure(f"{what}: waited, median", statistics.median(waited), "ms", 50 if is_search else None)
        yield Figure(f"{what}: held, median", statistics.median(held), "ms", 20)


def whole_search(admin: SignerClient, certificates: int) -> Figure:
    """Every page of a search in the newer half that no index answers, and that finds nothing."""
    began, after, pages = time.perf_counter(), certificates, 0
    while after:
        reply = admin.ask_list(ListRequest(name="host*", state="expired", after=after))
        after, pages = reply.next or 0, pages + 1
    waited = (time.perf_counter() - began) * 1000
    return Figure(f"a search through half of it that finds nothing, {pages} pages", waited, "ms")


def backup(signer: Signer, csrs: Sequence[bytes]) -> Iterator[Figure]:
    """A whole backup, and what it does to those who ask for certificates meanwhile."""
    load, admin = Load(signer.sign_path, csrs), signer.admin()
    _, longest = load.run(2)
    yield Figure("longest wait for a certificate, without a backup", longest * 1000, "ms")
    began, longest, got = time.perf_counter(), 0.0, 0
    while admin.ask_backup(BackupRequest()).total is None:
        certificates, wait = load.run(0.5)
        got, longest = got + certificates, max(longest, wait)
    yield Figure("a snapshot for a backup", time.perf_counter() - began, "s")
    yield Figure("certificates a second meanwhile", got / (time.perf_counter() - began), "")
    yield Figure("longest wait for a certificate meanwhile", longest * 1000, "ms")


# --- all of it ------------------------------------------------------------------------------------


def start_up(signer: Signer) -> Figure:
    """From the process's start to its first answer."""
    signer.stop()
    began = time.perf_counter()
    signer.start()
    return Figure("from the start of the process to its first answer", time.perf_counter() - began, "s", 1.0)


def measure(certificates: int, seconds: float) -> Iterator[Figure]:
    """Every figure, as soon as it is known."""
    empty, large = Signer(), Signer()
    with contextlib.ExitStack() as stack:
        for signer in (empty, large):
            stack.callback(close_quietly, signer)
        began = time.process_time()
        build(large.ledger_path, certificates, large.identity)
        work = (time.process_time() - began) / certificates
        yield Figure(f"work to record and index each of {certificates}", work * 1e6, "µs")
        yield Figure("the ledger's file", large.ledger_path.stat().st_size / 1e6, "MB")
        for signer in (empty, large):
            signer.start()
        yield start_up(large)
        yield Figure("memory after the start, resident", large.memory() / 2**20, "MiB", 64)
        yield from operations(large, certificates)
        yield whole_search(large.admin(), certificates)
        yield from rates((empty, large), seconds)
        yield from backup(large, [csr_for(dns("meanwhile.example.net"))])
        yield Figure("memory after all of it, at most", large.memory_peak() / 2**20, "MiB", 64)


def close_quietly(signer: Signer) -> None:
    """Ends a signer without its log, which it prints for tests that failed."""
    with contextlib.redirect_stdout(io.StringIO()):
        signer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="What a ledger of a million certificates costs, next to an empty one.")
    parser.add_argument("--certificates", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of load on each of the two signers")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")  # noqa: T201
    missed = 0
    for figure in measure(arguments.certificates, arguments.seconds):
        print(figure, flush=True)  # noqa: T201
        missed += figure.is_missed
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
