"""What was issued lately, for quotas and the circuit breaker: read off the ledger, so that a restart, a reload
or a restored backup forgets nothing, and nothing has to be counted at the start.

Each certificate on the ledger bears its number among all, among its client's and among its profile's. How many
lie in a quota's last seconds is the last number less the first in these seconds: two look-ups, however many
certificates there are. So it is with bytes, of which each bears its own, and the sum of all up to it.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from protocol.fields import QuotaUse, Rule
from signerd.ledger import Ledger
from signerd.policy.policy import Policy
from signerd.policy.quota import Quota

_DESCRIBED = 20  # lines: there may be one for each client
_LATELY = 100  # certificates whose clients are described, though they have not asked since the start
_REFUSAL_SECONDS = 60  # a client over its quota costs the ledger one entry in so many,
_REFUSALS_MAX = 60  # and all clients together so many entries in that time
_KEPT = 10_000  # scopes and refusals in memory: client ids come from outside


class Scope(NamedTuple):
    """What a quota holds for: "client" and its id, "profile" and its name, "total", the bytes of the "ledger", or the
    "breaker"."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


_TOTAL, _LEDGER, _BREAKER = Scope("total"), Scope("ledger"), Scope("breaker")
# For each kind of scope: the column that rises, by how much with a certificate, and the rows that have it.
_NUMBERED = {
    "total": ("of_all", "1", "certificates WHERE ?1 = ''"),
    "ledger": ("bytes_until", "bytes", "certificates WHERE ?1 = ''"),
    "breaker": ("of_all", "1", "certificates WHERE ?1 = ''"),
    "client": ("of_client", "1", "certificates INDEXED BY certificates_client WHERE client = ?1"),
    "profile": ("of_profile", "1", "certificates INDEXED BY certificates_profile WHERE profile = ?1"),
}


class Usage:
    """How much of a policy's quotas is used up."""

    def __init__(self, policy: Policy, ledger: Ledger) -> None:
        self._policy = policy
        self._ledger = ledger
        self._at_most: dict[Scope, int] = {}  # what was counted once, and all since: time only takes away
        self._waiting: dict[Scope, int] = {}
        self._first_seqs: dict[int, tuple[int, int]] = {}
        self._refusals: dict[str, int] = {}

    def rule(self, client: str, profile: str, now: int) -> Rule:
        """Whether one more certificate is within every quota."""
        full = [
            f"{scope} has had {quota}"
            for scope, quota in self._quotas(client, profile)
            if self._is_used_up(scope, quota, now)
        ]
        return Rule("quota", not full, "; ".join(full) or "within the quotas")

    def breaks_circuit(self, now: int) -> bool:
        """Whether one more certificate would be more than ``freeze_above`` allows."""
        breaker = self._policy.freeze_above
        return breaker is not None and self._is_used_up(_BREAKER, breaker, now)

    def count(self, client: str, profile: str, size: int) -> None:
        """Counts a certificate that is about to be recorded, until ``settle``; it will add ``size`` bytes."""
        scopes = [scope for scope, _ in self._quotas(client, profile)]
        if self._policy.freeze_above is not None:
            scopes.append(_BREAKER)
        for scope in scopes:
            number = size if scope is _LEDGER else 1
            self._waiting[scope] = self._waiting.get(scope, 0) + number
            if scope in self._at_most:
                self._at_most[scope] += number

    def settle(self) -> None:
        """What was about to be recorded is on the ledger now, or never will be."""
        self._waiting.clear()

    def thawed(self) -> None:
        """Closes the circuit breaker: an operator saw what it had counted, and it counts from nothing."""
        self._at_most.pop(_BREAKER, None)

    def clock_was_set(self) -> None:
        """The time went forth or back: what was counted by it counts no more."""
        self._at_most.clear()
        self._first_seqs.clear()
        self._refusals.clear()

    def refusal_is_news(self, client: str, now: int) -> bool:
        """Whether a refusal by quota is worth an entry: the first of a client in a while, and not those of ever
        new client ids, which whoever asks may make up."""
        self._refusals = {name: moment for name, moment in self._refusals.items() if now - moment < _REFUSAL_SECONDS}
        if client in self._refusals or len(self._refusals) >= _REFUSALS_MAX:
            return False
        self._refusals[client] = now
        return True

    def describe(self, now: int) -> list[str]:
        """What is used up most: "client web1: 3 of 20/day"."""
        quotas = dict(self._scopes_of_interest())
        guessed = ((self._bound(scope, quota, now) / max(quota.count, 1), scope) for scope, quota in quotas.items())
        counts = {scope: self._count(scope, quotas[scope], now) for _, scope in heapq.nlargest(_DESCRIBED, guessed)}
        fullest = sorted(counts, key=lambda scope: counts[scope] / max(quotas[scope].count, 1), reverse=True)
        return [f"{scope}: {quotas[scope].amount(counts[scope])} of {quotas[scope]}" for scope in fullest]

    def uses(self, now: int) -> Iterator[QuotaUse]:
        """How far each quota is used up, but for those of clients."""
        for scope, quota in dict(self._scopes_of_all()).items():
            used = self._count(scope, quota, now)
            yield QuotaUse(quota=str(scope), used=used, limit=quota.count, seconds=quota.seconds)

    def _scopes_of_all(self) -> Iterator[tuple[Scope, Quota]]:
        """All scopes but clients."""
        for profile in self._policy.profiles:
            yield from self._quotas("", profile)
        if self._policy.freeze_above is not None:
            yield _BREAKER, self._policy.freeze_above

    def _scopes_of_interest(self) -> Iterator[tuple[Scope, Quota]]:
        """All scopes but clients, and the clients that were heard of."""
        yield from self._scopes_of_all()
        lately = self._ledger.query("SELECT client FROM certificates ORDER BY seq DESC LIMIT ?", _LATELY)
        for client in {client for (client,) in lately} | {name for kind, name in self._at_most if kind == "client"}:
            yield from self._quotas(client, "")

    def _quotas(self, client: str, profile: str) -> Iterator[tuple[Scope, Quota]]:
        policy = self._policy
        of_client = policy.clients.get(client)
        own = of_client.quota if of_client is not None else None
        if client and (quota := own or policy.quota_per_client) is not None:
            yield Scope("client", client), quota
        if profile in policy.profiles and (quota := policy.profiles[profile].quota) is not None:
            yield Scope("profile", profile), quota
        if policy.quota_total is not None:
            yield _TOTAL, policy.quota_total
        if policy.quota_bytes is not None:
            yield _LEDGER, policy.quota_bytes

    def _is_used_up(self, scope: Scope, quota: Quota, now: int) -> bool:
        # Far from its end a quota needs no look at the ledger.
        return self._bound(scope, quota, now) >= quota.count and self._count(scope, quota, now) >= quota.count

    def _bound(self, scope: Scope, quota: Quota, now: int) -> int:
        """A number that ``_count`` is not above."""
        bound = self._at_most.get(scope)
        return self._count(scope, quota, now) if bound is None else bound

    def _count(self, scope: Scope, quota: Quota, now: int) -> int:
        """How many certificates there were in the quota's last seconds, or how many bytes of them, with those about
        to be recorded."""
        since = self._first_seq_within(quota.seconds, now)
        if scope == _BREAKER:
            since = max(since, self._ledger.state_seq("thawed"))
        column, own, rows = _NUMBERED[scope.kind]
        (recorded,) = self._ledger.query(
            f"SELECT (SELECT {column} FROM {rows} ORDER BY seq DESC LIMIT 1)"  # noqa: S608 - constants
            f" - (SELECT {column} - {own} FROM {rows} AND seq >= ?2 ORDER BY seq LIMIT 1)",
            scope.name,
            since,
        ).fetchone()
        if len(self._at_most) >= _KEPT:
            self._at_most.clear()
        self._at_most[scope] = (recorded or 0) + self._waiting.get(scope, 0)
        return self._at_most[scope]

    def _first_seq_within(self, seconds: int, now: int) -> int:
        """As the ledger's, which is asked once in a second for each length of window."""
        found = self._first_seqs.get(seconds)
        if found is None or found[0] != now:
            found = self._first_seqs[seconds] = now, self._ledger.times.first_within(seconds, now)
        return found[1]
