"""What is published of revocations, kept current."""

import logging
from collections.abc import Callable

from protocol.errors import Refused
from protocol.messages import CrlReply, OcspReply
from signerd.certificate import Issuer
from signerd.key import RecordedKey
from signerd.ledger import Ledger
from signerd.policy.policy import Policy
from signerd.revocation.crls import Crls
from signerd.revocation.responder import Responder

_log = logging.getLogger(__name__)


class Revocation:
    """CRLs and OCSP answers of one authority. Freezing issuance stops nothing here."""

    def __init__(self, ledger: Ledger, key: RecordedKey, new_serial: Callable[[], int]) -> None:
        self._crls = Crls(ledger, key)
        self._responder = Responder(ledger, key, new_serial)
        self._failure: str | None = None

    def put_in_force(self, policy: Policy, issuer: Issuer) -> None:
        """From now on what is signed follows ``policy``."""
        self._crls.put_in_force(issuer, policy.crl_lifetime)
        self._responder.put_in_force(issuer, policy.ocsp_lifetime)

    def changed(self) -> None:
        """Certificates were revoked or released: what was answered before counts no more."""
        self._crls.look_again()
        self._responder.forget()

    def work(self, now: int) -> bool:
        """Signs what is due, one CRL at most, and says whether there may be more. Called in every round of the
        event loop, it costs nothing when there is nothing to do."""
        try:
            self._responder.renew_if_due(now)
            more = self._crls.sign_due(now)
        except Refused as refusal:
            if self._failure != refusal.detail:
                _log.error("nothing can be signed for revocation: %s", refusal)
            self._failure = refusal.detail
            return False
        self._failure = None
        return more

    def crl(self, shard: int, now: int) -> CrlReply:
        """The CRL of a shard. Raises ``Refused``: ``not_found``, ``unavailable``, or ``busy`` before the first."""
        return self._crls.current(shard, now)

    def ocsp(self, request: bytes, now: int) -> OcspReply:
        """The answer to an OCSP request, whatever that is."""
        return self._responder.answer(request, now)
