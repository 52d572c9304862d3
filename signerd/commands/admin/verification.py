"""The check of a whole ledger, stretch by stretch, against its own chain and against checkpoints.

Where the stretches come from is not this module's matter: the running signer answers for them one by one,
or they are read from a file. Each is cut so that it ends at the next checkpoint's entry, to compare hashes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

STRETCH_ENTRIES = 1000


class Place(NamedTuple):
    """An entry of the chain, by its number and its hash."""

    seq: int
    hash: bytes


GENESIS = Place(0, bytes(32))


class Checkpoint(NamedTuple):
    """What a checkpoint states, and the file that it was read from."""

    source: str
    place: Place


class Stretch(NamedTuple):
    """What was found after some place: up to where it went, of how many entries, and what was wrong."""

    end: Place
    entries: int
    problems: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """What a verification found. ``entries`` and ``head``: where the chain ends."""

    entries: int
    head: bytes
    problems: list[str]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_ledger(
    check_stretch: Callable[[Place, int], Stretch],
    checkpoints: Sequence[Checkpoint],
    progress: Callable[[int, int], None],
) -> Outcome:
    """Checks a ledger from its first entry to its last.

    ``check_stretch`` checks so many entries after a place. ``progress`` is told the entries done, of how many.
    """
    waiting = sorted(checkpoints, key=lambda checkpoint: checkpoint.place.seq)
    here, problems = GENESIS, list[str]()
    while True:
        to_next = [checkpoint.place.seq - here.seq for checkpoint in waiting[:1]]
        stretch = check_stretch(here, min([STRETCH_ENTRIES, *to_next]))
        problems += stretch.problems
        while waiting and waiting[0].place.seq <= stretch.end.seq:
            problems += _compared(waiting.pop(0), stretch.end)
        progress(stretch.end.seq, stretch.entries)
        if stretch.end.seq in {here.seq, stretch.entries}:
            break
        here = stretch.end
    if stretch.end.seq != stretch.entries:
        problems.append(f"the last entry is {stretch.end.seq}, but the signer has recorded {stretch.entries}")
    problems += [
        f"{source}: there was an entry {place.seq}, and the ledger ends at entry {stretch.end.seq}: "
        "its end was cut off, or an older ledger put in its place"
        for source, place in waiting
    ]
    return Outcome(stretch.end.seq, stretch.end.hash, problems)


def _compared(checkpoint: Checkpoint, end: Place) -> list[str]:
    """What is wrong, by this checkpoint, with a chain that has its entry as ``end``, or has gone past it."""
    if end == checkpoint.place:
        return []
    if end.seq != checkpoint.place.seq:
        return [f"{checkpoint.source}: entry {checkpoint.place.seq} is missing"]
    return [f"{checkpoint.source}: entry {end.seq} had another hash: the ledger was rewritten, or is another one"]
