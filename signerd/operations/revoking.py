"""CRL, OCSP and revocation."""

from protocol import messages
from signerd.authority import Authority
from signerd.issuance import Asker
from signerd.revocation import revoke


def answer_crl(authority: Authority, request: messages.CrlRequest, asker: Asker, now: int) -> messages.CrlReply:
    return authority.revocation.crl(request.shard, now)


def answer_ocsp(authority: Authority, request: messages.OcspRequest, asker: Asker, now: int) -> messages.OcspReply:
    return authority.revocation.ocsp(request.request, now)


def answer_revoke(
    authority: Authority, request: messages.RevokeRequest, asker: Asker, now: int
) -> messages.RevokeReply:
    revoked, unchanged = revoke.revoke(authority.ledger, request, asker, now)
    authority.revocation.changed()
    return messages.RevokeReply(revoked=revoked, unchanged=unchanged)


def answer_revoke_own(
    authority: Authority, request: messages.RevokeOwnRequest, asker: Asker, now: int
) -> messages.RevokeOwnReply:
    revoked_at = revoke.revoke_own(authority.ledger, request, asker, now)
    authority.revocation.changed()
    return messages.RevokeOwnReply(revoked_at=revoked_at)
