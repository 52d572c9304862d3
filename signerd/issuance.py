"""One request's way to a certificate: who asks → what policy grants → to-be-signed bytes → an answer."""

import functools
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, ParamSpec, TypeVar

from protocol.errors import ErrorCode, Refused
from protocol.fields import Rule
from protocol.messages import CheckReply, IssueReply, IssueRequest
from signerd import der
from signerd.authority import Authority
from signerd.certificate import Validity, subject_text
from signerd.csr import Csr, parse_csr
from signerd.key import Intent
from signerd.ledger import Kind
from signerd.ledger.certificates import Record, State, by_seq
from signerd.ledger.weight import weight
from signerd.policy.decide import Decision, decide
from signerd.policy.policy import Client
from signerd.proofs import OPERATORS_WORD, Claim, Evidence, proof_rule, verify, weigh

_log = logging.getLogger(__name__)
_FROZEN = "issuance is frozen until an operator lets it go on"  # why it is, is for operators to read
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
    """A certificate up to its signature. ``prepare`` alone makes one, from what the policy granted."""

    intent: Intent
    validity: Validity
    serial: bytes


def guarded(step: Callable[P, R]) -> Callable[P, R | Refused]:
    """A step of one request: what goes wrong in it is not the others' fault in its batch."""

    @functools.wraps(step)
    def guarded_step(*arguments: P.args, **named: P.kwargs) -> R | Refused:
        try:
            return step(*arguments, **named)
        except Refused as refusal:
            return refusal
        except Exception:
            _log.exception("preparing a certificate")
            return Refused(ErrorCode.INTERNAL, "an internal error; the signer's log says more")

    return guarded_step


def check(authority: Authority, request: IssueRequest, asker: Asker, now: int) -> CheckReply:
    """What ``issue`` would do and why: the same way through the code, up to the key."""
    authority.ledger.space.look()
    claim = verify(client_of(authority, request, asker), request, authority.ledger, now)
    evidence = evidence_of(authority, request, asker, claim, now)
    try:
        csr = parse_csr(request.csr, blocked=authority.blocked_keys)
        decision = _decide(authority, request, evidence, csr, now)
    except Refused as refusal:  # the CSR can't be read: no other rule has anything to look at
        return CheckReply(allowed=False, rules=(Rule("csr", False, refusal.detail),), to_be_signed=None)
    if decision.grant is None:
        return CheckReply(allowed=False, rules=decision.rules, to_be_signed=None)
    validity = authority.issuer.validity(decision.grant.lifetime, now)
    preview = authority.issuer.to_be_signed(decision.grant, 1, validity, 0)
    return CheckReply(allowed=True, rules=decision.rules, to_be_signed=preview)


def client_of(authority: Authority, request: IssueRequest, asker: Asker) -> Client | None:
    """The table of the client that is to prove itself; None: it has none, or an operator vouches for it."""
    return None if asker.is_operator else authority.policy.clients.get(request.client)


def evidence_of(authority: Authority, request: IssueRequest, asker: Asker, claim: Claim, now: int) -> Evidence:
    """On whose word a request is granted."""
    if asker.is_operator:
        return OPERATORS_WORD
    return weigh(claim, request.client, authority.ledger, authority.blocked_keys, now)


def _decide(authority: Authority, request: IssueRequest, evidence: Evidence, csr: Csr, now: int) -> Decision:
    renews, vouched = evidence.renews, evidence.by == OPERATORS_WORD.by
    return decide(
        authority.policy,
        csr,
        request,
        vouched=vouched,
        proven=evidence.is_the_clients,
        renewed=None if renews is None else renews.profile,
        circumstances=_rules_for_all(authority, now, for_operator=vouched),
        proof_rule=lambda profile: proof_rule(evidence, csr, profile),
        quota_rule=lambda profile: authority.usage.rule(request.client, profile, now),
    )


def _rules_for_all(authority: Authority, now: int, *, for_operator: bool) -> tuple[Rule, ...]:
    """What stops all issuance, whoever asks and for whatever."""
    frozen = authority.frozen if for_operator or authority.frozen is None else _FROZEN
    return _rules_of(
        authority.ledger.problem,
        authority.clock.doubt,
        authority.ledger.space.shortage,
        authority.issuer.problem(now),
        frozen,
    )


@functools.lru_cache(maxsize=4)  # the same for each certificate, mostly
def _rules_of(
    ledger: str | None, clock: str | None, disk: str | None, issuer: str | None, frozen: str | None
) -> tuple[Rule, ...]:
    """Each obstacle as a rule; None: there is none."""
    return (
        Rule("ledger", ledger is None, ledger or "it can be written"),
        Rule("clock", clock is None, clock or "in no doubt"),
        Rule("disk", disk is None, disk or "it has room"),
        Rule("issuer", issuer is None, issuer or "in time"),
        Rule("frozen", frozen is None, frozen or "no"),
    )


@guarded
def prepare(  # noqa: PLR0913, PLR0917 - all that a certificate's record says of its request stands here
    authority: Authority, request: IssueRequest, asker: Asker, csr: Csr, evidence: Evidence, now: int
) -> Prepared:
    """What is granted, ready to be recorded, and counted into the quotas. Raises ``Refused``."""
    decision = _decide(authority, request, evidence, csr, now)
    try:
        grant = decision.granted()
    except Refused as refusal:
        if refusal.code is ErrorCode.QUOTA_EXCEEDED:
            _record_refusal(authority, request.client, refusal.detail, now)
        raise
    _break_circuit_if_due(authority, now)
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
        "issuer": authority.issuer.key_identifier,
        "extensions": [wish.oid for wish in grant.extensions],
        "idempotency_key": request.idempotency_key,
        "proof": evidence.by,
        "grounds": evidence.grounds,
        "proof_id": evidence.id,
        "renews": None if evidence.renews is None else evidence.renews.serial,
        "asker": f"{asker.socket} {asker.uid}",
    }
    to_be_signed = authority.issuer.to_be_signed(grant, serial, validity, shard)
    intent = Intent(to_be_signed, "certificate", facts)
    authority.usage.count(grant.client, grant.profile.name, weight(to_be_signed, facts))
    return Prepared(intent, validity, octets)


def reply(authority: Authority, prepared: Prepared, signature: bytes) -> IssueReply:
    """The certificate."""
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


def earlier(authority: Authority, request: IssueRequest, evidence: Evidence, now: int) -> IssueReply | None:
    """The certificate that this proof, or this idempotency key, got before. Raises ``Refused``: ``conflict`` for
    another CSR, and where it is no longer valid."""
    if evidence.used_for is not None:
        return _again(authority, by_seq(authority.ledger, evidence.used_for, now), "proof", now)
    if request.idempotency_key is None:
        return None
    sql = "SELECT seq FROM certificates WHERE client = ? AND idempotency_key = ?"
    row = authority.ledger.query(sql, request.client, request.idempotency_key).fetchone()
    if row is None:
        return None
    (seq,) = row
    if authority.ledger.body(seq)["csr"] != hashlib.sha256(request.csr).digest():
        raise Refused(ErrorCode.CONFLICT, "this idempotency key was used with another CSR")
    record = by_seq(authority.ledger, seq, now)
    asked = request.profile if request.hooks is None else request.hooks.profile
    if asked not in {None, record.profile}:
        raise Refused(ErrorCode.CONFLICT, f"this idempotency key was used for profile {record.profile!r}")
    return _again(authority, record, "idempotency key", now)


def _again(authority: Authority, record: Record, what: str, now: int) -> IssueReply:
    """The certificate on record, which ``what`` got. Raises ``Refused``."""
    if record.state not in {State.VALID, State.PENDING}:
        raise Refused(ErrorCode.CONFLICT, f"the certificate that this {what} got is {record.state}")
    if record.issued is None:  # the ledger failed between the two; a restart signs it
        raise Refused(ErrorCode.UNAVAILABLE, authority.ledger.problem or "its certificate is not signed yet")
    return IssueReply(
        certificate=record.der,
        chain=authority.chain,
        serial=record.serial,
        not_before=record.not_before,
        not_after=record.not_after,
    )


def _break_circuit_if_due(authority: Authority, now: int) -> None:
    """Freezes issuance where one certificate more is too many for the breaker. Raises ``Refused``."""
    if authority.usage.breaks_circuit(now):
        authority.freeze("the circuit breaker: more than quota.freeze_above", now)
        raise Refused(ErrorCode.FROZEN, _FROZEN)


def _record_refusal(authority: Authority, client: str, detail: str, now: int) -> None:
    """Records a refusal by quota: the first, and then one a minute, however often the client asks."""
    if authority.usage.refusal_is_news(client, now):
        authority.ledger.append(now, Kind.REFUSED, {"client": client, "detail": detail})
