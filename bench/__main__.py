"""`python -m bench`: everything, or the suites that are named; tables as they are done, and a JSON of it all."""

import dataclasses
import datetime
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import compare, growth, machine, raw, tables
from bench.compare import Contender, Match, Plan, play
from bench.load import csr_key_for, csrs
from bench.results import Results
from bench.stacks import make_ca

_RESULTS = Path(__file__).parent / "results"
_SUITES = ("peers", "nginx", "stores", "growth", "revocation")
_CONTENDERS: dict[str, Callable[[Path, Path], dict[str, Contender]]] = {
    "peers": compare.peers,
    "nginx": compare.nginx,
    "stores": compare.stores,
}
# The keys that say most: one where the signature costs most of it, and one where it costs least.
_TWO_KEYS = ("rsa2048", "p256")


class Bench:
    """One run: where it works, what it found so far, and where that goes."""

    def __init__(self, work: Path, out: Path, plan: Plan) -> None:
        self._work = work
        self._out = out
        self._plan = plan
        # Where nobody's terminal is the measure: as wide as the tables are.
        self._console = Console() if sys.stdout.isatty() else Console(width=175)
        self._cas: dict[str, tuple[Path, list[str]]] = {}
        self.results = Results(
            machine.describe(work),
            {"clients": list(plan.clients), "rounds": plan.rounds, "seconds": plan.seconds, "suites": []},
        )

    def compare(self, suite: str, key: str, plan: Plan) -> None:
        """One suite with one CA."""
        ca, requests = self._ca(key)
        self._play(Match(suite, key, requests, _CONTENDERS[suite](ca, self._work / suite / key)), plan)

    def grow(self, sizes: list[int]) -> None:
        """Issuance, start and memory on ledgers of these sizes."""
        ca, requests = self._ca("p256")
        built = growth.build_ledgers(ca, self._work, sizes, self._console.print)
        self.results.ledgers += [growth.start_up(ca, size, requests[0]) for size in built]
        plan = Plan([64], self._plan.rounds, self._plan.seconds)
        self._play(Match("growth", "p256", requests, growth.contenders(ca, built)), plan)

    def revoke(self, sizes: list[int]) -> None:
        """Revocation of everything on ledgers of these sizes."""
        ca, _ = self._ca("p256")
        for size in filter(None, sizes):
            self._console.print(f"revocation of {size:,}")
            self.results.revocations.append(growth.revoke_all(ca, self._work, size, self._plan.seconds))
            self.save()

    def finish(self, suites: list[str]) -> None:
        """The tables of what is no comparison, and the targets."""
        self.results.plan["suites"] = suites
        for table in tables.closing(self.results):
            tables.show(self._console, table)
        self.save()
        self._console.print(f"all figures: {self._out}")

    def save(self) -> None:
        """Writes what there is: a run that is interrupted leaves it behind."""
        self.results.write(self._out)

    def _play(self, match: Match, plan: Plan) -> None:
        total = len(plan.clients) * len(match.contenders) * plan.rounds * plan.seconds
        self._console.print(f"{match.suite}, CA key {match.key}: {total} s of load at most", style="dim")
        for run in play(match, plan, self._tell):
            self.results.runs.append(run)
        for table in tables.comparison(self.results, match.suite, match.key):
            tables.show(self._console, table)
        self.save()

    def _tell(self, note: str) -> None:
        self.results.notes.append(note)
        self._console.print(note, style="yellow", markup=False)

    def _ca(self, key: str) -> tuple[Path, list[str]]:
        """A CA with such a key, and CSRs for it; the raw limit is measured when it is made."""
        if key not in self._cas:
            ca = make_ca(self._work / f"ca-{key}", key)
            csr_key = csr_key_for(key)
            requests = csrs(ca, csr_key)
            self.results.raw[key] = raw.measure(ca, key, requests[0], csr_key)
            self._cas[key] = ca, requests
        return self._cas[key]


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    try:
        return [int(text) for text in value.split(",") if text]
    except ValueError:
        raise click.BadParameter("numbers with commas between them") from None


def _names(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    return value.split(",")


def _rounds(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    rounds, _, seconds = value.partition("x")
    if not (rounds.isdigit() and seconds.isdigit() and int(rounds) and int(seconds)):
        raise click.BadParameter("ROUNDSxSECONDS, such as 3x4")
    return int(rounds), int(seconds)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """The command line."""

    suites: list[str]
    keys: list[str]
    clients: list[int]
    rounds: tuple[int, int]
    sizes: list[int]
    revoked: list[int]
    work: Path
    out: Path | None


@click.command()
@click.option("--suites", default=",".join(_SUITES), show_default=True, callback=_names, help="What to run.")
@click.option("--keys", default="rsa2048,rsa4096,p256,ed25519", show_default=True, callback=_names, help="CA keys.")
@click.option("--clients", default="1,8,64,256", show_default=True, callback=_numbers, help="Keep-alive connections.")
@click.option("--rounds", default="3x4", show_default=True, callback=_rounds, help="Rounds, and seconds of each run.")
@click.option(
    "--sizes", default="0,10000,100000,1000000", show_default=True, callback=_numbers,
    help="Certificates on the ledger, for growth.",
)  # fmt: skip
@click.option(
    "--revoked", default="1000,10000,100000,1000000", show_default=True, callback=_numbers,
    help="Certificates to revoke, for revocation.",
)  # fmt: skip
@click.option("--work", type=click.Path(path_type=Path), default=Path("/var/tmp"), show_default=True,  # noqa: S108
              help="Where the ledgers are written: on the disk that is to be measured, 5 GB.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="The JSON.  [default: bench/results/DATE.json]")
def main(**options: Any) -> None:
    """Measures signerd beside Debian's cfssl, behind nginx, on other stores, and as its ledger grows."""
    _run(_Wanted(**options))


def _run(wanted: _Wanted) -> None:
    if unknown := set(wanted.suites) - set(_SUITES):
        raise click.BadParameter(f"no such suite: {', '.join(sorted(unknown))}")
    plan = Plan(wanted.clients, *wanted.rounds)
    out = wanted.out or _RESULTS / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H%M}.json"
    with tempfile.TemporaryDirectory(prefix="bench-", dir=wanted.work) as directory:
        bench = Bench(Path(directory), out, plan)
        try:
            _compare(bench, wanted, plan)
            if "growth" in wanted.suites:
                bench.grow(wanted.sizes)
            if "revocation" in wanted.suites:
                bench.revoke(wanted.revoked)
        finally:
            bench.finish(wanted.suites)


def _compare(bench: Bench, wanted: _Wanted, plan: Plan) -> None:
    plans = {
        "peers": (wanted.keys, plan),
        "nginx": (_TWO_KEYS, dataclasses.replace(plan, clients=[one for one in plan.clients if one > 1])),
        "stores": (_TWO_KEYS, dataclasses.replace(plan, clients=[64])),
    }
    for suite, (keys, its_plan) in plans.items():
        for key in wanted.keys if suite in wanted.suites else []:
            if key in keys:
                bench.compare(suite, key, its_plan)


if __name__ == "__main__":
    main()
