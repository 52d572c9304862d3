"""CRL, OCSP and revocation."""

from protocol import messages
from signerd.authority import Authority
from signerd.issuance import Asker
from signerd.revocation import revoke


def answer_revoke(
    authority: Authority, request: messages.RevokeRequest, asker: Asker, now: int
) -> messages.RevokeReply:
    revoked, unchanged = revoke.revoke(authority.ledger, request, asker, now)
    return messages.RevokeReply(revoked=revoked, unchanged=unchanged)


def answer_revoke_own(
    authority: Authority, request: messages.RevokeOwnRequest, asker: Asker, now: int
) -> messages.RevokeOwnReply:
    return messages.RevokeOwnReply(revoked_at=revoke.revoke_own(authority.ledger, request, asker, now))
