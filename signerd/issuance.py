"""Request → check → to-be-signed → recorded → signed, in that order, for a batch of requests at once."""

import functools
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, ParamSpec, TypeVar

from protocol.errors import ErrorCode, Refused
from protocol.messages import CheckReply, IssueReply, IssueRequest, Rule
from signerd import der
from signerd.authority import Authority
from signerd.certificate import Validity, subject_text
from signerd.csr import Csr, UnprovenCsr, parse_csr, read_csr
from signerd.key import Intent
from signerd.ledger import Kind
from signerd.ledger.certificates import State, by_seq
from signerd.policy.decide import Decision, Grant, choose_profile, decide
from signerd.proofs import proof_rule

_log = logging.getLogger(__name__)
_WORTH_A_THREAD = 6  # CSRs whose signatures take their time
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the socket's name and the peer's uid, for the record."""

    socket: str
    uid: int

    @property
    def is_operator(self) -> bool:
        return self.socket == "admin"


class Prepared(NamedTuple):
    """A certificate up to its signature. ``_prepare`` alone makes one, from what the policy granted."""

    intent: Intent
    validity: Validity
    serial: bytes


def _guarded(step: Callable[P, R]) -> Callable[P, R | Refused]:
    """A step of one request: what goes wrong in it is not the others' fault in its batch."""

    @functools.wraps(step)
    def guarded(*arguments: P.args, **named: P.kwargs) -> R | Refused:
        try:
            return step(*arguments, **named)
        except Refused as refusal:
            return refusal
        except Exception:
            _log.exception("preparing a certificate")
            return Refused(ErrorCode.INTERNAL, "an internal error; the signer's log says more")

    return guarded


class Batch:
    """Requests that share an fsync: prepared as they come, recorded together, then signed and answered.

    The policy that they were prepared under holds for them. ``before``: the batch that may still be under way.
    """

    def __init__(self, authority: Authority, before: "Batch | None" = None) -> None:
        self._authority = authority
        self._answers: list[IssueReply | Refused | Prepared] = []
        self._keys: set[tuple[str, str]] = set()
        self._keys_before = before._keys if before is not None else set()  # noqa: SLF001
        self._ticket: int | None = None

    def __len__(self) -> int:
        return len(self._answers)

    def prepare(self, requests: Sequence[tuple[IssueRequest, Asker]], now: int) -> None:
        """Takes in requests: each of them is refused, or only needs a signature."""
        self._authority.ledger.space.look()
        read = [self._read(request, now) for request, _ in requests]
        slow = sum(isinstance(one, UnprovenCsr) and not one.is_quick for one in read)
        proven = (self._authority.second_thread.map if slow >= _WORTH_A_THREAD else map)(_prove, read)
        for (request, asker), csr in zip(requests, proven, strict=True):
            self._answers.append(_prepare(self._authority, request, asker, csr, now) if isinstance(csr, Csr) else csr)

    def record(self, now: int, *, then: Callable[[], None] | None = None) -> None:
        """Records what is granted. With ``then`` the fsync may go on for a while; then that is called, in another
        thread."""
        try:
            intents = [answer.intent for answer in self._answers if isinstance(answer, Prepared)]
            self._ticket = self._authority.key.record(intents, now, then=then)
        except Refused as failure:
            self._answers = [*self._failed(failure)]
        finally:
            self._authority.usage.settle()

    def answers(self, now: int) -> list[IssueReply | Refused]:
        """The answers, in order: what was recorded is signed."""
        try:
            signatures = iter(() if self._ticket is None else self._authority.key.sign_recorded(self._ticket, now))
        except Refused as failure:
            return self._failed(failure)
        return [
            _reply(self._authority, answer, next(signatures)) if isinstance(answer, Prepared) else answer
            for answer in self._answers
        ]

    def _failed(self, failure: Refused) -> list[IssueReply | Refused]:
        return [failure if isinstance(answer, Prepared) else answer for answer in self._answers]

    @_guarded
    def _read(self, request: IssueRequest, now: int) -> IssueReply | UnprovenCsr:
        """The CSR, or what the request got before."""
        if request.idempotency_key is not None:
            # One request at a time uses an idempotency key; the ledger knows those that were answered.
            key = (request.client, request.idempotency_key)
            if key in self._keys or key in self._keys_before:
                raise Refused(ErrorCode.BUSY, "a request with this idempotency key is under way")
            self._keys.add(key)
        earlier = _earlier(self._authority, request, now)
        return earlier or read_csr(request.csr, blocked=self._authority.policy.blocked_keys)


def issue(authority: Authority, requests: Sequence[tuple[IssueRequest, Asker]], now: int) -> list[IssueReply | Refused]:
    """Answers a batch, in order, with one fsync for all of it."""
    batch = Batch(authority)
    batch.prepare(requests, now)
    batch.record(now)
    return batch.answers(now)


@_guarded
def _prove(read: IssueReply | UnprovenCsr | Refused) -> IssueReply | Csr | Refused:
    return read.proven() if isinstance(read, UnprovenCsr) else read


def check(authority: Authority, request: IssueRequest, asker: Asker, now: int) -> CheckReply:
    """What ``issue`` would do and why: the same way through the code, up to the key."""
    authority.ledger.space.look()
    try:
        decision = _decide(
            authority, request, asker, parse_csr(request.csr, blocked=authority.policy.blocked_keys), now
        )
    except Refused as refusal:  # the CSR can't be read: no other rule has anything to look at
        return CheckReply(allowed=False, rules=(Rule("csr", False, refusal.detail),), to_be_signed=None)
    if decision.grant is None:
        return CheckReply(allowed=False, rules=decision.rules, to_be_signed=None)
    validity = authority.issuer.validity(decision.grant.lifetime, now)
    preview = authority.issuer.to_be_signed(decision.grant, 1, validity, 0)
    return CheckReply(allowed=True, rules=decision.rules, to_be_signed=preview)


def _decide(authority: Authority, request: IssueRequest, asker: Asker, csr: Csr, now: int) -> Decision:
    policy = authority.policy
    client = None if asker.is_operator else policy.clients.get(request.client)
    return decide(
        policy,
        csr,
        request,
        vouched=asker.is_operator,
        circumstances=(
            *_rules_for_all(authority, now),
            proof_rule(client, request, csr, choose_profile(policy, client, request.profile)[0], authority.ledger, now),
        ),
        quota_rule=lambda profile: authority.usage.rule(request.client, profile, now),
    )


def _rules_for_all(authority: Authority, now: int) -> Iterator[Rule]:
    """What stops all issuance, whoever asks and for whatever."""
    problem, ended, frozen = authority.ledger.problem(now), authority.issuer.problem(now), authority.frozen
    shortage = authority.ledger.space.shortage
    yield Rule("ledger", problem is None, problem or "it can be written")
    yield Rule("disk", shortage is None, shortage or "it has room")
    yield Rule("issuer", ended is None, ended or "in time")
    yield Rule("frozen", frozen is None, "no" if frozen is None else frozen)


@_guarded
def _prepare(authority: Authority, request: IssueRequest, asker: Asker, csr: Csr, now: int) -> Prepared:
    decision = _decide(authority, request, asker, csr, now)
    try:
        grant = decision.granted()
    except Refused as refusal:
        if refusal.code is ErrorCode.QUOTA_EXCEEDED:
            _record_refusal(authority, request.client, refusal.detail, now)
        raise
    _count(authority, grant, now)
    serial, validity = authority.new_serial(), authority.issuer.validity(grant.lifetime, now)
    shard = authority.next_shard()
    octets = serial.to_bytes((serial.bit_length() + 7) // 8, "big")
    facts = {
        "serial": octets,
        "client": grant.client,
        "profile": grant.profile.name,
        "subject": subject_text(grant.subject),
        "names": [str(name) for name in grant.names],
        "not_before": validity.not_before,
        "not_after": validity.not_after,
        "shard": shard,
        "csr": grant.csr.sha256,
        "spki": hashlib.sha256(grant.csr.spki).digest(),
        "policy": authority.policy.hash,
        "idempotency_key": request.idempotency_key,
        "asker": f"{asker.socket} {asker.uid}",
    }
    to_be_signed = authority.issuer.to_be_signed(grant, serial, validity, shard)
    return Prepared(Intent(to_be_signed, "certificate", facts), validity, octets)


def _reply(authority: Authority, prepared: Prepared, signature: bytes) -> IssueReply:
    facts = prepared.intent.facts
    _log.info(
        "issued %s to %s (%s): %s",
        prepared.serial.hex(), facts["client"], facts["profile"], " ".join(facts["names"]),
    )  # fmt: skip
    return IssueReply(
        certificate=der.signed(prepared.intent.to_be_signed, signature, authority.issuer.signature_algorithm),
        chain=authority.chain,
        serial=prepared.serial,
        not_before=prepared.validity.not_before,
        not_after=prepared.validity.not_after,
    )


def _earlier(authority: Authority, request: IssueRequest, now: int) -> IssueReply | None:
    """The certificate that this idempotency key got before. Raises ``Refused``: ``conflict`` for another CSR."""
    if request.idempotency_key is None:
        return None
    row = authority.ledger.query(
        "SELECT seq FROM certificates WHERE client = ? AND idempotency_key = ?",
        request.client,
        request.idempotency_key,
    ).fetchone()
    if row is None:
        return None
    (seq,) = row
    if authority.ledger.body(seq)["csr"] != hashlib.sha256(request.csr).digest():
        raise Refused(ErrorCode.CONFLICT, "this idempotency key was used with another CSR")
    record = by_seq(authority.ledger, seq, now)
    if request.profile not in {None, record.profile}:
        raise Refused(ErrorCode.CONFLICT, f"this idempotency key was used for profile {record.profile!r}")
    if record.state not in {State.VALID, State.PENDING}:
        raise Refused(ErrorCode.CONFLICT, f"the certificate that this idempotency key got is {record.state}")
    if record.issued is None:  # the ledger failed between the two; a restart signs it
        raise Refused(ErrorCode.UNAVAILABLE, authority.ledger.problem(now) or "its certificate is not signed yet")
    return IssueReply(
        certificate=record.der,
        chain=authority.chain,
        serial=record.serial,
        not_before=record.not_before,
        not_after=record.not_after,
    )


def _count(authority: Authority, grant: Grant, now: int) -> None:
    """Counts the certificate into the quotas; freezes issuance where it is one too many for the breaker."""
    if authority.usage.breaks_circuit(now):
        authority.freeze("the circuit breaker: more than quota.freeze_above", now)
        raise Refused(ErrorCode.FROZEN, "issuance has just been frozen: more than quota.freeze_above")
    authority.usage.count(grant.client, grant.profile.name)


def _record_refusal(authority: Authority, client: str, detail: str, now: int) -> None:
    """Records a refusal by quota: the first, and then one a minute, however often the client asks."""
    if authority.usage.refusal_is_news(client, now):
        authority.ledger.append(now, Kind.REFUSED, {"client": client, "detail": detail})
