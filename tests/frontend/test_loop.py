"""The loop asks a connection what it waits for when something happened to it, and else once a second."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from waitress import wasyncore

from frontend.loop import Loop


class Peer(wasyncore.dispatcher):  # type: ignore[misc] # waitress publishes no types
    """One end of a connection, entered in a loop. Reads what comes, sends what it is given, counts being asked."""

    def __init__(self, loop: Loop, end: socket.socket) -> None:
        self.asked = 0
        self.received = b""
        self.to_send = b""
        super().__init__(end, map=loop.channels)
        self.connected = True

    def readable(self) -> bool:
        self.asked += 1
        return True

    def writable(self) -> bool:
        return bool(self.to_send)

    def handle_read(self) -> None:
        self.received += self.recv(100)

    def handle_write(self) -> None:
        self.to_send = self.to_send[self.send(self.to_send) :]

    def handle_close(self) -> None:
        self.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def far_end(loop: Loop) -> Iterator[socket.socket]:
    near, far = socket.socketpair()
    Peer(loop, near)
    with far:
        yield far


def peer(loop: Loop) -> Peer:
    [channel] = loop.channels.values()
    assert isinstance(channel, Peer)
    return channel


def test_what_arrives_is_read_in_the_turn_in_which_it_arrives(loop: Loop, far_end: socket.socket) -> None:
    far_end.send(b"hello")
    loop.turn(10)
    assert peer(loop).received == b"hello"


def test_an_answer_made_by_a_thread_ends_the_sleep_and_is_sent(loop: Loop, far_end: socket.socket) -> None:
    channel = peer(loop)
    loop.turn(0)

    def answer() -> None:
        time.sleep(0.2)
        channel.to_send = b"answer"
        loop.look_at(descriptor)

    [descriptor] = loop.channels
    thread = threading.Thread(target=answer)
    thread.start()
    began = time.monotonic()
    while channel.to_send == b"" and time.monotonic() - began < 10:
        loop.turn(10)
    thread.join()
    loop.turn(0)
    assert far_end.recv(100) == b"answer"
    assert time.monotonic() - began < 5


def test_what_is_entered_while_the_loop_is_awake_is_looked_at_before_it_sleeps(
    loop: Loop, far_end: socket.socket
) -> None:
    loop.turn(0)
    peer(loop).to_send = b"answer"
    loop.look_at(next(iter(loop.channels)))
    loop.turn(0.1)
    assert far_end.recv(100, socket.MSG_DONTWAIT) == b"answer"


def test_a_connection_that_nothing_happens_to_is_not_asked_at_each_turn(loop: Loop, far_end: socket.socket) -> None:
    loop.turn(0)
    before = peer(loop).asked
    for _ in range(100):
        loop.turn(0)
    assert peer(loop).asked - before <= 2  # once a second all are asked
    loop.turn(0, everyone=True)
    assert peer(loop).asked > before


def test_whoever_decides_over_a_connection_s_head_is_obeyed_within_a_second(loop: Loop, far_end: socket.socket) -> None:
    loop.turn(0)
    peer(loop).to_send = b"said by nobody"
    began = time.monotonic()
    while peer(loop).to_send and time.monotonic() - began < 10:
        loop.turn(0.1)
    assert far_end.recv(100) == b"said by nobody"


def test_a_closed_connection_is_forgotten_and_its_descriptor_serves_the_next(
    loop: Loop, far_end: socket.socket
) -> None:
    loop.turn(0)
    [descriptor] = loop.channels
    peer(loop).close()
    loop.look_at(descriptor)
    loop.turn(0)
    near, far = socket.socketpair()
    with far:
        Peer(loop, near)
        loop.turn(0)
        far.send(b"next")
        loop.turn(10)
        assert peer(loop).received == b"next"


def test_a_wake_from_a_signal_handler_ends_this_sleep_or_the_next(loop: Loop) -> None:
    loop.wake()
    began = time.monotonic()
    loop.turn(10)
    assert time.monotonic() - began < 5
    loop.turn(0.2)
    assert 0.1 < time.monotonic() - began < 5
