"""What a run of the benchmarks found: every single figure, the machine, and the medians; to JSON and back."""

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


@dataclass(frozen=True)
class Result:
    """One run of load: certificates (or answers) a second, at what latency, for how much CPU and memory."""

    rate: float
    p50: float  # milliseconds, as p99
    p99: float
    cpu_us: dict[str, float]  # microseconds per certificate, by process
    memory_mib: dict[str, float]  # resident, by process, right after the load


@dataclass(frozen=True)
class Run(Result):
    """Which run it was. ``round`` counts from 1; 0 stands for the median of all rounds."""

    suite: str
    key: str
    contender: str
    clients: int
    round: int


@dataclass(frozen=True)
class Raw:
    """The bare cryptography of one certificate, on one core, in microseconds. ``openssl_*``: by `openssl speed`,
    that is by the system's OpenSSL, which need not be the library's; None where it does not know the key."""

    csr_key: str
    sign_us: float
    verify_us: float
    openssl_sign_us: float | None
    openssl_verify_us: float | None

    @property
    def both_us(self) -> float:
        """One signature by the CA's key, and one check of the CSR's."""
        return self.sign_us + self.verify_us


@dataclass(frozen=True)
class LedgerSize:
    """A signer on a ledger of so many certificates; how it issues is among the runs of the suite "growth"."""

    certificates: int
    build_seconds: float
    file_mb: float
    start_seconds: float  # from the start of the process to its first certificate
    start_memory_mib: float  # resident, after that


@dataclass(frozen=True)
class Revocations:
    """What came of revoking everything on a ledger with one request. Seconds, milliseconds and bytes as named."""

    revoked: int
    answered_seconds: float  # from the request until it was answered: all is on the ledger
    published_seconds: float  # from the request until the last CRL that had to be signed anew was
    crls: int
    crl_bytes_largest: int
    crl_bytes_total: int
    crl_sign_ms: float  # to assemble, record and sign one CRL: the median
    crl_sign_ms_longest: float
    ocsp_signed: Result  # OCSP answers, each of them signed for the request
    ocsp_kept: Result  # the same about a hundred certificates: answers that are kept in memory


@dataclass
class Results:
    """All of one run of `python -m bench`."""

    machine: dict[str, str]
    plan: dict[str, Any]
    raw: dict[str, Raw] = field(default_factory=dict)  # by the CA's key
    runs: list[Run] = field(default_factory=list)
    ledgers: list[LedgerSize] = field(default_factory=list)
    revocations: list[Revocations] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def medians(self) -> list[Run]:
        """The medians over the rounds, in the order in which the first of each was run."""
        groups: dict[tuple[str, str, str, int], list[Run]] = {}
        for run in self.runs:
            groups.setdefault((run.suite, run.key, run.contender, run.clients), []).append(run)
        return [
            Run(**_fields(median(runs)), suite=suite, key=key, contender=contender, clients=clients, round=0)
            for (suite, key, contender, clients), runs in groups.items()
        ]

    def median(self, suite: str, key: str, contender: str, clients: int) -> Run | None:
        """One of the medians; None if that was not measured."""
        wanted = (suite, key, contender, clients)
        return next((one for one in self.medians() if (one.suite, one.key, one.contender, one.clients) == wanted), None)

    def write(self, path: Path) -> None:
        """As JSON, the medians with it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        everything = {**_fields(self), "medians": [dataclasses.asdict(one) for one in self.medians()]}
        path.write_text(json.dumps(everything, indent=1, default=dataclasses.asdict) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """What ``Results.write`` wrote. Raises ``msgspec.ValidationError`` for anything else."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def merge(paths: Iterable[Path]) -> Results:
    """Several files as one: suites that were run apart. The machine and the plan are those of the first."""
    first, *others = [read(path) for path in paths]
    for other in others:
        first.raw |= other.raw
        for name in ("runs", "ledgers", "revocations", "notes"):
            getattr(first, name).extend(getattr(other, name))
    return first


def median(results: Iterable[Result]) -> Result:
    """Each figure's median."""
    seen = list(results)

    def of(pick: Callable[[Result], float]) -> float:
        return statistics.median(map(pick, seen))

    def by_role(pick: Callable[[Result], dict[str, float]]) -> dict[str, float]:
        return {role: statistics.median(pick(one)[role] for one in seen) for role in pick(seen[0])}

    return Result(
        rate=of(lambda one: one.rate),
        p50=of(lambda one: one.p50),
        p99=of(lambda one: one.p99),
        cpu_us=by_role(lambda one: one.cpu_us),
        memory_mib=by_role(lambda one: one.memory_mib),
    )


def _fields(one: Any) -> dict[str, Any]:
    return {each.name: getattr(one, each.name) for each in dataclasses.fields(one)}
