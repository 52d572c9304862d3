"""What people see on a terminal, drawn by rich."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_STYLES = {
    **dict.fromkeys(("valid", "ready", "ok"), "green"),
    **dict.fromkeys(("hold", "pending"), "yellow"),
    **dict.fromkeys(("revoked", "frozen", "locked", "unavailable", "no"), "bold red"),
    "expired": "dim",
}
_SERIAL_DIGITS = 40  # to be copied as one piece, whatever the terminal's width


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, err: bool) -> None:
    """Prints a table; what does not fit into a column is folded, never cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", min_width=_SERIAL_DIGITS if heading == "serial" and rows else None)
    for row in rows:
        table.add_row(*map(_cell, row))
    Console(stderr=err, highlight=False).print(table)


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and values, a line each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, _cell(value))
    Console(highlight=False).print(grid)


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
    )


def _cell(text: str) -> Text:
    return Text(text, style=_STYLES.get(text, ""))
