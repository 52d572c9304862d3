"""The certificate authority as it stands: its key, its ledger, the policy in force, frozen or not."""

import collections
import contextlib
import logging
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.chain import without_root
from protocol.errors import ConfigurationError, ErrorCode, Refused
from protocol.times import rfc3339
from signerd.certificate import CRL_SHARD_CERTIFICATES, Issuer, key_identifier_of
from signerd.certificate_facts import problem_with
from signerd.check_rate import CheckRate
from signerd.clock import Clock, Step
from signerd.identity import Identity
from signerd.key import RecordedKey
from signerd.ledger import Kind, Ledger
from signerd.ledger.backup import Backups
from signerd.ledger.chain import GENESIS
from signerd.ledger.prune import prune
from signerd.measures import Measures
from signerd.policy.blocked import AnyOf
from signerd.policy.policy import Policy, load_policy
from signerd.revocation.service import Revocation
from signerd.second_thread import SecondThread
from signerd.statement import Statement, check_ledger_key, state_ledger_key
from signerd.trust import CaTrust
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
        clock: Clock,
        *,
        make_serial: Callable[[], int] | None = None,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.key = RecordedKey(identity.private_key, ledger)
        self.second_thread = SecondThread("prove")
        self.chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in identity.chain)
        self.trust = CaTrust(identity.certificate)
        self._make_serial = make_serial
        self._lately: collections.deque[int] = collections.deque(maxlen=1024)
        self._certificate = identity.certificate
        self._policy_path = policy_path
        self.backups = Backups(ledger)
        self.checks = CheckRate()
        self.measures = Measures()
        self._prunes = True
        self.frozen = ledger.state("frozen")  # why issuance is frozen, or None
        self.revocation = Revocation(ledger, self.key, self.new_serial, without_root(self.chain))
        self._shards = _ShardCounter(ledger, self.revocation.shard_begins)
        self._follow(load_policy(policy_path))
        if ledger.head != GENESIS:
            clock.go_on_from(ledger.head.time, ledger.mark)
        if ledger.lost is None:
            self._begin()
        else:
            _log.critical("nothing is issued or revoked: %s", ledger.lost)

    def _begin(self) -> None:
        """Records that the signer is there, by which certificate and policy, and finishes what a crash left."""
        check_ledger_key(self.ledger)
        step, now = self.clock.look(), self.clock.now()
        recovered = self.key.recover(now, self._problem_with_pending)
        state_ledger_key(self.ledger, self.key, self.trust, key_identifier_of(self._certificate), now)
        if step is not None:
            self._record_step(step)
        self.ledger.append(now, Kind.START, {"certificate": self.chain[0]})
        self._record_policy(self.policy, now)
        if recovered:
            _log.warning("signed %d certificates that a crash had left pending", recovered)

    def _problem_with_pending(self, seq: int, body: Mapping[str, Any]) -> str | None:
        """Why an intent is not to be signed by this key. Raises ``ConfigurationError`` where another one is to."""
        if body["what"] != "certificate":
            own = Statement(key_identifier_of(self._certificate), self.ledger.key.public).text
            return None if body["to_be_signed"] == own else "it names another ledger key"
        issuer = self.issuer if body["issuer"] == self.issuer.key_identifier else self._issuer_at(seq)
        return problem_with(body["to_be_signed"], body, issuer.name)

    def _issuer_at(self, seq: int) -> Issuer:
        """This CA by the certificate that it had when an entry was recorded: of the same key, or another one is to sign
        what is pending. Raises ``ConfigurationError``."""
        start = self.ledger.last_start_before(seq)
        certificate = x509.load_der_x509_certificate(self.ledger.body(start)["certificate"])
        if certificate.public_key() != self._certificate.public_key():
            raise ConfigurationError(
                f"{self.ledger.path} holds certificates that another key of the CA is to sign: start once more with the"
                " identity that was there before"
            )
        return Issuer(certificate, None)

    def _put_in_force(self, policy: Policy, now: int) -> None:
        self._record_policy(policy, now)
        self._follow(policy)  # from here on nothing can fail any more

    def _record_policy(self, policy: Policy, now: int) -> None:
        self.ledger.append(now, Kind.POLICY, {"hash": policy.hash, "base_url": policy.signer.base_url})
        self.ledger.commit()

    def _follow(self, policy: Policy) -> None:
        self.policy, self.usage = policy, Usage(policy, self.ledger)
        # The SubjectPublicKeyInfos that get no certificate: on the operator's list, or revoked for keyCompromise.
        self.blocked_keys = AnyOf(policy.blocked_keys, self.revocation.compromised)
        self.issuer = Issuer(self._certificate, policy.signer.base_url)
        self.revocation.put_in_force(policy, self.issuer)

    def accept(self, why: str, asker: str) -> list[str]:
        """An operator takes as they are a ledger whose end went missing and a clock that is in doubt: what was
        accepted, in words. Raises ``Refused``: ``conflict`` where nothing is in doubt."""
        lost, doubt = self.ledger.lost, self.clock.doubt
        accepted = [what for what in (lost, doubt) if what is not None]
        if not accepted:
            raise Refused(ErrorCode.CONFLICT, "there is nothing to accept: neither ledger nor clock is in doubt")
        step = None if doubt is None else self.clock.accept()._replace(why=why or "an operator accepted it")
        if lost is not None:
            self.ledger.accept(self.clock.now(), {"operator": why, "asker": asker})
        if step is not None:
            self._record_step(step, asker)
        if lost is not None:
            self._begin()
        _log.warning("accepted by %s: %s", asker, "; ".join(accepted))
        return accepted

    def _record_step(self, step: Step, asker: str | None = None) -> None:
        """Begins an epoch: the times go on from what the clock now says."""
        self.ledger.append(step.after, Kind.CLOCK, {"before": step.before, "why": step.why, "asker": asker})
        self.ledger.commit()
        self.usage.clock_was_set()
        self.revocation.look_again()
        _log.warning("the time was %s and is %s: %s", rfc3339(step.before), rfc3339(step.after), step.why)

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
        return self.ledger.problem or self.clock.doubt or self.ledger.space.look() or self.issuer.problem(now)

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
        if self.ledger.problem is not None:
            return
        self.ledger.space.restore()
        if (step := self.clock.look()) is not None:
            with contextlib.suppress(Refused):  # the ledger has logged why, and says so to each request
                self._record_step(step)
        elif self._prunes and self.clock.doubt is None and self.ledger.space.shortage is None:
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
