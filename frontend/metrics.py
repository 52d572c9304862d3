"""Numbers for Prometheus, the same whichever worker process is asked.

The counters live in anonymous memory that the parent maps before it forks. Each worker has a row of its
own there and adds to that alone, so processes need no lock between them; a scrape adds up the rows. No
file and no directory, and a worker that was restarted goes on counting where its predecessor ended.
"""

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("ready", "frozen", "unavailable")
OTHER_ROUTE = "other"  # what matched no route, or could not be read as HTTP
_STATUSES = (200, 304, 400, 403, 404, 405, 409, 413, 415, 429, 431, 500, 501, 503, 505)
_OTHER_STATUS = "other"
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
_DOUBLE = 8


class Board:
    """The shared memory: a row per worker, in it for each route its counters, and the worker's heartbeat."""

    def __init__(self, routes: Sequence[str], workers: int) -> None:
        self.workers = workers
        self._routes = (*routes, OTHER_ROUTE)
        # Per route: a count per status (and for any other), a count per bucket (and above), a sum.
        self._buckets_at = len(_STATUSES) + 1
        self._sum_at = self._buckets_at + len(_BUCKETS) + 1
        self._width = self._sum_at + 1
        self._row = len(self._routes) * self._width + 1
        self._cells = memoryview(mmap.mmap(-1, workers * self._row * _DOUBLE)).cast("d")
        self._at = {route: index * self._width for index, route in enumerate(self._routes)}
        self._status_at = {status: index for index, status in enumerate(_STATUSES)}
        self._lock = threading.Lock()

    def count(self, worker: int, route: str, status: int, seconds: float) -> None:
        """One request to ``route`` was answered with ``status`` after ``seconds``."""
        base = worker * self._row + self._at[route]
        status_at = base + self._status_at.get(status, len(_STATUSES))
        bucket_at = base + self._buckets_at + bisect_left(_BUCKETS, seconds)
        with self._lock:
            self._cells[status_at] += 1
            self._cells[bucket_at] += 1
            self._cells[base + self._sum_at] += seconds

    def beat(self, worker: int, now: float) -> None:
        """The worker's serving loop turned at ``now`` (monotonic seconds; 0: it is not serving)."""
        self._cells[(worker + 1) * self._row - 1] = now

    def last_beat(self, worker: int) -> float:
        """When the worker's serving loop turned last."""
        return self._cells[(worker + 1) * self._row - 1]

    def _totals(self, route: str) -> list[float]:
        rows = [worker * self._row + self._at[route] for worker in range(self.workers)]
        return [sum(self._cells[row + column] for row in rows) for column in range(self._width)]

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
        for route in self._routes:
            totals = self._totals(route)
            statuses = [*map(str, _STATUSES), _OTHER_STATUS]
            for status, total in zip(statuses, totals, strict=False):
                if total:
                    requests.add_metric([route, status], total)
            counts = totals[self._buckets_at : self._sum_at]
            bounds = [*map(str, _BUCKETS), "+Inf"]
            cumulative = [sum(counts[: index + 1]) for index in range(len(counts))]
            durations.add_metric([route], list(zip(bounds, cumulative, strict=True)), totals[self._sum_at])
        yield requests
        yield durations


class _Scrape(Collector):
    def __init__(self, board: Board, state: str) -> None:
        self._board = board
        self._state = state

    def collect(self) -> Iterable[Metric]:
        yield from self._board.collect()
        states = GaugeMetricFamily(
            "signerd_signer_state", "1 for the state that the signer is in, else 0.", labels=["state"]
        )
        for state in STATES:
            states.add_metric([state], float(state == self._state))
        yield states


def render(board: Board, state: str) -> bytes:
    """The page that Prometheus scrapes. ``state``: the signer's."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(board, state))
    return generate_latest(registry)
