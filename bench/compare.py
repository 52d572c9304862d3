"""`python -m bench.compare`: our stack and cfssl in turns, on the same CSRs; certificates a second, latency, CPU.

Every figure is the median of interleaved rounds: machines are noisy, so read the ratios.
"""

import contextlib
import dataclasses
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.load import Result, csrs, run
from bench.raw import raw_microseconds
from bench.stacks import Stack, cfssl, make_ca, ours

Contender = Callable[[], AbstractContextManager[Stack]]
Results = dict[str, dict[int, Result]]  # by contender and clients

_EATMYDATA = "/usr/lib/x86_64-linux-gnu/libeatmydata.so"
_console = Console()


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many connections, and how often and how long: rounds, and seconds of each run."""

    clients: list[int]
    rounds: int
    seconds: int


def compare(contenders: dict[str, Contender], requests: list[str], plan: Plan) -> Results:
    """Runs all the contenders side by side, each in its turn, and returns the medians."""
    clients = plan.clients
    seen: dict[str, dict[int, list[Result]]] = {name: {count: [] for count in clients} for name in contenders}
    with contextlib.ExitStack() as running:
        stacks = {name: running.enter_context(start()) for name, start in contenders.items()}
        for stack in stacks.values():
            run(stack, requests, 8, 1)  # warm
        for number in range(plan.rounds):
            for count in clients:
                for name, stack in stacks.items():
                    seen[name][count].append(run(stack, requests, count, plan.seconds))
            _console.print(f"  round {number + 1} of {plan.rounds}", style="dim")
    return {name: {count: _median(results) for count, results in by.items()} for name, by in seen.items()}


def _median(results: list[Result]) -> Result:
    def of(pick: Callable[[Result], float]) -> float:
        return statistics.median(pick(result) for result in results)

    roles = results[0].cpu_us
    return Result(
        rate=of(lambda result: result.rate),
        p50=of(lambda result: result.p50),
        p99=of(lambda result: result.p99),
        cpu_us={role: of(lambda result, role=role: result.cpu_us[role]) for role in roles},  # type: ignore[misc]
        memory_mib={role: of(lambda result, role=role: result.memory_mib[role]) for role in roles},  # type: ignore[misc]
    )


def peers(ca: Path, work: Path) -> dict[str, Contender]:
    """Our stack, and cfssl three ways."""
    return {
        "signerd": lambda: ours(ca, work / "ours"),
        "cfssl": lambda: cfssl(ca, work / "cfssl", None),
        "cfssl WAL": lambda: cfssl(ca, work / "cfssl-wal", "WAL"),
        "cfssl DELETE": lambda: cfssl(ca, work / "cfssl-delete", "DELETE"),
    }


def stores(ca: Path, work: Path) -> dict[str, Contender]:
    """Our stack on three stores: as it is, without any fsync, and with an fsync that takes 3 ms longer."""
    slow = _slow_fsync(work)
    return {
        "signerd": lambda: ours(ca, work / "durable"),
        "without fsync": lambda: ours(ca, work / "careless", preload=Path(_EATMYDATA)),
        "fsync + 3 ms": lambda: ours(ca, work / "slow", preload=slow),
    }


def _slow_fsync(work: Path) -> Path:
    source, library = Path(__file__).with_name("slow_fsync.c"), work / "slow_fsync.so"
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def show(title: str, results: Results, raw: float) -> None:
    """The table of one CA key."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "clients", "certs/s", "ratio", "p50 ms", "p99 ms", "CPU µs/cert", "raw / CPU", "MiB"):
        table.add_column(heading, justify="left" if not heading else "right")
    for count in next(iter(results.values())):
        for name, by in results.items():
            table.add_row(*_row(name, count, by[count], results["signerd"][count], raw))
        table.add_section()
    _console.print(table)


def _row(name: str, clients: int, result: Result, own: Result, raw: float) -> Iterator[str]:
    cpu = sum(result.cpu_us.values())
    split = " + ".join(f"{value:.0f}" for value in result.cpu_us.values())
    yield name
    yield str(clients)
    yield f"{result.rate:,.0f}"
    yield f"{own.rate / result.rate:.2f}"
    yield f"{result.p50:.1f}"
    yield f"{result.p99:.1f}"
    yield f"{split} = {cpu:.0f}" if len(result.cpu_us) > 1 else split
    yield " ".join(
        f"{raw / value:.0%}" for value in (*result.cpu_us.values(), cpu)[-3 if len(result.cpu_us) > 1 else -1 :]
    )
    yield " + ".join(f"{value:.0f}" for value in result.memory_mib.values())


@click.command()
@click.option("--keys", default="rsa2048,rsa4096,p256,ed25519", show_default=True, help="CA keys.")
@click.option("--clients", default="1,8,64,256", show_default=True, help="Keep-alive connections.")
@click.option("--rounds", default="3x4", show_default=True, help="How many rounds, and the seconds of each run.")
@click.option("--suite", type=click.Choice(["peers", "stores"]), default="peers", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Where to write all figures, as JSON.")
def main(keys: str, clients: str, rounds: str, suite: str, out: Path | None) -> None:
    """Compares signerd with Debian's cfssl, or with itself on other stores."""
    plan = Plan([int(text) for text in clients.split(",")], *(int(text) for text in rounds.split("x")))
    figures = {}
    for key in keys.split(","):
        with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as directory:
            work = Path(directory)
            ca = make_ca(work / "ca", key)
            requests = csrs(work, "rsa2048" if key.startswith("rsa") else "p256")
            raw = raw_microseconds(ca, requests[0])
            contenders = peers(ca, work) if suite == "peers" else stores(ca, work)
            if key == "ed25519":  # which this cfssl can't
                contenders = {name: start for name, start in contenders.items() if not name.startswith("cfssl")}
            _console.print(f"{key}: raw sign + verify {raw:.0f} µs")
            results = compare(contenders, requests, plan)
        show(f"CA key {key}", results, raw)
        figures[key] = {"raw_us": raw, "results": {
            name: {count: dataclasses.asdict(result) for count, result in by.items()} for name, by in results.items()
        }}  # fmt: skip
    if out is not None:
        out.write_text(json.dumps({"suite": suite, "plan": dataclasses.asdict(plan), "keys": figures}, indent=1))


if __name__ == "__main__":
    main()
