"""Where in the ledger a time is. Times rise from entry to entry, but for the entries ``clock``, each of which begins an
epoch: the clock was set, and the times from there on may lie before those of the epoch before."""

from typing import TYPE_CHECKING

from protocol.wire import unpack
from signerd.ledger.chain import Kind

if TYPE_CHECKING:
    from signerd.ledger.store import Ledger

_CLOCKS = f"SELECT seq FROM entries INDEXED BY entries_clock WHERE kind = '{Kind.CLOCK}' ORDER BY seq"  # noqa: S608


class Times:
    """Looks up times in a ledger."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger

    def first_after(self, time: int) -> int:
        """The seq of the first entry later than ``time``, by the clock of its epoch; one past the last if there is
        none. Entries after it that are no later may follow in a later epoch."""
        found = self._ledger.head.seq + 1
        for first, last in self._epochs():
            if (seq := self._search(time, first, last)) <= last:
                return seq
        return found

    def first_within(self, seconds: int, now: int) -> int:
        """The seq of the first entry of the last ``seconds``; one past the last if there is none. Where the clock was
        set back, what was recorded before counts as long as the time that it was lived through."""
        since, found = now - seconds, self._ledger.head.seq + 1
        for first, last in reversed(self._epochs()):
            found = self._search(since, first, last)
            if found > first or first == 1:
                break
            clock = self._ledger.entry(first)
            since += max(0, unpack(clock.body)["before"] - clock.time)
        return found

    def _epochs(self) -> list[tuple[int, int]]:
        """The first and last entry of each."""
        rows = self._ledger.query(_CLOCKS)
        starts = [1, *(seq for (seq,) in rows if seq > 1)]
        return list(zip(starts, [start - 1 for start in starts[1:]] + [self._ledger.head.seq], strict=True))

    def _search(self, time: int, first: int, last: int) -> int:
        """The first entry later than ``time`` from ``first`` to ``last``, within which the times rise; or one past."""
        low, high = first, last + 1
        while low < high:
            middle = (low + high) // 2
            # Or the next one, should it be missing: `ca_admin verify` is what complains of that.
            sql = "SELECT seq, time FROM entries WHERE seq >= ? ORDER BY seq LIMIT 1"
            seq, found = self._ledger.query(sql, middle).fetchone()
            low, high = (low, middle) if found > time else (seq + 1, high)
        return low
