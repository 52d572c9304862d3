"""What is published of revocations, kept current."""

import logging
from collections.abc import Callable, Sequence

from protocol.errors import ErrorCode, Refused
from protocol.messages import CrlReply, OcspReply, RevokeOwnReply, RevokeOwnRequest, RevokeReply, RevokeRequest
from signerd.certificate import Issuer
from signerd.key import RecordedKey
from signerd.ledger import Ledger
from signerd.policy.policy import Policy
from signerd.rate import Rate
from signerd.revocation.compromised import CompromisedKeys
from signerd.revocation.crls import Crls
from signerd.revocation.responder import Responder
from signerd.revocation.revoke import check, revoke_named, revoke_own
from signerd.revocation.sweep import Sweep

_log = logging.getLogger(__name__)
IN_VAIN_MAX = 50  # holders' revocations in a second that change nothing: to check a signature takes up to a millisecond
Outcome = Callable[[], RevokeReply | Refused | None]  # None: not yet


class Revocation:
    """CRLs and OCSP answers of one authority. Freezing issuance stops nothing here.

    ``intermediates``: the DER of the authority's own certificate and of those above it, without the root.
    """

    def __init__(
        self, ledger: Ledger, key: RecordedKey, new_serial: Callable[[], int], intermediates: Sequence[bytes]
    ) -> None:
        self.compromised = CompromisedKeys(ledger)
        self._crls = Crls(ledger, key)
        self._responder = Responder(ledger, key, new_serial, intermediates)
        self._ledger = ledger
        self._sweep = Sweep.unfinished(ledger, self.compromised)
        self._sweeps_now = False
        self._in_vain = Rate(IN_VAIN_MAX)
        self._failure: str | None = None

    def put_in_force(self, policy: Policy, issuer: Issuer) -> None:
        """From now on what is signed follows ``policy``."""
        self._crls.put_in_force(issuer, policy.crl_lifetime)
        self._responder.put_in_force(issuer, policy.ocsp_lifetime)

    # --- what is asked --------------------------------------------------------------------------

    def revoke(self, request: RevokeRequest, asker: str, now: int) -> RevokeReply | Outcome:
        """Revokes or releases: what it comes to, or how to learn that later. Raises ``Refused``."""
        check(request, now)
        if request.serials:
            reply = revoke_named(self._ledger, self.compromised, request, asker, now)
            self._changed()
            return reply
        if self._sweep is not None:
            raise Refused(ErrorCode.BUSY, "a revocation of all that was issued since a time is still going on")
        sweep = Sweep.begin(self._ledger, self.compromised, request, asker, now)
        self._changed()
        if (outcome := sweep.outcome()) is None:
            self._sweep = sweep
            return sweep.outcome
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    def revoke_own(self, request: RevokeOwnRequest, asker: str, now: int) -> RevokeOwnReply:
        """A holder's revocation: since when the certificate is revoked. Raises ``Refused``."""
        if self._in_vain.is_used_up(now):
            raise Refused(ErrorCode.BUSY, "too many revocations by holders have come to nothing: ask again in a second")
        before = self._ledger.head.seq
        try:
            return revoke_own(self._ledger, self.compromised, request, asker, now)
        finally:
            if self._ledger.head.seq == before:
                self._in_vain.count(now)
            else:
                self._changed()

    def crl(self, shard: int | None, now: int) -> CrlReply:
        """The CRL of a shard; None: of CA certificates. Raises ``Refused``: ``not_found``, ``unavailable``, or
        ``busy`` before the first."""
        if self._ledger.lost is not None:  # what was revoked since may be missing
            raise Refused(ErrorCode.UNAVAILABLE, self._ledger.lost)
        return self._crls.current(shard, now)

    def oldest_crl(self) -> tuple[int, int] | None:
        """thisUpdate and nextUpdate of the current CRL that runs out first; None: one is missing."""
        return self._crls.oldest()

    def ocsp(self, request: bytes, now: int) -> OcspReply:
        """The answer to an OCSP request, whatever that is."""
        return self._responder.answer(request, now)

    def shard_begins(self) -> None:
        """A certificate is about to be the first of its shard, whose CRL may be due at once."""
        self._crls.look_again()

    # --- what is to be done ---------------------------------------------------------------------

    def work(self, now: int) -> bool:
        """Goes on with what was asked, or else signs a CRL that is due, and says whether there may be more to
        do. Called in every round of the event loop, it costs nothing when there is nothing to do."""
        if self._ledger.lost is not None:
            return False
        if self._sweep is not None:
            self._sweeps_now = not self._sweeps_now  # by turns with the CRLs
            if self._sweeps_now:
                self._go_on(self._sweep, now)
                return True
        more = self._sweep is not None
        try:
            self._responder.renew_if_due(now)
            more |= self._crls.sign_due(now)
        except Refused as refusal:
            if self._failure != refusal.detail:
                _log.error("nothing can be signed for revocation: %s", refusal)
            self._failure = refusal.detail
            return more
        self._failure = None
        return more

    def look_again(self) -> None:
        """The clock was set, or a policy came into force: a CRL may be due at once, and no answer is given again."""
        self._changed()

    def _go_on(self, sweep: Sweep, now: int) -> None:
        """The next slice of a sweep."""
        sweep.step(now)
        self._changed()
        if sweep.outcome() is not None:
            self._sweep = None

    def _changed(self) -> None:
        """Certificates were revoked or released: what was answered before counts no more."""
        self._crls.look_again()
        self._responder.forget()
