"""What was issued lately, for quotas and the circuit breaker: counted from the ledger, so that a restart
forgets nothing."""

import heapq
from collections.abc import Iterator

from protocol.messages import Rule
from signerd.ledger import Ledger
from signerd.policy.policy import Policy
from signerd.policy.quota import Quota, Window

_DESCRIBED = 20  # windows: there is one for each client
_REFUSAL_SECONDS = 60  # a client over its quota costs the ledger one entry in so many
_KEPT = 10_000  # windows and refusals kept before the empty ones are dropped: client ids come from outside


class Usage:
    """The windows that a policy's quotas look at."""

    def __init__(self, policy: Policy, ledger: Ledger, now: int) -> None:
        self._policy = policy
        self._windows: dict[tuple[str, str], Window] = {}
        self._sweep_at = _KEPT
        self._refusals: dict[str, int] = {}
        longest = max((quota.seconds for quota in _all_quotas(policy)), default=0)
        if longest:
            rows = ledger.query(
                "SELECT client, profile, recorded_at, count(*) FROM certificates"
                " WHERE seq >= ? GROUP BY recorded_at, client, profile ORDER BY recorded_at",
                ledger.first_seq_after(now - longest),
            )
            for client, profile, recorded_at, number in rows:
                self._count_quotas(client, profile, recorded_at, number)
        self._count_breaker(ledger, now)

    def rule(self, client: str, profile: str, now: int) -> Rule:
        """Whether one more certificate is within every quota."""
        full = [
            f"{scope} {name}".strip() + f" has had {quota}"
            for scope, name, quota in self._quotas(client, profile)
            if self._counted(scope, name, now) >= quota.count
        ]
        return Rule("quota", not full, "; ".join(full) or "within the quotas")

    def count(self, client: str, profile: str, now: int, number: int = 1) -> None:
        """Counts certificates that are about to be recorded."""
        self._count_quotas(client, profile, now, number)
        if (breaker := self._policy.freeze_above) is not None:
            self._add("breaker", "", breaker, now, number)

    def thawed(self) -> None:
        """Closes the circuit breaker: an operator saw what it had counted, and it counts from nothing."""
        self._windows.pop(("breaker", ""), None)

    def _count_quotas(self, client: str, profile: str, now: int, number: int) -> None:
        for scope, name, quota in self._quotas(client, profile):
            self._add(scope, name, quota, now, number)

    def _count_breaker(self, ledger: Ledger, now: int) -> None:
        """Counts what the ledger has since the last thaw into the circuit breaker."""
        if (breaker := self._policy.freeze_above) is not None:
            since = max(ledger.first_seq_after(now - breaker.seconds), int(ledger.state("thawed") or 0))
            sql = "SELECT recorded_at, count(*) FROM certificates WHERE seq >= ? GROUP BY 1 ORDER BY 1"
            for recorded_at, number in ledger.query(sql, since):
                self._add("breaker", "", breaker, recorded_at, number)

    def describe(self, now: int) -> list[str]:
        """The fullest windows: "client web1: 3 of 20/day"."""
        counted = [(window.count(now), scope, name, window.quota) for (scope, name), window in self._windows.items()]
        fullest = heapq.nlargest(_DESCRIBED, counted, key=lambda row: row[0] / max(row[3].count, 1))
        return [f"{scope} {name}".strip() + f": {count} of {quota}" for count, scope, name, quota in fullest]

    def refusal_is_news(self, client: str, now: int) -> bool:
        """Whether a refusal by quota is worth an entry."""
        if now - self._refusals.get(client, -_REFUSAL_SECONDS) < _REFUSAL_SECONDS:
            return False
        if len(self._refusals) >= _KEPT:
            self._refusals.clear()
        self._refusals[client] = now
        return True

    def breaks_circuit(self, now: int) -> bool:
        """Whether one more certificate would be more than ``freeze_above`` allows."""
        breaker = self._policy.freeze_above
        return breaker is not None and self._counted("breaker", "", now) >= breaker.count

    def _quotas(self, client: str, profile: str) -> Iterator[tuple[str, str, Quota]]:
        policy = self._policy
        of_client = policy.clients.get(client)
        own = of_client.quota if of_client is not None else None
        if (quota := own or policy.quota_per_client) is not None:
            yield "client", client, quota
        if profile in policy.profiles and (quota := policy.profiles[profile].quota) is not None:
            yield "profile", profile, quota
        if policy.quota_total is not None:
            yield "total", "", policy.quota_total

    def _counted(self, scope: str, name: str, now: int) -> int:
        window = self._windows.get((scope, name))
        return 0 if window is None else window.count(now)

    def _add(self, scope: str, name: str, quota: Quota, now: int, number: int) -> None:
        key = (scope, name)
        if (window := self._windows.get(key)) is None:
            if len(self._windows) >= self._sweep_at:
                self._windows = {key: kept for key, kept in self._windows.items() if kept.count(now)}
                self._sweep_at = max(_KEPT, 2 * len(self._windows))  # lest each new client costs a sweep
            window = self._windows[key] = Window(quota)
        window.add(now, number)


def _all_quotas(policy: Policy) -> Iterator[Quota]:
    quotas = [policy.quota_per_client, policy.quota_total, policy.freeze_above]
    quotas += [client.quota for client in policy.clients.values()]
    quotas += [profile.quota for profile in policy.profiles.values()]
    return (quota for quota in quotas if quota is not None)
