"""Revoking and releasing: what is asked, checked against the ledger, and recorded, whole or not at all."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from protocol.errors import ErrorCode, Refused
from protocol.messages import RevokeOwnRequest, RevokeRequest
from signerd.issuance import Asker
from signerd.ledger import Kind, Ledger
from signerd.ledger.certificates import State, find
from signerd.ledger.index import HOLD
from signerd.ledger.revocations import Found, find_for_revocation, find_issued_since
from signerd.proofs import REVOKE_PREFIX, signed_by
from signerd.revocation.reasons import HOLDER_REASONS, REASONS, RELEASE

_log = logging.getLogger(__name__)
_ENTRY_CERTIFICATES = 4000  # in one entry: an array on the ledger has at most 4,096 items


def revoke(ledger: Ledger, request: RevokeRequest, asker: Asker, now: int) -> tuple[int, int]:
    """How many certificates changed their state, and how many stay as they are: revoked already, not on
    hold when a hold is to be released, or expired. Durable when it returns.

    Raises ``Refused``, and then nothing was revoked: ``bad_request`` for what makes no sense, ``not_found``
    for a serial number that no certificate has, ``conflict`` for one that is revoked for good and named to
    be released or put on hold, ``unavailable`` if the ledger can't be written.
    """
    _check(request, now)
    asked = _named(ledger, request, now) if request.serials else _since(ledger, request)
    changing = [found for found in asked if found.not_after >= now and _changes(found.reason, request.reason)]
    _record(ledger, changing, _facts(request.reason, request.invalidity_date, asker), now)
    _log.warning("%s: %d certificates by %s %d", request.reason, len(changing), asker.socket, asker.uid)
    return len(changing), len(asked) - len(changing)


def revoke_own(ledger: Ledger, request: RevokeOwnRequest, asker: Asker, now: int) -> int:
    """A holder's revocation of its own certificate; returns since when it is revoked.

    The proof is a signature by the key in the certificate that the ledger has under that serial number:
    nothing that the holder sends along says what that key is. Raises ``Refused``.
    """
    if request.reason not in HOLDER_REASONS:
        raise Refused(ErrorCode.BAD_REQUEST, f"a holder's reason is one of {', '.join(HOLDER_REASONS)}")
    serial = request.serial.lstrip(b"\0")
    record = find(ledger, serial, now)
    if record is None or record.issued is None:
        raise _not_found(serial)
    signed = f"{serial.hex()}\n{request.reason}\n".encode()
    if not signed_by(record, request.signature, REVOKE_PREFIX + signed):
        raise Refused(
            ErrorCode.NOT_AUTHORIZED,
            f"the signature is not by the certificate's key over the lines signerd revoke 1, {serial.hex()}"
            f" and {request.reason}",
        )
    if record.state is State.EXPIRED:
        raise Refused(ErrorCode.CONFLICT, f"the certificate {serial.hex()} has expired")
    moment = max(now, ledger.head.time)  # the time that the entry will bear
    if record.state is not State.REVOKED:
        found = Found(record.seq, record.shard, record.not_after, record.reason)
        _record(ledger, [found], _facts(request.reason, None, asker), now)
        _log.warning("%s: %s by its holder", request.reason, serial.hex())
    return moment if record.revoked_at is None else record.revoked_at


def _check(request: RevokeRequest, now: int) -> None:
    if request.reason not in REASONS and request.reason != RELEASE:
        raise Refused(ErrorCode.BAD_REQUEST, f"reason: one of {', '.join(REASONS)}, or {RELEASE} for the end of a hold")
    if bool(request.serials) == (request.issued_since is not None or request.client is not None):
        raise Refused(ErrorCode.BAD_REQUEST, "either serials, or issued_since and client, say what is meant")
    if request.invalidity_date is not None:
        if request.reason == RELEASE:
            raise Refused(ErrorCode.BAD_REQUEST, f"invalidity_date: none goes with {RELEASE}")
        if request.invalidity_date > now:
            raise Refused(ErrorCode.BAD_REQUEST, "invalidity_date: lies in the future")


def _since(ledger: Ledger, request: RevokeRequest) -> list[Found]:
    return find_issued_since(ledger, request.issued_since or 0, request.client)


def _named(ledger: Ledger, request: RevokeRequest, now: int) -> list[Found]:
    """The certificates that were named, each once. Raises ``Refused`` for one that can't be meant."""
    asked: dict[int, Found] = {}
    for serial in request.serials:
        found = find_for_revocation(ledger, serial.lstrip(b"\0"))
        if found is None:
            raise _not_found(serial)
        final = found.reason not in {None, HOLD} and found.not_after >= now
        if final and request.reason in {HOLD, RELEASE}:
            what = "released" if request.reason == RELEASE else "put on hold"
            raise Refused(
                ErrorCode.CONFLICT, f"{serial.hex()} can't be {what}: it is revoked for good ({found.reason})"
            )
        asked[found.seq] = found
    return list(asked.values())


def _not_found(serial: bytes) -> Refused:
    return Refused(ErrorCode.NOT_FOUND, f"no certificate has the serial number {serial.hex()}")


def _changes(before: str | None, reason: str) -> bool:
    """Whether a certificate that is revoked for ``before`` (None: it isn't) is another one for ``reason``.
    What is revoked for good stays as it is; a hold may become final, or be released."""
    if reason == RELEASE:
        return before == HOLD
    return before is None or (before == HOLD and reason != HOLD)


def _facts(reason: str, invalidity_date: int | None, asker: Asker) -> dict[str, Any]:
    """What an entry says besides which certificates it is about."""
    by = {"asker": f"{asker.socket} {asker.uid}"}
    return by if reason == RELEASE else {**by, "reason": reason, "invalidity_date": invalidity_date}


def _record(ledger: Ledger, changing: Sequence[Found], facts: Mapping[str, Any], now: int) -> None:
    """Entries for all of them in one transaction, durable when it returns."""
    kind = Kind.REVOKED if "reason" in facts else Kind.RELEASED
    for start in range(0, len(changing), _ENTRY_CERTIFICATES):
        chunk = changing[start : start + _ENTRY_CERTIFICATES]
        which = {"certificates": [found.seq for found in chunk], "shards": sorted({found.shard for found in chunk})}
        ledger.append(now, kind, {**which, **facts})
    ledger.commit()
