"""What is answered to operators, on admin.sock."""

from protocol import messages
from protocol.errors import ConfigurationError, ErrorCode, Refused
from signerd.authority import Authority
from signerd.checkpoint import make_checkpoint
from signerd.issuance import Asker
from signerd.ledger import Head, Kind
from signerd.ledger.backup import Snapshot
from signerd.ledger.certificates import find
from signerd.ledger.search import count_by_state, search, summary

_PART_BYTES = 192 * 1024  # of a backup in a reply: below the frame's cap


def answer_status(
    authority: Authority, request: messages.StatusRequest, asker: Asker, now: int
) -> messages.StatusReply:
    ledger = authority.ledger
    return messages.StatusReply(
        state=authority.state,
        detail=ledger.failure or authority.frozen,
        issuer=authority.issuer.certificate.subject.rfc4514_string(),
        issuer_not_after=authority.issuer.not_after,
        certificates=count_by_state(ledger, now),
        entries=ledger.head.seq,
        head=ledger.head.hash,
        ledger_bytes=ledger.path.stat().st_size,
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
    record = find(authority.ledger, request.serial, now)
    if record is None:
        raise Refused(ErrorCode.NOT_FOUND, f"no certificate has the serial number {request.serial.hex()}")
    return messages.ShowReply(certificate=summary(record, with_certificate=True))


def answer_freeze(
    authority: Authority, request: messages.FreezeRequest, asker: Asker, now: int
) -> messages.FreezeReply:
    authority.freeze(request.why or "by an operator", now)
    return messages.FreezeReply(state=authority.state)


def answer_thaw(authority: Authority, request: messages.ThawRequest, asker: Asker, now: int) -> messages.ThawReply:
    authority.thaw(request.why, now)
    return messages.ThawReply(state=authority.state)


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
    stretch = ledger.verify_stretch(Head(request.seq, 0, request.hash), request.limit, now)
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
    snapshot = authority.snapshot
    if request.offset == 0 and (snapshot is None or snapshot.served):
        if snapshot is not None:
            snapshot.close()
        authority.ledger.append(now, Kind.BACKUP, {"asker": f"{asker.socket} {asker.uid}"})
        authority.ledger.commit()  # what the snapshot's own connection is to see
        snapshot = authority.snapshot = Snapshot(authority.ledger.path)
    if snapshot is None:
        raise Refused(ErrorCode.NOT_FOUND, "there is no snapshot: begin at offset 0")
    if (total := snapshot.size) is None:
        return messages.BackupReply(total=None, data=b"")
    snapshot.served = True
    data = snapshot.read(request.offset, _PART_BYTES)
    if request.offset + len(data) >= total:
        snapshot.close()
        authority.snapshot = None
    return messages.BackupReply(total=total, data=data)
