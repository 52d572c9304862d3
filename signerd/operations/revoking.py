"""CRL, OCSP and revocation."""

from protocol import messages
from signerd.authority import Authority
from signerd.issuance import Asker
from signerd.revocation.service import Outcome


def answer_crl(authority: Authority, request: messages.CrlRequest, asker: Asker, now: int) -> messages.CrlReply:
    return authority.revocation.crl(request.shard, now)


def answer_ocsp(authority: Authority, request: messages.OcspRequest, asker: Asker, now: int) -> messages.OcspReply:
    return authority.revocation.ocsp(request.request, now)


def answer_revoke(
    authority: Authority, request: messages.RevokeRequest, asker: Asker, now: int
) -> messages.RevokeReply | Outcome:
    return authority.revocation.revoke(request, _name(asker), now)


def answer_revoke_own(
    authority: Authority, request: messages.RevokeOwnRequest, asker: Asker, now: int
) -> messages.RevokeOwnReply:
    return authority.revocation.revoke_own(request, _name(asker), now)


def answer_unblock(
    authority: Authority, request: messages.UnblockRequest, asker: Asker, now: int
) -> messages.UnblockReply:
    return authority.revocation.compromised.unblock(request, _name(asker), now)


def _name(asker: Asker) -> str:
    return f"{asker.socket} {asker.uid}"
