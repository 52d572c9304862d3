"""Revoking all that was issued since a time, however much that is, without holding up the event loop.

A sweep goes over the certificates slice by slice, a slice in each round of the loop. Its entries say what
is left to be done, so that a sweep which was begun is finished, across a crash too: it is there as a whole
or not at all, after a moment.
"""

import logging
from typing import Any, NamedTuple

from protocol.errors import Refused
from protocol.messages import RevokeReply, RevokeRequest
from signerd.ledger import Ledger
from signerd.ledger.revocations import find_between, unfinished_sweep
from signerd.revocation.reasons import RELEASE
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

    def __init__(self, ledger: Ledger, rest: _Rest, facts: dict[str, Any], *, recorded: bool) -> None:
        self._ledger = ledger
        self._rest: _Rest | None = rest
        self._facts = facts
        self._recorded = recorded  # whether the ledger has an entry that says what is left
        self._revoked = self._unchanged = 0
        self._failure: Refused | None = None

    @classmethod
    def begin(cls, ledger: Ledger, request: RevokeRequest, asker: str, now: int) -> "Sweep":
        """A new one, its first slice done."""
        since, client = request.issued_since or 0, request.client or "anybody"
        rest = _Rest(ledger.times.first_after(since - 1), ledger.head.seq, request.client, since)
        sweep = cls(ledger, rest, facts(request, asker), recorded=False)
        _log.warning("%s, by %s: all that was issued since %d to %s", request.reason, asker, since, client)
        sweep.step(now)
        return sweep

    @classmethod
    def unfinished(cls, ledger: Ledger) -> "Sweep | None":
        """The one that was begun before a restart."""
        if (seq := unfinished_sweep(ledger)) is None:
            return None
        body = ledger.body(seq)
        facts: dict[str, Any] = {key: body[key] for key in ("reason", "invalidity_date", "asker") if key in body}
        return cls(ledger, _Rest(*body["then"]), facts, recorded=True)

    def outcome(self) -> RevokeReply | Refused | None:
        """What to answer; None while it goes on."""
        if self._failure is not None:
            return self._failure
        return RevokeReply(revoked=self._revoked, unchanged=self._unchanged) if self._rest is None else None

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
            self._ledger.commit()
            self._recorded = then is not None
        self._revoked += len(changing)
        self._unchanged += len(found) - len(changing)
        self._rest = then

    @property
    def _reason(self) -> str:
        return str(self._facts.get("reason", RELEASE))
