"""The loop that waits for connections and calls them. In place of waitress's, which asks every connection at every
turn what it waits for, and is woken by a system call for each answer.

Here a connection is asked when something happened to it: an event, an answer that a thread has made, its own
beginning; and all of them once a second, for what others decide over their heads (that they have been idle too long).
"""

import collections
import os
import select
import time
from typing import Any

from waitress import wasyncore

_EVERY_SECONDS = 1.0  # how long at most until a connection is asked that nothing happened to
_READ = select.POLLIN | select.POLLPRI


class _Map(dict[int, Any]):
    """The connections (and listeners) by descriptor, as wasyncore's dispatchers enter and remove themselves."""

    def __init__(self, loop: "Loop") -> None:
        super().__init__()
        self._loop = loop

    def __setitem__(self, descriptor: int, channel: Any) -> None:
        super().__setitem__(descriptor, channel)
        self._loop.look_at(descriptor)

    def __delitem__(self, descriptor: int) -> None:
        super().__delitem__(descriptor)
        self._loop.forget(descriptor)


class Loop:
    """Turns when something happens. ``channels`` is the map to give to waitress's servers."""

    def __init__(self) -> None:
        self.channels = _Map(self)
        self._poll = select.poll()
        self._awaited: dict[int, int] = {}  # what the kernel is asked for, by descriptor
        self._to_look_at: collections.deque[int] = collections.deque()
        self._all_due = 0.0
        self._asleep = False
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._bell, select.POLLIN)

    def look_at(self, descriptor: int) -> None:
        """Asks this connection at the next turn, which begins now if the loop sleeps. Safe in any thread."""
        self._to_look_at.append(descriptor)
        if self._asleep:  # else it sees for itself, before it sleeps
            self._asleep = False
            self.wake()

    def wake(self) -> None:
        """Ends the loop's sleep, this one or the next. Safe in any thread and in a signal handler."""
        os.eventfd_write(self._bell, 1)

    def forget(self, descriptor: int) -> None:
        """Waits no longer for what a closed connection wanted."""
        if self._awaited.pop(descriptor, 0):
            self._poll.unregister(descriptor)

    def turn(self, seconds: float, *, everyone: bool = False) -> None:
        """Does what there is to do; sleeps for so long at most if that is nothing. ``everyone``: asks all."""
        if everyone or time.monotonic() >= self._all_due:
            self._to_look_at.extend(self.channels)
            self._all_due = time.monotonic() + _EVERY_SECONDS
        self._look()
        self._asleep = True  # whoever enters something from here on wakes the loop
        events = self._poll.poll(0 if self._to_look_at else seconds * 1000)
        self._asleep = False
        for descriptor, flags in events:
            if descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif (channel := self.channels.get(descriptor)) is not None:
                wasyncore.readwrite(channel, flags)
                self._await(descriptor)

    def close(self) -> None:
        """Closes all that it waits for. No thread may enter anything any more."""
        wasyncore.close_all(self.channels)
        os.close(self._bell)

    def _look(self) -> None:
        for _ in range(len(self._to_look_at)):
            descriptor = self._to_look_at.popleft()
            channel = self.channels.get(descriptor)
            if channel is not None and not channel.accepting and channel.writable():
                wasyncore.write(channel)  # nearly always there is room; where there is none, it stays writable
            self._await(descriptor)

    def _await(self, descriptor: int) -> None:
        """Has the kernel watch for what this connection waits for now."""
        channel = self.channels.get(descriptor)
        if channel is None:
            return
        wanted = _READ if channel.readable() else 0
        if not channel.accepting and channel.writable():
            wanted |= select.POLLOUT
        if wanted != self._awaited.get(descriptor, 0):
            self.forget(descriptor)
            if wanted:
                self._poll.register(descriptor, wanted)
                self._awaited[descriptor] = wanted
