"""Revoking and releasing by serial number: what is asked, checked against the ledger, and recorded, whole or
not at all. What was issued since a time is revoked by ``sweep``."""

import logging
from collections.abc import Mapping, Sequence, Set
from typing import Any

from protocol.errors import ErrorCode, Refused
from protocol.messages import RevokeOwnReply, RevokeOwnRequest, RevokeReply, RevokeRequest
from signerd.ledger import Kind, Ledger
from signerd.ledger.certificates import State, find
from signerd.ledger.index import HOLD
from signerd.ledger.revocations import Found, find_for_revocation
from signerd.proofs import REVOKE_PREFIX, signed_by
from signerd.revocation.compromised import SHOWN_MAX, CompromisedKeys
from signerd.revocation.reasons import HOLDER_REASONS, KEY_COMPROMISE, REASONS, RELEASE

_log = logging.getLogger(__name__)


def check(request: RevokeRequest, now: int) -> None:
    """Raises ``Refused`` (``bad_request``) for what makes no sense, whatever is on the ledger."""
    if request.reason not in REASONS and request.reason != RELEASE:
        raise Refused(ErrorCode.BAD_REQUEST, f"reason: one of {', '.join(REASONS)}, or {RELEASE} for the end of a hold")
    if bool(request.serials) == (request.issued_since is not None or request.client is not None):
        raise Refused(ErrorCode.BAD_REQUEST, "either serials, or issued_since and client, say what is meant")
    if request.invalidity_date is not None:
        if request.reason == RELEASE:
            raise Refused(ErrorCode.BAD_REQUEST, f"invalidity_date: none goes with {RELEASE}")
        if request.invalidity_date > now:
            raise Refused(ErrorCode.BAD_REQUEST, "invalidity_date: lies in the future")


def revoke_named(ledger: Ledger, keys: CompromisedKeys, request: RevokeRequest, asker: str, now: int) -> RevokeReply:
    """Revokes ``request.serials``, or releases them: how many changed their state, and how many stay as they
    are: revoked already, not on hold, or expired. For keyCompromise the keys of all of them are blocked. Durable when
    it returns.

    Raises ``Refused``, and then nothing has changed: ``not_found`` for a serial number that no certificate
    has, ``conflict`` for one that is revoked for good and can't be released or put on hold, ``unavailable``
    if the ledger can't be written.
    """
    asked = _named(ledger, request, now)
    changing = {serial: found for serial, found in asked.items() if changes(found, request.reason, now)}
    if changing:
        record(ledger, list(changing.values()), facts(request, asker), now)
    seqs = {found.seq for found in asked.values()} if request.reason == KEY_COMPROMISE else set()
    blocked, same_key = _block(keys, seqs, asker, now)
    ledger.commit()
    if changing:
        # Each of them: after a restore from an older backup, the log says what is to be revoked again.
        _log.warning("%s, by %s: %s", request.reason, asker, " ".join(serial.hex() for serial in changing))
    return RevokeReply(len(changing), len(asked) - len(changing), blocked, same_key)


def revoke_own(
    ledger: Ledger, keys: CompromisedKeys, request: RevokeOwnRequest, asker: str, now: int
) -> RevokeOwnReply:
    """A holder's revocation of its own certificate: since when it is revoked. For keyCompromise its key is blocked.

    The proof is a signature by the key in the certificate that the ledger has under that serial number:
    nothing that the holder sends along says what that key is. Raises ``Refused``.
    """
    if request.reason not in HOLDER_REASONS:
        raise Refused(ErrorCode.BAD_REQUEST, f"reason: a holder's is one of {', '.join(HOLDER_REASONS)}")
    serial = request.serial.lstrip(b"\0")
    held = find(ledger, serial, now)
    if held is None or held.issued is None:
        raise _not_found(serial)
    if not signed_by(held, request.signature, REVOKE_PREFIX + f"{serial.hex()}\n{request.reason}\n".encode()):
        raise Refused(
            ErrorCode.NOT_AUTHORIZED,
            f"the signature is not by the certificate's key over the lines signerd revoke 1, {serial.hex()}"
            f" and {request.reason}",
        )
    if held.state is not State.REVOKED and held.not_after < now:
        raise Refused(ErrorCode.CONFLICT, f"the certificate {serial.hex()} has expired")
    moment = max(now, ledger.head.time)  # the time that the entry will bear
    if held.state is not State.REVOKED:
        found = Found(held.seq, held.shard, held.not_after, held.reason)
        record(ledger, [found], {"reason": request.reason, "invalidity_date": None, "asker": asker}, now)
        _log.warning("%s, by its holder: %s", request.reason, serial.hex())
    _, same_key = _block(keys, {held.seq} if request.reason == KEY_COMPROMISE else set(), asker, now)
    ledger.commit()
    return RevokeOwnReply(moment if held.revoked_at is None else held.revoked_at, same_key)


def _block(keys: CompromisedKeys, seqs: Set[int], asker: str, now: int) -> tuple[int, tuple[bytes, ...]]:
    """Blocks the keys of these certificates: how many were not blocked before, and which other certificates have
    them."""
    blocked = keys.block([*seqs], asker, now)
    return len(blocked), keys.others(keys.keys_of([*seqs]), now, SHOWN_MAX, lambda holder: holder.seq in seqs)


def _named(ledger: Ledger, request: RevokeRequest, now: int) -> dict[bytes, Found]:
    """The certificates that were named, by serial number. Raises ``Refused`` for one that can't be meant."""
    asked: dict[bytes, Found] = {}
    for serial in (octets.lstrip(b"\0") for octets in request.serials):
        found = find_for_revocation(ledger, serial)
        if found is None:
            raise _not_found(serial)
        final = found.reason not in {None, HOLD} and found.not_after >= now
        if final and request.reason in {HOLD, RELEASE}:
            what = "released" if request.reason == RELEASE else "put on hold"
            raise Refused(
                ErrorCode.CONFLICT, f"{serial.hex()} can't be {what}: it is revoked for good ({found.reason})"
            )
        asked[serial] = found
    return asked


def _not_found(serial: bytes) -> Refused:
    return Refused(ErrorCode.NOT_FOUND, f"no certificate has the serial number {serial.hex()}")


def changes(found: Found, reason: str, now: int) -> bool:
    """Whether a certificate changes its state for ``reason``. What has expired or is revoked for good stays as
    it is; a hold may become final, or be released."""
    if found.not_after < now:
        return False
    if reason == RELEASE:
        return found.reason == HOLD
    return found.reason is None or (found.reason == HOLD and reason != HOLD)


def facts(request: RevokeRequest, asker: str) -> dict[str, Any]:
    """What an entry says besides which certificates it is about."""
    if request.reason == RELEASE:
        return {"asker": asker}
    return {"reason": request.reason, "invalidity_date": request.invalidity_date, "asker": asker}


def record(ledger: Ledger, changing: Sequence[Found], facts: Mapping[str, Any], now: int) -> None:
    """Appends the entry that revokes these certificates, or without a reason releases them."""
    which = {"certificates": [found.seq for found in changing], "shards": sorted({found.shard for found in changing})}
    ledger.append(now, Kind.REVOKED if "reason" in facts else Kind.RELEASED, {**which, **facts})
