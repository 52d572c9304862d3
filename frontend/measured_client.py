"""A client of the signer that takes the time of each answer, for the metrics."""

import time
from typing import TypeVar

from frontend.metrics import Board
from protocol.client import SignerClient
from protocol.fields import Message

T = TypeVar("T", bound=Message)


class MeasuredClient(SignerClient):
    """Adds to the ``board``'s row of this ``worker``."""

    def __init__(self, path: str, board: Board, worker: int, *, timeout: float = 30.0, pool_size: int = 64) -> None:
        super().__init__(path, timeout=timeout, pool_size=pool_size)
        self._board = board
        self._worker = worker

    def _ask(self, op: str, request: Message, reply: type[T]) -> T:
        began = time.perf_counter()
        try:
            return super()._ask(op, request, reply)
        finally:
            self._board.count_signer(self._worker, op, time.perf_counter() - began)
