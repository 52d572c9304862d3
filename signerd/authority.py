"""The certificate authority as it stands: its key, its ledger, the policy in force, frozen or not."""

import collections
import logging
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.chain import without_root
from protocol.errors import ConfigurationError, ErrorCode, Refused
from signerd.certificate import CRL_SHARD_CERTIFICATES, Issuer
from signerd.check_rate import CheckRate
from signerd.identity import Identity
from signerd.key import RecordedKey
from signerd.ledger import Kind, Ledger
from signerd.ledger.backup import Backups
from signerd.ledger.prune import prune
from signerd.policy.policy import Policy, load_policy
from signerd.revocation.service import Revocation
from signerd.second_thread import SecondThread
from signerd.usage import Usage

_log = logging.getLogger(__name__)


_SERIAL_TRIES = 8  # of an operator's own generator, before it is believed to repeat itself


_random = bytearray()  # from the kernel, in larger pieces: a system call for each serial number took 10 µs


def random_serial() -> int:
    """159 random bits, positive: at most 20 octets (RFC 5280, 4.1.2.2), and unguessable."""
    while True:
        if not _random:
            _random.extend(secrets.token_bytes(20 * 64))
        serial = int.from_bytes(_random[-20:], "big") >> 1
        del _random[-20:]
        if serial:
            return serial


class Authority:
    """What every operation works on. Made once at start-up, by one thread, used by that one."""

    def __init__(
        self,
        identity: Identity,
        ledger: Ledger,
        policy_path: Path,
        now: int,
        *,
        make_serial: Callable[[], int] | None = None,
    ) -> None:
        self.ledger = ledger
        self.key = RecordedKey(identity.private_key, ledger)
        self.second_thread = SecondThread("prove")
        self.chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in identity.chain)
        self._make_serial = make_serial
        self._lately: collections.deque[int] = collections.deque(maxlen=1024)
        self._certificate = identity.certificate
        self._policy_path = policy_path
        self.backups = Backups(ledger)
        self.checks = CheckRate()
        self._prunes = True
        self.frozen = ledger.state("frozen")  # why issuance is frozen, or None
        self.revocation = Revocation(ledger, self.key, self.new_serial, without_root(self.chain))
        self._shards = _ShardCounter(ledger, self.revocation.shard_begins)
        _refuse_anothers_intents(ledger, identity.certificate)
        ledger.append(now, Kind.START, {"certificate": self.chain[0]})
        self._put_in_force(load_policy(policy_path), now)
        if pending := self.key.recover(now):
            _log.warning("signed %d certificates that a crash had left pending", pending)

    def _put_in_force(self, policy: Policy, now: int) -> None:
        usage, issuer = Usage(policy, self.ledger), Issuer(self._certificate, policy.signer.base_url)
        self.ledger.append(now, Kind.POLICY, {"hash": policy.hash, "base_url": policy.signer.base_url})
        self.ledger.commit()
        # From here on nothing can fail any more.
        self.policy, self.usage, self.issuer = policy, usage, issuer
        self.revocation.put_in_force(policy, issuer)

    def reload(self, now: int) -> None:
        """Reads the policy anew, whole or not at all. Raises ``ConfigurationError``."""
        policy = load_policy(self._policy_path)
        for key in ("identity", "ledger", "sign_socket", "admin_socket", "sign_users", "admin_group", "custom"):
            if getattr(policy.signer, key) != getattr(self.policy.signer, key):
                raise ConfigurationError(f"{self._policy_path}: signer.{key} can't change without a restart")
        self._put_in_force(policy, now)
        _log.info("policy %s is in force", policy.hash.hex()[:16])

    def freeze(self, why: str, now: int) -> None:
        """Stops issuance, durably, until ``thaw``."""
        self.ledger.append(now, Kind.FREEZE, {"why": why})
        self.ledger.commit()
        self.frozen = self.ledger.state("frozen")
        _log.warning("issuance is frozen: %s", why)

    def thaw(self, why: str, now: int) -> None:
        """Lets issuance go on."""
        self.ledger.append(now, Kind.THAW, {"why": why})
        self.ledger.commit()
        self.frozen = None
        self.usage.thawed()
        _log.warning("issuance goes on: %s", why)

    def problem(self, now: int) -> str | None:
        """Why nothing can be issued, whatever operators may want; or None."""
        return self.ledger.problem(now) or self.ledger.space.look() or self.issuer.problem(now)

    def state(self, now: int) -> str:
        """ready, frozen, or unavailable (there is a ``problem``)."""
        if self.problem(now) is not None:
            return "unavailable"
        return "ready" if self.frozen is None else "frozen"

    def new_serial(self) -> int:
        """A serial number that no certificate has. The operator's own generator may repeat itself: those of
        the batch under way are remembered, and the ledger knows those before. Raises ``Refused``."""
        if self._make_serial is None:
            return random_serial()
        for _ in range(_SERIAL_TRIES):
            serial = self._make_serial()
            octets = serial.to_bytes((serial.bit_length() + 7) // 8, "big")
            if serial not in self._lately and not self.ledger.has_certificate(octets):
                self._lately.append(serial)
                return serial
        raise Refused(ErrorCode.INTERNAL, "the operator's serial number generator repeats itself")

    def next_shard(self) -> int:
        """The CRL shard of the next certificate."""
        return self._shards.take()

    def tend(self, now: int) -> None:
        """What is to be done once in a second, whether or not anybody asks for anything."""
        self.backups.give_up_idle(now)
        self.ledger.space.restore()
        if self._prunes and self.ledger.space.shortage is None:
            self._prune(now)

    def _prune(self, now: int) -> None:
        try:
            prune(self.ledger, now - self.policy.prune_after, now)
        except Refused:
            self._prunes = False  # the ledger has logged why, and says so to each request
        except sqlite3.Error:
            self._prunes = False
            _log.exception("nothing is pruned any more, until a restart; see `ca_admin verify`")

    def close(self) -> None:
        """Leaves nothing half done behind."""
        self.backups.close()


def _refuse_anothers_intents(ledger: Ledger, certificate: x509.Certificate) -> None:
    """What a crash left pending names its issuer. Were the identity replaced meanwhile, this key would make
    certificates of it that nobody could have asked for. Raises ``ConfigurationError``."""
    pending, own = ledger.pending_intents(), Issuer(certificate, None).authority_key
    # Nearly always they name this key. Else the last start says for sure, however far back it is to be looked for.
    if not all(own in ledger.body(seq)["to_be_signed"] for seq in pending):
        sql = "SELECT seq FROM entries WHERE kind = 'start' AND seq < ? ORDER BY seq DESC LIMIT 1"
        (start,) = ledger.query(sql, pending[0]).fetchone()
        if x509.load_der_x509_certificate(ledger.body(start)["certificate"]).public_key() != certificate.public_key():
            raise ConfigurationError(
                f"{ledger.path} holds {len(pending)} certificates that another key of the CA is to sign: "
                f"start once more with the identity that was there before"
            )


class _ShardCounter:
    """Counts certificates into shards, in the order of issuance: a small CA has one, and old ones die out."""

    def __init__(self, ledger: Ledger, on_new: Callable[[], None]) -> None:
        self._on_new = on_new
        last = ledger.query("SELECT shard FROM certificates ORDER BY seq DESC LIMIT 1").fetchone()
        self._shard = 0 if last is None else int(last[0])
        (self._members,) = ledger.query(
            "SELECT count(*) FROM (SELECT shard FROM certificates ORDER BY seq DESC LIMIT ?) WHERE shard = ?",
            CRL_SHARD_CERTIFICATES,
            self._shard,
        ).fetchone()

    def take(self) -> int:
        if self._members >= CRL_SHARD_CERTIFICATES:
            self._shard, self._members = self._shard + 1, 0
            self._on_new()
        self._members += 1
        return self._shard
