"""Which CRLs there are, when each is signed anew, and which one is current.

While not too many certificates are revoked there is one CRL for all of them, whatever shard they are in: it
has no issuing distribution point, hence serves also those who check the whole chain with it (nginx, curl).
Beyond that each shard has its own, with an issuing distribution point that names its URL: only that URL's
certificates are covered (RFC 5280, 5.2.5); and there is one for CA certificates, lest those who check the whole
chain find none for its root. A shard's URL always brings the newest CRL that covers it.

Everything here follows from the ledger: a restart finds the CRLs that were signed, and which of them a
revocation since has made outdated. Their bytes lie in files beside it; one that was never signed, for a crash came
in between, or that is not what was recorded, is superseded by the next.
"""

import collections
import logging
from collections.abc import Mapping, Sequence

from protocol.errors import ErrorCode, Refused
from protocol.messages import CrlReply
from signerd import der
from signerd.certificate import BACKDATING, CRL_SHARD_CERTIFICATES, Issuer, shard_url
from signerd.key import Intent, RecordedKey
from signerd.ledger import Ledger
from signerd.ledger.index import ALL_SHARDS, CA_CERTIFICATES
from signerd.ledger.revocations import Revoked, SignedCrl, base_urls, count_listed, listed, shard_range, signed_crls
from signerd.revocation import crl
from signerd.revocation.crl_files import CrlFiles
from signerd.revocation.this_update import this_update

_log = logging.getLogger(__name__)

ENTRIES_MAX = CRL_SHARD_CERTIFICATES  # of a CRL for all certificates: no larger than a shard's can get
_GATHER_SECONDS = 3  # between two CRLs of one scope: revocations that follow each other share one
_KEPT = 64  # CRLs in memory: 16 MiB at most
_NONE = SignedCrl(ALL_SHARDS, 0, 0, 0, 0, None, 0)


class Crls:
    """Signs what is due, and has what is current. ``put_in_force`` comes first."""

    def __init__(self, ledger: Ledger, key: RecordedKey) -> None:
        self._ledger = ledger
        self._key = key
        self._files = CrlFiles(ledger.path)
        self._files.keep_only({ALL_SHARDS, CA_CERTIFICATES, *shard_range(ledger)})
        self._kept: collections.OrderedDict[int, bytes] = collections.OrderedDict()  # by the seq of the intent
        self._signed_at: dict[int, int] = {}  # by scope; since the start: it keeps CRLs apart, and no more
        self._obstacle: str | None = None
        self._looked_at: int | None = None

    def put_in_force(self, issuer: Issuer, lifetime: int) -> None:
        """From now on CRLs are by ``issuer``, and for ``lifetime`` seconds; they are renewed at half of it."""
        self._issuer = issuer
        self._lifetime = lifetime
        self.look_again()

    def look_again(self) -> None:
        """Something has changed: a CRL may be due at once."""
        self._looked_at = None

    def sign_due(self, now: int) -> bool:
        """Signs at most one CRL, and says whether it did: there may be more. Looks once in a second, unless it is
        told to ``look_again``. Raises ``Refused`` if the ledger can't be written."""
        if now == self._looked_at:
            return False
        self._looked_at = now  # also where it fails: once a second is often enough
        there_are = shard_range(self._ledger)
        signed = signed_crls(self._ledger)
        scope = self._next_due(signed, there_are, now)
        if scope is None:
            return False
        self._sign(scope, signed, there_are, now)
        self.look_again()
        return True

    def current(self, shard: int | None, now: int) -> CrlReply:
        """The CRL of a shard; None: of CA certificates. Raises ``Refused``: ``not_found``, ``unavailable``, or
        ``busy`` before the first."""
        there_are = shard_range(self._ledger)
        if shard is not None and shard not in there_are:
            raise Refused(ErrorCode.NOT_FOUND, f"there is no shard {shard}, or nothing of it that has not long expired")
        if self._obstacle is not None:
            raise Refused(ErrorCode.UNAVAILABLE, self._obstacle)
        own = CA_CERTIFICATES if shard is None else shard
        signed = signed_crls(self._ledger, ALL_SHARDS, own).values()
        newest = max(signed, key=lambda one: one.seq, default=_NONE)
        if newest.seq and newest.next_update <= now:
            raise Refused(ErrorCode.UNAVAILABLE, "the CRL has run out, and no new one could be signed")
        if (signed_crl := self._bytes(newest)) is None:
            raise Refused(ErrorCode.BUSY, "the CRL is about to be signed")
        following = there_are.start if shard is None else shard + 1
        is_last = newest.scope == ALL_SHARDS or following not in there_are
        return CrlReply(signed_crl, newest.this_update, newest.next_update, None if is_last else following)

    def oldest(self) -> tuple[int, int] | None:
        """thisUpdate and nextUpdate of the current CRL that runs out first; None: one is missing."""
        signed = signed_crls(self._ledger)
        for_all = signed.get(ALL_SHARDS, _NONE)
        own = (signed.get(scope, _NONE) for scope in (CA_CERTIFICATES, *shard_range(self._ledger)))
        first = min((max(for_all, one, key=lambda crl: crl.seq) for one in own), key=lambda crl: crl.next_update)
        return (first.this_update, first.next_update) if first.seq else None

    # --- what is due ----------------------------------------------------------------------------

    def _next_due(self, signed: Mapping[int, SignedCrl], shards: Sequence[int], now: int) -> int | None:
        if now >= self._issuer.not_after:
            return None
        for_all = signed.get(ALL_SHARDS, _NONE)
        sharded = any(one.seq > for_all.seq for one in signed.values())
        # Back to one CRL only well below the limit: lest it goes to and fro.
        limit = ENTRIES_MAX // 2 if sharded else ENTRIES_MAX
        if count_listed(self._ledger, _expiring_from(ALL_SHARDS, signed, shards, now), limit + 1) <= limit:
            self._obstacle = None
            return ALL_SHARDS if sharded or self._is_due(for_all, now) else None
        urls, newest_url = base_urls(self._ledger)
        if not urls:
            self._hindered(
                f"more than {ENTRIES_MAX} certificates are revoked, and without signer.base_url none says in which"
                " CRL to look for it"
            )
            return None
        self._obstacle = None
        outdated = max(for_all.seq, newest_url)
        crls = (signed.get(scope, _NONE._replace(scope=scope)) for scope in (CA_CERTIFICATES, *shards))
        return next((one.scope for one in crls if one.seq < outdated or self._is_due(one, now)), None)

    def _is_due(self, one: SignedCrl, now: int) -> bool:
        """Whether a CRL is missing, outdated by a revocation, or half through its life."""
        if not self._has(one):
            return True
        if now < one.this_update:  # the clock was set back: nobody would accept a CRL of the future
            return True
        if 0 <= now - self._signed_at.get(one.scope, 0) < _GATHER_SECONDS:
            return False
        life = min(one.next_update - one.this_update, self._lifetime)
        return one.changed > one.seq or now - (one.this_update + BACKDATING) >= life // 2

    def _hindered(self, why: str) -> None:
        if self._obstacle != why:
            _log.error("no CRL can be made: %s", why)
        self._obstacle = why

    # --- signing --------------------------------------------------------------------------------

    def _sign(self, scope: int, signed: Mapping[int, SignedCrl], shards: Sequence[int], now: int) -> None:
        revoked: list[Revoked] = []
        if scope != CA_CERTIFICATES:
            revoked = listed(self._ledger, scope, _expiring_from(scope, signed, shards, now))
        edition = crl.Edition(
            # RFC 5280, 5.2.3: never a number that was used, nor, after a restore of the ledger, a lower one.
            number=max(now * 1000, *(one.number + 1 for one in signed.values()), 0),
            this_update=this_update(now, revoked),
            next_update=min(now + self._lifetime, self._issuer.not_after),
        )
        to_be_signed = crl.to_be_signed(self._issuer, edition, revoked, self._extension(scope))
        facts = {
            "scope": scope,
            "number": edition.number,
            "this_update": edition.this_update,
            "next_update": edition.next_update,
        }
        # A clock that was set back holds up issuance, but no revocation: the entry bears the last one's time.
        moment = max(now, self._ledger.head.time)
        [signature] = self._key.sign([Intent(to_be_signed, "crl", facts, by_hash=True)], moment)
        self._signed_at[scope] = now
        where = {ALL_SHARDS: "all certificates", CA_CERTIFICATES: "CA certificates"}.get(scope, f"shard {scope}")
        _log.info("CRL %d of %s: %d revoked", edition.number, where, len(revoked))
        seq, signed_crl = signed_crls(self._ledger, scope)[scope].seq, der.signed(to_be_signed, signature)
        self._files.write(scope, seq, signed_crl)
        self._keep(seq, signed_crl)

    def _extension(self, scope: int) -> bytes:
        """What says which certificates a CRL of this scope covers."""
        if scope == ALL_SHARDS:
            return b""
        if scope == CA_CERTIFICATES:
            return crl.only_of_cas()
        return crl.only_of_shard([shard_url(url, scope) for url in base_urls(self._ledger)[0]])

    # --- what was signed ------------------------------------------------------------------------

    def _has(self, one: SignedCrl) -> bool:
        """Whether it can be had, as far as is known before it is read. One that is pending since before a restart
        can't: it is superseded."""
        return one.seq in self._kept or (one.issued is not None and self._files.has(one.scope, one.seq))

    def _bytes(self, one: SignedCrl) -> bytes | None:
        """A CRL that was signed: from memory, or from its file. None: a new one is due."""
        if one.seq in self._kept:
            self._kept.move_to_end(one.seq)
        elif self._has(one):
            digest = self._ledger.body(one.seq)["sha256"]
            if (signed := self._files.read(one.scope, one.seq, digest, self._issuer)) is None:
                self.look_again()
            else:
                self._keep(one.seq, signed)
        return self._kept.get(one.seq)

    def _keep(self, seq: int, signed: bytes) -> None:
        self._kept[seq] = signed
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _expiring_from(scope: int, signed: Mapping[int, SignedCrl], shards: Sequence[int], now: int) -> int:
    """The notAfter from which on certificates are listed: a certificate that expired before the last CRL's
    thisUpdate was listed there once beyond its validity, which is enough (RFC 5280, 3.3). What has not expired
    by now is always listed, whatever the clock said when the last CRL was signed."""
    last = signed.get(ALL_SHARDS, _NONE).this_update
    if scope != ALL_SHARDS:
        last = max(last, signed.get(scope, _NONE).this_update)
    else:
        last = max(last, min(signed.get(shard, _NONE).this_update for shard in shards))
    return min(last, now - BACKDATING)
