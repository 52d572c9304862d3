"""What signerd wants to reach, beside what was measured. Nothing fails by a target that is missed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.compare import DELETE, NO_FSYNC, OURS, SLOW_FSYNC, WAL
from bench.results import Results, Run

MILLION = 1_000_000
_EMPTY, _MILLION = "0", str(MILLION)


class Target(NamedTuple):
    """One line of the table. ``measured``: None where this run has not measured it."""

    what: str
    wanted: float
    at_least: bool
    unit: str
    measured: float | None

    @property
    def is_met(self) -> bool | None:
        """None: not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    @property
    def row(self) -> tuple[str, str, str, str]:
        """What, wanted, measured, met: as text."""
        sign = "≥" if self.at_least else "≤"
        measured = "not measured" if self.measured is None else _number(self.measured, self.unit)
        met = {True: "yes", False: "NO", None: ""}[self.is_met]
        return self.what, f"{sign} {_number(self.wanted, self.unit)}", measured, met


def _number(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit == "%" else f"{value:.2f} {unit}".replace(".00 ", " ")


def targets(results: Results) -> Iterator[Target]:
    """All of them, whether measured or not."""
    yield from _rates(results)
    yield from _latencies(results)
    yield from _cpu(results)
    yield from _stores(results)
    yield from _growth(results)


def _rates(results: Results) -> Iterator[Target]:
    wanted = (
        ("rsa2048", 64, WAL, 2.0),
        ("rsa2048", 64, DELETE, 5.0),
        ("rsa4096", 64, WAL, 2.0),
        ("rsa4096", 64, DELETE, 4.0),
        ("p256", 64, WAL, 1.2),
        ("p256", 64, DELETE, 8.0),
        ("p256", 8, WAL, 0.9),
    )
    for key, clients, peer, factor in wanted:
        own, other = (results.median("peers", key, name, clients) for name in (OURS, peer))
        what = f"{KEY_NAMES[key]}, {clients} clients: certs/s over {peer}"
        yield Target(what, factor, True, "x", _ratio(own, other, _rate))


def _latencies(results: Results) -> Iterator[Target]:
    for key in ("rsa2048", "p256"):
        for clients, most in ((64, 0.25), (256, 0.35)):
            own, other = (results.median("peers", key, name, clients) for name in (OURS, WAL))
            what = f"{KEY_NAMES[key]}, {clients} clients: p99 over {WAL}"
            yield Target(what, most, False, "x", _ratio(own, other, _p99))
    for key in ("rsa2048", "p256"):
        many, some = (results.median("peers", key, OURS, clients) for clients in (256, 64))
        yield Target(f"{KEY_NAMES[key]}: certs/s at 256 clients over 64", 0.9, True, "x", _ratio(many, some, _rate))


def _cpu(results: Results) -> Iterator[Target]:
    for key, of_signer, of_stack in (("rsa2048", 0.6, 0.45), ("p256", 0.35, 0.2)):
        own, raw = results.median("peers", key, OURS, 64), results.raw.get(key)
        signer = stack = None
        if own is not None and raw is not None:
            signer, stack = raw.both_us / own.cpu_us["signer"], raw.both_us / sum(own.cpu_us.values())
        yield Target(f"{KEY_NAMES[key]}: raw sign + verify in the signer's CPU", of_signer, True, "%", signer)
        yield Target(f"{KEY_NAMES[key]}: the same in the whole stack's CPU", of_stack, True, "%", stack)


def _stores(results: Results) -> Iterator[Target]:
    for key in ("rsa2048", "p256"):
        durable, careless, slow = (results.median("stores", key, name, 64) for name in (OURS, NO_FSYNC, SLOW_FSYNC))
        what = f"{KEY_NAMES[key]}, 64 clients: certs/s"
        yield Target(f"{what} over those without fsync", 0.9, True, "x", _ratio(durable, careless, _rate))
        yield Target(f"{what} where an fsync takes 3 ms longer", 0.8, True, "x", _ratio(slow, durable, _rate))


def _growth(results: Results) -> Iterator[Target]:
    empty, full = (results.median("growth", "p256", name, 64) for name in (_EMPTY, _MILLION))
    yield Target("A million on the ledger: certs/s over the empty one's", 0.95, True, "x", _ratio(full, empty, _rate))
    yield Target(
        "the same: signer's memory under load", 64, False, "MiB", None if full is None else full.memory_mib["signer"]
    )
    start = next((one.start_seconds for one in results.ledgers if one.certificates == MILLION), None)
    yield Target("the same: start to first certificate", 1, False, "s", start)


KEY_NAMES = {"rsa2048": "RSA-2048", "rsa4096": "RSA-4096", "p256": "P-256", "p384": "P-384", "ed25519": "Ed25519"}


def _ratio(own: Run | None, other: Run | None, of: Callable[[Run], float]) -> float | None:
    return None if own is None or other is None else of(own) / of(other)


def _rate(run: Run) -> float:
    return run.rate


def _p99(run: Run) -> float:
    return run.p99
