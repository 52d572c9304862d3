"""Contenders side by side: all of them run, one at a time is under load, round after round.

The machine's moods are the same for all that way: read the ratios of medians. What is compared with what are the
suites: ``peers`` (our stack and cfssl three ways), ``nginx`` (ours and cfssl, both behind TLS) and ``stores`` (ours on
disks that are slower, or not waited for).
"""

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from bench.load import NoAnswerError, run
from bench.nginx import behind_nginx, make_tls_certificate
from bench.results import Result, Run
from bench.stacks import Stack, cfssl, ours

OURS = "signerd"
NOTHING_RECORDED, WAL, DELETE = "cfssl", "cfssl WAL", "cfssl DELETE"
NO_FSYNC, SLOW_FSYNC = "without fsync", "fsync + 3 ms"

Contender = Callable[[], AbstractContextManager[Stack]]
Tell = Callable[[str], None]

_TRIES = 3
_LIBRARIES = (Path("/usr/lib"), Path("/usr/lib64"))


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many connections, and how often and how long: rounds, and seconds of each run."""

    clients: Sequence[int]
    rounds: int
    seconds: int


@dataclasses.dataclass(frozen=True)
class Match:
    """What is compared: which suite, the CA's key, what is sent, and the contenders by name."""

    suite: str
    key: str
    csr_pems: Sequence[str]
    contenders: dict[str, Contender]


def play(match: Match, plan: Plan, tell: Tell) -> Iterator[Run]:
    """Every run, as soon as it is done. Raises ``RuntimeError`` if a request of ours got no certificate."""
    with contextlib.ExitStack() as running:
        stacks = {}
        for name, start in match.contenders.items():
            with _excused(name, f"{match.suite}, CA key {match.key}: {name} is not measured", tell):
                stack = running.enter_context(start())
                _load(stack, match, 8, 1, tell)  # warm
                stacks[name] = stack
        for number in range(1, plan.rounds + 1):
            for clients in plan.clients:
                for name, stack in stacks.items():
                    place = f"{match.suite}, CA key {match.key}, {clients} clients, round {number}"
                    with _excused(name, f"{place}: no figure of {name}", tell):
                        result = _load(stack, match, clients, plan.seconds, tell)
                        yield Run(
                            **dataclasses.asdict(result),
                            suite=match.suite,
                            key=match.key,
                            contender=name,
                            clients=clients,
                            round=number,
                        )


@contextlib.contextmanager
def _excused(name: str, what: str, tell: Tell) -> Iterator[None]:
    """What cfssl can't do is told of and left out; what ours can't do ends the benchmark."""
    try:
        yield
    except RuntimeError as error:
        if not name.startswith("cfssl"):
            raise
        tell(f"{what}: {error}")


def _load(stack: Stack, match: Match, clients: int, seconds: int, tell: Tell) -> Result:
    """One run. Where nothing was answered at all it is told of and tried again, twice: an hour of figures is not
    thrown away because the machine once stood still."""
    for _ in range(_TRIES - 1):
        try:
            return run(stack, match.csr_pems, clients, seconds)
        except NoAnswerError as error:
            tell(f"{match.suite}, CA key {match.key}, {clients} clients, once more, in {stack.state.name}: {error}")
    return run(stack, match.csr_pems, clients, seconds)


# --- suites ---------------------------------------------------------------------------------------


def peers(ca: Path, work: Path) -> dict[str, Contender]:
    """Our stack; and cfssl that records nothing, that records without an fsync each, that records with one."""
    return {
        OURS: lambda: ours(ca, work / "ours"),
        NOTHING_RECORDED: lambda: cfssl(ca, work / "cfssl", None),
        WAL: lambda: cfssl(ca, work / "cfssl-wal", "WAL"),
        DELETE: lambda: cfssl(ca, work / "cfssl-delete", "DELETE"),
    }


def nginx(ca: Path, work: Path) -> dict[str, Contender]:
    """Our stack and cfssl with a certdb in WAL mode, each behind an nginx of its own that speaks TLS."""
    make_tls_certificate(ca, work / "tls")
    return {
        OURS: lambda: _ours_behind_nginx(ca, work / "nginx-ours"),
        WAL: lambda: _cfssl_behind_nginx(ca, work / "nginx-wal"),
    }


@contextlib.contextmanager
def _ours_behind_nginx(ca: Path, state: Path) -> Iterator[Stack]:
    with ours(ca, state, by_unix_socket=True) as stack, behind_nginx(stack, f"unix:{state}/http.sock", ca) as whole:
        yield whole


@contextlib.contextmanager
def _cfssl_behind_nginx(ca: Path, state: Path) -> Iterator[Stack]:
    with cfssl(ca, state, "WAL") as stack, behind_nginx(stack, stack.base_url.removeprefix("http://"), ca) as whole:
        yield whole


def stores(ca: Path, work: Path) -> dict[str, Contender]:
    """Our stack on three stores: as it is, without any fsync, and with an fsync that takes 3 ms longer."""
    slow, careless = _slow_fsync(work), _eatmydata()
    return {
        OURS: lambda: ours(ca, work / "durable"),
        NO_FSYNC: lambda: ours(ca, work / "careless", preload=careless),
        SLOW_FSYNC: lambda: ours(ca, work / "slow", preload=slow),
    }


def _slow_fsync(work: Path) -> Path:
    source, library = Path(__file__).with_name("slow_fsync.c"), work / "slow_fsync.so"
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def _eatmydata() -> Path:
    """The library of the package eatmydata, which is in a directory named for the architecture."""
    for place in _LIBRARIES:
        for found in (*place.glob("libeatmydata.so"), *place.glob(f"{os.uname().machine}*/libeatmydata.so")):
            return found
    raise RuntimeError("libeatmydata.so is not installed: tools/packages bench")
