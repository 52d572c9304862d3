"""An authority inside the test's own process: the real policy, ledger file and key, and a clock that the test owns."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from protocol.errors import ErrorCode, Refused
from protocol.messages import CheckReply, IssueReply, IssueRequest
from signerd import batch, issuance
from signerd.authority import Authority
from signerd.clock import Clock, Reading
from signerd.identity import Identity
from signerd.issuance import Asker
from signerd.key import CaPrivateKey
from signerd.ledger import Ledger
from signerd.ledger.ledger_key import LedgerKey
from signerd.ledger.mark import Boot
from tests import certs
from tests.csrs import private_key
from tests.identities import DAY, NOW, ca_certificate

FRONTEND = Asker("sign", 4711)
OPERATOR = Asker("admin", 0)

LEDGER_KEY = LedgerKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))

CA_KEY_TYPES = ("rsa2048", "p256", "p384", "ed25519")


@cache
def ca_of(key_type: str) -> tuple[x509.Certificate, CaPrivateKey]:
    """A root from a day before NOW, for ten years, and its key."""
    key = private_key(key_type)
    return ca_certificate(key, not_after=NOW + 3650 * DAY), key


class LocalAuthority:
    """``policy``: TOML for all but [signer], whose further keys are ``signer``. The CA is ``identity``,
    or the test key ``ca`` with ``certificate`` or a root of its own. ``now`` is what the clock says."""

    def __init__(
        self,
        directory: Path,
        policy: str = "",
        *,
        ca: str = "p256",
        certificate: x509.Certificate | None = None,
        identity: Identity | None = None,
        ledger_key: LedgerKey = LEDGER_KEY,
        signer: str = "",
        now: int = NOW,
        make_serial: Callable[[], int] | None = None,
    ) -> None:
        self.config = directory / "signerd.toml"
        self.ledger_path = directory / "ledger.db"
        self.now = now
        self.is_synchronized = False
        self._boot_id = "0" * 32
        self._off = 0  # what the wall clock is set forth by, against the time that goes by
        self._ledger_key = ledger_key
        self._make_serial = make_serial
        self._signer_keys = signer
        root, key = ca_of(ca)
        own = certificate or root
        self._identity = identity or Identity(own, (own,), key)
        self.ca = self._identity.certificate
        self.configure(policy)
        self.open()

    def configure(self, policy: str) -> None:
        """Writes the policy anew; it counts from the next reload or restart on."""
        self.config.write_text(f"[signer]\nledger = '{self.ledger_path}'\n{self._signer_keys}\n{policy}\n")

    def open(self) -> None:
        """Starts on what the ledger's file holds."""
        self.ledger = Ledger(self.ledger_path, self._ledger_key, lambda: self.reading().boot)
        self.clock = Clock(self.reading)
        try:
            identity = dataclasses.replace(
                self._identity,
                certificate=self.ca,
                chain=(self.ca, *self._identity.chain[1:]),
                private_key=_copy(self._identity.private_key),
            )
            self.authority = Authority(identity, self.ledger, self.config, self.clock, make_serial=self._make_serial)
        except BaseException:
            self.ledger.close()
            raise

    def close(self) -> None:
        self.ledger.close()

    def reading(self) -> Reading:
        """What the machine's clocks say: as much time has gone by as ``now`` says, but for ``set_clock``."""
        return Reading(self.now, Boot(self._boot_id, self.now - self._off), lambda: self.is_synchronized)

    def set_clock(self, seconds: int) -> None:
        """Sets the wall clock forth, or back, though no time goes by."""
        self.now += seconds
        self._off += seconds

    def restart(self) -> None:
        self.close()
        self.open()

    def reboot(self, seconds: int) -> None:
        """Restarts after the machine was off for so long."""
        self.close()
        self.now += seconds
        self._boot_id, self._off = f"{self.now:032x}", self.now
        self.open()

    # --- asking ---------------------------------------------------------------------------------

    def answers(self, *asked: IssueRequest, asker: Asker = FRONTEND) -> list[IssueReply | Refused]:
        """The answers to one batch."""
        return batch.issue(self.authority, [(request, asker) for request in asked], self.clock.now())

    def ask(self, csr: bytes, client: str = "web1", *, asker: Asker = FRONTEND, **wishes: Any) -> IssueReply | Refused:
        """The answer to a batch of one."""
        [answer] = self.answers(IssueRequest(csr=csr, client=client, **wishes), asker=asker)
        return answer

    def issue(self, csr: bytes, client: str = "web1", *, asker: Asker = FRONTEND, **wishes: Any) -> x509.Certificate:
        """The certificate. Fails if it is refused."""
        answer = self.ask(csr, client, asker=asker, **wishes)
        assert isinstance(answer, IssueReply), answer
        return certs.load(answer.certificate)

    def refusal(self, csr: bytes, client: str = "web1", *, asker: Asker = FRONTEND, **wishes: Any) -> Refused:
        """The refusal. Fails if there is a certificate."""
        answer = self.ask(csr, client, asker=asker, **wishes)
        assert isinstance(answer, Refused), answer
        return answer

    def code(self, csr: bytes, client: str = "web1", *, asker: Asker = FRONTEND, **wishes: Any) -> ErrorCode | None:
        """The refusal's code, or None where a certificate came."""
        answer = self.ask(csr, client, asker=asker, **wishes)
        return answer.code if isinstance(answer, Refused) else None

    def check(self, csr: bytes, client: str = "web1", *, asker: Asker = FRONTEND, **wishes: Any) -> CheckReply:
        """The dry run."""
        return issuance.check(self.authority, IssueRequest(csr=csr, client=client, **wishes), asker, self.clock.now())

    # --- the record -----------------------------------------------------------------------------

    def kinds(self) -> list[str]:
        """The kinds of all entries, in order, after the ledger key's statement and its signature."""
        return [row[0] for row in self.ledger.query("SELECT kind FROM entries WHERE seq > 2 ORDER BY seq")]

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of the entries of this kind, in order, after the ledger key's statement and its signature."""
        rows = self.ledger.query("SELECT seq FROM entries WHERE kind = ? AND seq > 2 ORDER BY seq", kind).fetchall()
        return [self.ledger.body(row[0]) for row in rows]


@contextmanager
def local_authority(directory: Path, policy: str = "", **options: Any) -> Iterator[LocalAuthority]:
    """One that is closed with the block."""
    authority = LocalAuthority(directory, policy, **options)
    try:
        yield authority
    finally:
        authority.close()


def _copy(key: CaPrivateKey) -> CaPrivateKey:
    """The same key as another object, as each start of the signer has one."""
    copied = load_pem_private_key(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), None)
    assert isinstance(copied, CaPrivateKey)
    return copied
