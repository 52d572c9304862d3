"""How often something may happen, remembered by nobody: for what takes time, and leaves nothing on the ledger."""


class Rate:
    """At most ``most`` in any second of the clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = self._count = 0

    def is_used_up(self, now: int) -> bool:
        """Whether this second has had them all."""
        return now == self._second and self._count >= self._most

    def count(self, now: int) -> None:
        """Counts one."""
        self._count = self._count + 1 if now == self._second else 1
        self._second = now
