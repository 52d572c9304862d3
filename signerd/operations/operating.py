"""What is answered to operators, on admin.sock."""

from protocol import messages
from protocol.errors import ConfigurationError, ErrorCode, Refused
from signerd.authority import Authority
from signerd.checkpoint import make_checkpoint
from signerd.issuance import Asker
from signerd.ledger import Head
from signerd.ledger.certificates import find
from signerd.ledger.search import count_by_state, search, summary

_SEQ_MAX = 2**63 - 1  # what SQLite can look for


def answer_status(
    authority: Authority, request: messages.StatusRequest, asker: Asker, now: int
) -> messages.StatusReply:
    ledger = authority.ledger
    return messages.StatusReply(
        state=authority.state(now),
        detail=authority.problem(now) or authority.frozen,
        issuer=authority.issuer.certificate.subject.rfc4514_string(),
        issuer_not_after=authority.issuer.not_after,
        certificates=count_by_state(ledger, now),
        entries=ledger.head.seq,
        head=ledger.head.hash,
        ledger_bytes=ledger.size,
        policy=authority.policy.hash,
        quotas=tuple(authority.usage.describe(now)),
    )


def answer_list(authority: Authority, request: messages.ListRequest, asker: Asker, now: int) -> messages.ListReply:
    try:
        found, following = search(authority.ledger, request, now)
    except ValueError as error:
        raise Refused(ErrorCode.BAD_REQUEST, str(error)) from None
    return messages.ListReply(certificates=tuple(found), next=following)


def answer_show(authority: Authority, request: messages.ShowRequest, asker: Asker, now: int) -> messages.ShowReply:
    serial = request.serial.lstrip(b"\0")
    record = find(authority.ledger, serial, now)
    if record is None:
        raise Refused(ErrorCode.NOT_FOUND, f"no certificate has the serial number {serial.hex()}")
    return messages.ShowReply(certificate=summary(record, with_certificate=True))


def answer_freeze(
    authority: Authority, request: messages.FreezeRequest, asker: Asker, now: int
) -> messages.FreezeReply:
    authority.freeze(request.why or "by an operator", now)
    return messages.FreezeReply(state=authority.state(now))


def answer_thaw(authority: Authority, request: messages.ThawRequest, asker: Asker, now: int) -> messages.ThawReply:
    authority.thaw(request.why, now)
    return messages.ThawReply(state=authority.state(now))


def answer_accept(
    authority: Authority, request: messages.AcceptRequest, asker: Asker, now: int
) -> messages.AcceptReply:
    accepted = authority.accept(request.why, f"{asker.socket} {asker.uid}")
    return messages.AcceptReply(accepted=tuple(accepted), state=authority.state(authority.clock.now()))


def answer_reload(
    authority: Authority, request: messages.ReloadRequest, asker: Asker, now: int
) -> messages.ReloadReply:
    try:
        authority.reload(now)
    except ConfigurationError as error:
        raise Refused(ErrorCode.BAD_REQUEST, f"the policy before stays in force: {error}") from None
    return messages.ReloadReply(policy=authority.policy.hash)


def answer_verify(
    authority: Authority, request: messages.VerifyRequest, asker: Asker, now: int
) -> messages.VerifyReply:
    ledger = authority.ledger
    before = Head(min(request.seq, _SEQ_MAX), 0, request.hash)
    stretch = ledger.verify_stretch(before, request.limit, authority.trust)
    return messages.VerifyReply(
        seq=stretch.head.seq, hash=stretch.head.hash, entries=ledger.head.seq, problems=stretch.problems
    )


def answer_checkpoint(
    authority: Authority, request: messages.CheckpointRequest, asker: Asker, now: int
) -> messages.CheckpointReply:
    head = authority.ledger.head
    statement = make_checkpoint(authority.key, authority.issuer.certificate, head, now)
    return messages.CheckpointReply(statement=statement)


def answer_backup(
    authority: Authority, request: messages.BackupRequest, asker: Asker, now: int
) -> messages.BackupReply:
    record = {"asker": f"{asker.socket} {asker.uid}"}
    total, data = authority.backups.part(asker, request.offset, record, now)
    return messages.BackupReply(total=total, data=data)
