"""Which certificates share an fsync.

Where an fsync is quick, what is asked for in one round is recorded, signed and answered in it. Where it takes
long, as on a network's disk, it goes on in a second thread: meanwhile the next requests are prepared, and when it
is done these are recorded together, and those before them signed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from protocol.errors import Refused
from protocol.messages import IssueReply, IssueRequest
from signerd.authority import Authority
from signerd.batch import Batch
from signerd.issuance import Asker

SLOW_SECONDS = 0.001  # an fsync that takes longer is not waited for
TOGETHER_MAX = 64  # requests that wait for one fsync: more would only make them wait


class Asked(NamedTuple):
    """A request, who asks, and what takes the answer."""

    request: IssueRequest
    asker: Asker
    reply: Callable[[IssueReply | Refused], None]


class GroupCommit:
    """Of the event loop's thread. ``wake`` is called in another one: there is something for ``advance`` to do."""

    def __init__(self, authority: Authority, wake: Callable[[], None]) -> None:
        self._authority = authority
        self._wake = wake
        self._next = Batch(authority)  # is being prepared
        self._asked: list[Asked] = []
        self._under_way: tuple[Batch, list[Asked]] | None = None  # is being recorded

    @property
    def room(self) -> int:
        """How many requests more can be added."""
        return TOGETHER_MAX - len(self._next)

    def add(self, asked: Sequence[Asked], now: int) -> None:
        """Prepares certificates, ``room`` at most."""
        self._next.prepare([(one.request, one.asker) for one in asked], now)
        self._asked += asked

    def advance(self, now: int) -> None:
        """Records what is prepared and answers what is recorded, but for what an fsync under way holds up."""
        recorded = self._take_recorded()
        if self._asked and not self._under_way:
            is_slow = self._authority.ledger.commits.lately > SLOW_SECONDS
            self._under_way = self._next, self._asked
            self._next, self._asked = Batch(self._authority, before=self._under_way[0]), []
            self._under_way[0].record(now, then=self._wake if is_slow else None)
        for batch, asked in filter(None, (recorded, self._take_recorded())):
            for one, answer in zip(asked, batch.answers(now), strict=True):
                one.reply(answer)

    def _take_recorded(self) -> tuple[Batch, list[Asked]] | None:
        """The batch that no fsync holds up any more."""
        if self._authority.ledger.is_committing:
            return None
        under_way, self._under_way = self._under_way, None
        return under_way

    def complete(self, now: int) -> None:
        """Answers all that was added, however long an fsync takes."""
        while self._asked or self._under_way:
            self._authority.ledger.wait()
            self.advance(now)
