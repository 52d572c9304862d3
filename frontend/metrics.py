"""Numbers for Prometheus, the same whichever worker process is asked.

The counters live in anonymous memory that the parent maps before it forks. Each worker has a row of its
own there and adds to that alone, so processes need no lock between them; a scrape adds up the rows. No
file and no directory, and a worker that was restarted goes on counting where its predecessor ended.

What the signer counts itself it is asked for (``signer_metrics``).
"""

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from frontend.signer_metrics import signer_metrics
from protocol.messages import OPERATIONS, MetricsReply, Socket

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER_ROUTE = "other"  # what matched no route, or could not be read as HTTP
_STATUSES = (200, 304, 400, 403, 404, 405, 409, 413, 415, 429, 431, 500, 501, 503, 505)
_OTHER_STATUS = "other"
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
_TIMES = len(_BUCKETS) + 2  # cells: a count per bucket, and above, and the sum
_OPERATIONS = tuple(op for op, row in OPERATIONS.items() if Socket.SIGN in row.sockets and op != "hello")
_DOUBLE = 8


class Board:
    """The shared memory: a row per worker, in it for each route its counters, for each of the signer's operations how
    long they took, and the worker's heartbeat."""

    def __init__(self, routes: Sequence[str], workers: int) -> None:
        self.workers = workers
        self._routes = (*routes, OTHER_ROUTE)
        width = len(_STATUSES) + 1 + _TIMES  # a count per status (and for any other), and its times
        self._at = {route: index * width for index, route in enumerate(self._routes)}
        after = len(self._routes) * width
        self._operation_at = {op: after + index * _TIMES for index, op in enumerate(_OPERATIONS)}
        self._row = after + len(_OPERATIONS) * _TIMES + 1
        self._cells = memoryview(mmap.mmap(-1, workers * self._row * _DOUBLE)).cast("d")
        self._status_at = {status: index for index, status in enumerate(_STATUSES)}
        self._lock = threading.Lock()

    def count(self, worker: int, route: str, status: int, seconds: float) -> None:
        """One request to ``route`` was answered with ``status`` after ``seconds``."""
        base = worker * self._row + self._at[route]
        with self._lock:
            self._cells[base + self._status_at.get(status, len(_STATUSES))] += 1
            self._time(base + len(_STATUSES) + 1, seconds)

    def count_signer(self, worker: int, op: str, seconds: float) -> None:
        """The signer has answered, or failed to, after ``seconds``."""
        with self._lock:
            self._time(worker * self._row + self._operation_at[op], seconds)

    def _time(self, at: int, seconds: float) -> None:
        self._cells[at + bisect_left(_BUCKETS, seconds)] += 1
        self._cells[at + _TIMES - 1] += seconds

    def beat(self, worker: int, now: float) -> None:
        """The worker's serving loop turned at ``now`` (monotonic seconds; 0: it is not serving)."""
        self._cells[(worker + 1) * self._row - 1] = now

    def last_beat(self, worker: int) -> float:
        """When the worker's serving loop turned last."""
        return self._cells[(worker + 1) * self._row - 1]

    def _totals(self, at: int, number: int) -> list[float]:
        """So many cells from there on, added up over the workers."""
        rows = [worker * self._row + at for worker in range(self.workers)]
        return [sum(self._cells[row + column] for row in rows) for column in range(number)]

    def collect(self) -> Iterable[Metric]:
        """The sums over all workers, as Prometheus wants them."""
        requests = CounterMetricFamily(
            "signerd_frontend_requests", "Requests answered, by all workers.", labels=["route", "status"]
        )
        durations = HistogramMetricFamily(
            "signerd_frontend_request_seconds",
            "From the whole request's arrival in a thread to its answer.",
            labels=["route"],
        )
        waits = HistogramMetricFamily(
            "signerd_frontend_signer_seconds",
            "From asking the signer to its answer, or to none.",
            labels=["operation"],
        )
        statuses = [*map(str, _STATUSES), _OTHER_STATUS]
        for route, at in self._at.items():
            for status, total in zip(statuses, self._totals(at, len(statuses)), strict=True):
                if total:
                    requests.add_metric([route, status], total)
            self._add_times(durations, route, at + len(statuses))
        for op, at in self._operation_at.items():
            self._add_times(waits, op, at)
        yield from (requests, durations, waits)

    def _add_times(self, family: HistogramMetricFamily, label: str, at: int) -> None:
        *counts, total = self._totals(at, _TIMES)
        bounds = [*map(str, _BUCKETS), "+Inf"]
        family.add_metric([label], list(zip(bounds, accumulate(counts), strict=True)), total)


class _Scrape(Collector):
    def __init__(self, board: Board, reply: MetricsReply | None) -> None:
        self._board = board
        self._reply = reply

    def collect(self) -> Iterable[Metric]:
        yield from self._board.collect()
        yield from signer_metrics(self._reply)


def render(board: Board, reply: MetricsReply | None) -> bytes:
    """The page that Prometheus scrapes. ``reply``: what the signer says of itself; None: it does not answer."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(board, reply))
    return generate_latest(registry)
