"""Revoking all that was issued since a time, however much that is, without holding up the event loop.

A sweep goes over the certificates slice by slice, a slice in each round of the loop. Its entries say what
is left to be done, so that a sweep which was begun is finished, across a crash too: it is there as a whole
or not at all, after a moment.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from protocol.errors import Refused
from protocol.messages import RevokeReply, RevokeRequest
from signerd.ledger import Ledger
from signerd.ledger.revocations import find_between, unfinished_sweep
from signerd.revocation.compromised import SHOWN_MAX, CompromisedKeys, Holder
from signerd.revocation.reasons import KEY_COMPROMISE, RELEASE
from signerd.revocation.revoke import changes, facts, record

_log = logging.getLogger(__name__)
SLICE = 1000  # certificates: some 5 ms


class _Rest(NamedTuple):
    """The stretch of the ledger that a sweep has still to look at, both ends inclusive."""

    first: int
    last: int
    client: str | None  # None: all
    since: int  # what was issued before is left alone, where the clock was set back and times repeat themselves


class Sweep:
    """One sweep. ``facts`` is what its entries say besides which certificates they are about."""

    def __init__(
        self, ledger: Ledger, keys: CompromisedKeys, rest: _Rest, facts: dict[str, Any], *, recorded: bool
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._all = rest
        self._rest: _Rest | None = rest
        self._facts = facts
        self._recorded = recorded  # whether the ledger has an entry that says what is left
        self._revoked = self._unchanged = self._blocked = 0
        self._same_key: tuple[bytes, ...] = ()
        self._failure: Refused | None = None

    @classmethod
    def begin(cls, ledger: Ledger, keys: CompromisedKeys, request: RevokeRequest, asker: str, now: int) -> "Sweep":
        """A new one, its first slice done."""
        since, client = request.issued_since or 0, request.client or "anybody"
        rest = _Rest(ledger.times.first_after(since - 1), ledger.head.seq, request.client, since)
        sweep = cls(ledger, keys, rest, facts(request, asker), recorded=False)
        _log.warning("%s, by %s: all that was issued since %d to %s", request.reason, asker, since, client)
        sweep.step(now)
        return sweep

    @classmethod
    def unfinished(cls, ledger: Ledger, keys: CompromisedKeys) -> "Sweep | None":
        """The one that was begun before a restart."""
        if (seq := unfinished_sweep(ledger)) is None:
            return None
        body = ledger.body(seq)
        facts: dict[str, Any] = {key: body[key] for key in ("reason", "invalidity_date", "asker") if key in body}
        return cls(ledger, keys, _Rest(*body["then"]), facts, recorded=True)

    def outcome(self) -> RevokeReply | Refused | None:
        """What to answer; None while it goes on."""
        if self._failure is not None:
            return self._failure
        if self._rest is not None:
            return None
        return RevokeReply(self._revoked, self._unchanged, self._blocked, self._same_key)

    def step(self, now: int) -> None:
        """The next slice, durable when it returns."""
        try:
            self._step(now)
        except Refused as refusal:
            self._failure = refusal
        if self.outcome() is not None:
            _log.warning("%s, by %s: %d certificates", self._reason, self._facts["asker"], self._revoked)

    def _step(self, now: int) -> None:
        rest = self._rest
        if rest is None:
            return
        found = find_between(self._ledger, *rest, limit=SLICE)
        changing = [one for one in found if changes(one, self._reason, now)]
        then = rest._replace(first=found[-1].seq + 1) if len(found) == SLICE else None
        if changing or (then is None and self._recorded):
            record(self._ledger, changing, {**self._facts, "then": then}, now)
            self._recorded = then is not None
        if self._reason == KEY_COMPROMISE:
            self._block([one.seq for one in found], now)
        self._ledger.commit()
        self._revoked += len(changing)
        self._unchanged += len(found) - len(changing)
        self._rest = then

    def _block(self, seqs: Sequence[int], now: int) -> None:
        keys = self._keys.block(seqs, str(self._facts["asker"]), now)
        self._blocked += len(keys)
        # Of keys that were blocked before nothing is said: a key that all have would be looked up in every slice.
        self._same_key += self._keys.others(keys, now, SHOWN_MAX - len(self._same_key), self._means)

    def _means(self, holder: Holder) -> bool:
        """Whether the sweep is about this certificate."""
        first, last, client, since = self._all
        return first <= holder.seq <= last and client in {None, holder.client} and holder.recorded_at >= since

    @property
    def _reason(self) -> str:
        return str(self._facts.get("reason", RELEASE))
