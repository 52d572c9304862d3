"""SIGKILL at random moments under load: no certificate that the ledger does not know, no intent without its own.

Short as a test; SIGNERD_KILLS says how many kills (1,000: a quarter of an hour), SIGNERD_SEED repeats a campaign.
"""

import collections
import itertools
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from cryptography import x509

from protocol.client import SignerClient
from protocol.errors import ErrorCode, Refused
from protocol.messages import IssueRequest
from tests import certs
from tests.csrs import csr_for, dns, make_csr, private_key
from tests.ledger_reader import LedgerReader
from tests.running import DEADLINE, Signer

KILLS = int(os.environ.get("SIGNERD_KILLS", "15"))
SEED = int(os.environ.get("SIGNERD_SEED", str(time.time_ns() % 1_000_000)))
CLIENTS = 6
SHARE = 4  # one kill in so many comes while the signer starts
CSRS = [csr_for(dns("a.example.net"), dns("b.example.net")), make_csr(key=private_key("p256"))]


class SignerOnASlowDisk(Signer):
    """One that lets each fsync go on beside its loop, as it does by itself where they take long."""

    def command(self) -> list[str]:
        command = super().command()
        at = command.index("-m")
        start = "import signerd.group_commit as g, signerd.__main__ as m; g.SLOW_SECONDS = -1.0; m.main()"
        return [*command[:at], "-c", start, *command[at + 2 :]]


class Client(threading.Thread):
    """Asks for one certificate after the other, and again, with the same idempotency key, until it has it."""

    def __init__(self, number: int, path: str) -> None:
        super().__init__(name=f"web{number}")
        self._signer = SignerClient(path, timeout=DEADLINE)
        self._stop_asking = threading.Event()
        self.received: dict[str, bytes] = {}  # by idempotency key
        self._news: collections.deque[bytes] = collections.deque()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for number in itertools.count():
                if self._stop_asking.is_set():
                    return
                key = f"{self.name}-{number}"
                self.received[key] = self._ask(IssueRequest(CSRS[number % len(CSRS)], self.name, idempotency_key=key))
                self._news.append(self.received[key])
        except BaseException as error:
            self.failure = error

    def _ask(self, request: IssueRequest) -> bytes:
        give_up = time.monotonic() + DEADLINE
        while True:
            try:
                return self._signer.ask_issue(request).certificate
            except Refused as refusal:
                # busy: an attempt before is still with a signer that is about to die
                if refusal.code not in {ErrorCode.UNAVAILABLE, ErrorCode.BUSY} or time.monotonic() > give_up:
                    raise
            time.sleep(0.01)

    def take_news(self) -> list[bytes]:
        """What it received since it was asked the last time."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def stop(self) -> None:
        """Ends it when it has what it asks for."""
        self._stop_asking.set()
        self.join(2 * DEADLINE)
        assert not self.is_alive()
        self._signer.close()
        if self.failure is not None:
            raise self.failure


@contextmanager
def load(signer: Signer) -> Iterator[list[Client]]:
    """Clients that ask without a pause."""
    clients = [Client(number, signer.sign_path) for number in range(CLIENTS)]
    with ExitStack() as stack:
        for client in clients:
            client.start()
            stack.callback(client.stop)
        yield clients


def kill_at_a_random_moment(signer: Signer, clients: list[Client], chance: random.Random) -> list[bytes]:
    """Leaves a signer that runs again, and returns what clients had received from the one that was killed."""
    time.sleep(chance.uniform(0.0, 0.3))
    signer.kill()
    while chance.randrange(SHARE) == 0:
        signer.start(wait=False)
        time.sleep(chance.uniform(0.0, 0.6))
        signer.kill()
    received = [der for client in clients for der in client.take_news()]
    signer.start()
    return received


@pytest.mark.timeout(120 + 6 * KILLS)
@pytest.mark.parametrize("disk", [Signer, SignerOnASlowDisk])
def test_after_each_kill_the_ledger_knows_every_certificate_and_every_intent_has_its_own(disk: type[Signer]) -> None:
    print(f"SIGNERD_KILLS={KILLS} SIGNERD_SEED={SEED}")  # noqa: T201 - to repeat it
    chance = random.Random(SEED)  # noqa: S311 - moments, not secrets
    with disk(key=chance.choice(["p256", "rsa2048", "ed25519", "p384"])) as signer:
        ledger = LedgerReader(signer.ledger_path)
        issuer = x509.load_pem_x509_certificate((signer.identity / "ca.crt.pem").read_bytes())
        known: set[bytes] = set()
        with load(signer) as clients:
            for _ in range(KILLS):
                received_before = kill_at_a_random_moment(signer, clients, chance)
                known |= check_all_that_is_new(ledger, issuer)
                assert known >= set(received_before)
        received = {key: der for client in clients for key, der in client.received.items()}
        assert signer.stop() == 0
        check_the_whole_ledger(LedgerReader(signer.ledger_path), issuer, received)


def check_all_that_is_new(ledger: LedgerReader, issuer: x509.Certificate) -> set[bytes]:
    """The certificates that the ledger has since the last look."""
    new = ledger.follow()
    for der in new:
        x509.load_der_x509_certificate(der).verify_directly_issued_by(issuer)
    assert ledger.left_pending_by_the_start == []
    return set(new)


def check_the_whole_ledger(ledger: LedgerReader, issuer: x509.Certificate, received: dict[str, bytes]) -> None:
    """From the first entry on, when all is quiet."""
    certificates = [certs.load(der) for der in ledger.follow()]
    assert ledger.pending == []
    assert len({certificate.serial_number for certificate in certificates}) == len(certificates)
    for start in range(0, len(certificates), 500):
        done = certs.openssl_verify(certificates[start : start + 500], issuer)
        assert done.returncode == 0, done.stdout + done.stderr
    # Each key was asked with until an answer came, over kills and restarts: it has one certificate, the one received.
    by_key = {ledger.intents[seq]["idempotency_key"]: der for seq, der in ledger.certificates.items()}
    assert len(by_key) == len(ledger.certificates)
    assert by_key == received
    assert len(received) > KILLS
