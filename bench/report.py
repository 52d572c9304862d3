"""`python -m bench.report RESULTS.json…`: the figures as Markdown, or put into a document between two marks."""

from collections.abc import Iterator
from pathlib import Path

import click

from bench import tables
from bench.results import Results, merge

_BEGIN, _END = "<!-- figures: begin (make bench-report) -->\n", "<!-- figures: end -->\n"

# Where each table stands: a heading, the suite, and what a reader should know of it.
_SECTIONS = (
    ("Issuing, beside cfssl", "peers", ""),
    ("Behind nginx, with TLS", "nginx", ""),
    ("The disk", "stores", ""),
    ("A ledger that grows", "growth", "Ledgers of 0 to so many certificates, P-256, side by side."),
)


def figures(results: Results) -> str:
    """All that was found, as the document has it."""
    return "\n".join(_parts(results))


def _parts(results: Results) -> Iterator[str]:
    plan = results.plan
    yield f"Medians of {plan['rounds']} rounds of {plan['seconds']} s each.\n"
    yield _machine(results)
    yield from _section("Wanted and measured", tables.wanted(results))
    yield from _section("The limit", tables.raw(results))
    for heading, suite, remark in _SECTIONS:
        found = [table for key in results.raw for table in tables.comparison(results, suite, key)]
        if not found:
            continue
        yield f"### {heading}\n"
        if remark:
            yield f"{remark}\n"
        yield from (tables.markdown(table) for table in found)
        if suite == "growth":
            yield tables.markdown(tables.ledgers(results))
    yield from _section("Revocation", tables.revocation(results))
    if results.notes:
        yield "### Remarks of the run\n"
        yield "\n".join(f"- {note}" for note in dict.fromkeys(results.notes)) + "\n"


def _section(heading: str, table: tables.Table) -> Iterator[str]:
    if table.rows:
        yield f"### {heading}\n"
        yield tables.markdown(table)


def _machine(results: Results) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {key} | {value} |\n" for key, value in results.machine.items() if value)


def put_into(document: Path, text: str) -> None:
    """Replaces what is between the marks. Raises ``ValueError`` where they are not."""
    before, begin, rest = document.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{document} lacks the lines {_BEGIN.strip()} and {_END.strip()}")
    document.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("--into", type=click.Path(exists=True, path_type=Path), help="A document to renew, instead of printing.")
def main(results: tuple[Path, ...], into: Path | None) -> None:
    """Writes what is in RESULTS as Markdown; several files count as one."""
    text = figures(merge(results))
    if into is None:
        click.echo(text)
    else:
        put_into(into, text)


if __name__ == "__main__":
    main()
