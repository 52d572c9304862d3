"""The figures as tables: for a terminal, and as Markdown for docs/performance.md."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

from bench.compare import OURS
from bench.results import Result, Results, Run
from bench.targets import KEY_NAMES, targets

_SUITES = {
    "peers": "signerd's whole stack and cfssl",
    "nginx": "the same behind nginx, with TLS",
    "stores": "on other stores",
    "growth": "on ledgers of so many certificates",
}


class Table(NamedTuple):
    """One table: its first columns are text, the others figures."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


def show(console: Console, table: Table) -> None:
    """On a terminal."""
    rich = RichTable(title=table.title, title_justify="left", title_style="bold")
    for number, heading in enumerate(table.headings):
        rich.add_column(heading, justify="left" if number < table.text_columns else "right")
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich)


def markdown(table: Table) -> str:
    """For a document."""
    rule = ["---" if number < table.text_columns else "--:" for number in range(len(table.headings))]
    lines = [table.headings, rule, *table.rows]
    return f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# --- comparisons ----------------------------------------------------------------------------------


def comparison(results: Results, suite: str, key: str) -> Iterator[Table]:
    """What one suite found with one CA; nothing if it was not run."""
    medians = [one for one in results.medians() if (one.suite, one.key) == (suite, key)]
    if not medians:
        return
    base = OURS if suite != "growth" else medians[0].contender
    by_place = {(one.contender, one.clients): one for one in medians}
    raw = results.raw[key].both_us
    rows = [
        _row(one, by_place.get((base, one.clients)), raw, is_base=one.contender == base)
        for clients in dict.fromkeys(one.clients for one in medians)
        for one in medians
        if one.clients == clients
    ]
    ratio = f"{base}'s rate ÷" if suite != "growth" else "rate ÷ empty's"
    if suite == "growth":
        for row, one in zip(rows, (one for one in medians), strict=True):
            row[0], row[3] = f"{int(one.contender):,}", f"{one.rate / medians[0].rate:.2f}"
    yield Table(
        f"CA key {KEY_NAMES.get(key, key)}, {_SUITES[suite]}",
        ("", "clients", "certs/s", ratio, "p50 ms", "p99 ms", "CPU µs a certificate", "raw ÷ CPU", "MiB resident"),
        rows,
    )


def _row(one: Run, base: Run | None, raw: float, *, is_base: bool) -> list[str]:
    return [
        one.contender,
        str(one.clients),
        f"{one.rate:,.0f}",
        "" if is_base or base is None else f"{base.rate / one.rate:.2f}",
        f"{one.p50:.1f}",
        f"{one.p99:.1f}",
        _cpu(one),
        f"{raw / sum(one.cpu_us.values()):.0%}",
        _parts(one.memory_mib),
    ]


def _cpu(one: Result) -> str:
    whole = f"{sum(one.cpu_us.values()):.0f}"
    return whole if len(one.cpu_us) == 1 else f"{_parts(one.cpu_us)}: {whole}"


def _parts(by_role: dict[str, float]) -> str:
    return ", ".join(f"{role} {value:.0f}" for role, value in by_role.items())


# --- the rest -------------------------------------------------------------------------------------


def closing(results: Results) -> Iterator[Table]:
    """The raw limit, ledgers, revocation, and the targets: as far as there is something."""
    tables = (raw(results), ledgers(results), revocation(results), wanted(results))
    yield from (table for table in tables if table.rows)


def raw(results: Results) -> Table:
    """What the bare cryptography costs."""
    rows = [
        (
            KEY_NAMES.get(key, key), KEY_NAMES[one.csr_key], f"{one.sign_us:.0f}", f"{one.verify_us:.0f}",
            f"{one.both_us:.0f}", f"{1e6 / one.both_us:,.0f}", _microseconds(one.openssl_sign_us),
            _microseconds(one.openssl_verify_us),
        )
        for key, one in results.raw.items()
    ]  # fmt: skip
    return Table(
        "The limit: one signature by the CA's key, one check of the CSR's, on one core",
        ("CA key", "CSR's key", "sign µs", "verify µs", "both µs", "a second", "openssl speed: sign µs", "verify µs"),
        rows,
        text_columns=2,
    )


def _microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def ledgers(results: Results) -> Table:
    """The start of a signer, by its ledger."""
    rows = [
        (
            f"{one.certificates:,}", f"{one.file_mb:,.0f} MB", f"{one.start_seconds:.2f} s",
            f"{one.start_memory_mib:.0f} MiB", _memory_under_load(results, one.certificates),
        )
        for one in results.ledgers
    ]  # fmt: skip
    return Table(
        "The signer's start and memory, P-256",
        ("on the ledger", "its file", "start to first certificate", "memory then", "memory under load"),
        rows,
        text_columns=0,
    )


def _memory_under_load(results: Results, certificates: int) -> str:
    run = results.median("growth", "p256", str(certificates), 64)
    return "-" if run is None else f"{run.memory_mib['signer']:.0f} MiB"


def revocation(results: Results) -> Table:
    """What a revocation of everything takes."""
    rows = [
        (
            f"{one.revoked:,}", f"{one.answered_seconds:.2f} s", f"{one.published_seconds:.1f} s", f"{one.crls:,}",
            f"{one.crl_sign_ms:.1f} ms", f"{one.crl_sign_ms_longest:.1f} ms",
            f"{one.crl_bytes_largest / 1000:,.0f} kB", f"{one.crl_bytes_total / 1000:,.0f} kB",
            f"{one.ocsp_signed.rate:,.0f}", f"{one.ocsp_signed.p99:.0f} ms",
            f"{one.ocsp_kept.rate:,.0f}", f"{one.ocsp_kept.p99:.0f} ms",
        )
        for one in results.revocations
    ]  # fmt: skip
    return Table(
        "Everything revoked by one request, P-256",
        (
            "revoked", "on the ledger after", "every CRL current after", "CRLs", "one CRL takes", "at most",
            "largest", "all together", "OCSP/s, signed", "p99", "OCSP/s, from memory", "p99",
        ),
        rows,
        text_columns=0,
    )  # fmt: skip


def wanted(results: Results) -> Table:
    """The targets, as far as this run has measured them."""
    measured = [one.row for one in targets(results) if one.measured is not None]
    return Table("Targets: no run fails by one that is missed", ("", "wanted", "measured", "met"), measured)
