"""What people see on a terminal, drawn by rich."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_STYLES = {
    **dict.fromkeys(("valid", "ready", "ok"), "green"),
    **dict.fromkeys(("hold", "pending"), "yellow"),
    **dict.fromkeys(("revoked", "frozen", "unavailable", "no"), "bold red"),
    "expired": "dim",
}
_STYLED = {"state", "ok"}  # columns and facts
_FOLDED = {"names", "detail"}  # columns of any width; all others are to be read and copied as one piece
_FOLDED_WIDTH = 24
_WIDTH_MAX = 10_000


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, err: bool) -> None:
    """Prints a table. What does not fit into a column is folded, never cut; where the terminal is too narrow
    for that, each row takes several lines."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in headings:
        if heading in _FOLDED:
            table.add_column(heading, overflow="fold", min_width=_FOLDED_WIDTH)
        else:
            table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*map(_value, headings, row))
    console = Console(stderr=err, highlight=False)
    needed = console.measure(table, options=console.options.update(max_width=_WIDTH_MAX)).minimum
    if needed <= console.width:
        console.print(table)
        return
    for row in rows:
        for line in _stacked(headings, row, console.width):
            console.print(line, soft_wrap=True)


def _stacked(headings: Sequence[str], row: Sequence[str], width: int) -> list[Text]:
    """A row as lines: the first value, then, indented, the others by name, as many on a line as fit. What is longer
    than a line is left for the terminal to wrap, so that it can be copied as one piece."""
    lines = [_value(headings[0], row[0])]
    for heading, value in zip(headings[1:], row[1:], strict=True):
        fact = Text.assemble((heading, "dim"), " ", _value(heading, value))
        if len(lines) > 1 and len(lines[-1]) + 2 + len(fact) <= width:
            lines[-1].append("  ").append_text(fact)
        else:
            lines.append(Text("  ").append_text(fact))
    return lines


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and values, a line each."""
    console = Console(highlight=False)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        console.print(Text.assemble((f"{name:<{width}}  ", "bold"), _value(name, value)), soft_wrap=True)


def progress_bar() -> Progress:
    """A bar on stderr that goes when the work is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # it would print on stderr what is written to a pipe meanwhile
        redirect_stderr=False,
    )


def _value(name: str, text: str) -> Text:
    return Text(text, style=_STYLES.get(text, "") if name in _STYLED else "")
