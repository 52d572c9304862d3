"""`python -m bench.plot RESULTS.json…`: draws docs/performance.png.

One column for each CA key; beneath each other certificates a second, latency, and CPU per certificate with the raw
limit as a line. What is ours is blue, what is cfssl's grey; the colours are Okabe and Ito's, which people who confuse
red and green tell apart, and light and dark stay so in black and white.
"""

from pathlib import Path
from typing import Any, NamedTuple

import click
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.compare import DELETE, NOTHING_RECORDED, OURS, WAL
from bench.results import Results, Run, merge
from bench.targets import KEY_NAMES

_FEW, _MANY = 8, 64
# From the bottom up, as matplotlib counts.
_CONTENDERS = {
    DELETE: "cfssl, SQLite DELETE\nevery certificate on disk",
    WAL: "cfssl, SQLite WAL\nthe last ones may be lost",
    NOTHING_RECORDED: "cfssl\nnothing recorded",
    OURS: "signerd\nevery certificate on disk",
}
_BLUE, _SKY, _GREY, _LIGHT_GREY, _VERMILION = "#0072B2", "#8CC8EC", "#6E6E6E", "#C4C4C4", "#D55E00"
_INK, _FAINT = "#222222", "#DDDDDD"
_BAR = 0.36
_ROOM = 1.32  # beyond the longest bar, for its label


class _Colours(NamedTuple):
    few: str
    many: str


class _Column(NamedTuple):
    """One CA key: the medians by contender and clients, and the raw limit in microseconds."""

    key: str
    by: dict[tuple[str, int], Run]
    raw_us: float

    def has(self, contender: str) -> bool:
        return (contender, _MANY) in self.by


def draw(results: Results, to: Path) -> None:
    """The picture. Raises ``ValueError`` if there is nothing to draw."""
    columns = _columns(results)
    if not columns:
        raise ValueError(f"the suite peers, with {_FEW} and {_MANY} clients, is not among the results")
    figure = Figure(figsize=(2.9 + 2.75 * len(columns), 10.2), dpi=150, facecolor="white")
    rows = figure.subplots(3, len(columns), squeeze=False, gridspec_kw={"hspace": 0.5, "wspace": 0.12})
    left, right = 2.1 / figure.get_figwidth(), 1 - 0.3 / figure.get_figwidth()
    figure.subplots_adjust(left=left, right=right, top=0.83, bottom=0.1)
    for number, column in enumerate(columns):
        for axes, fill in zip(rows[:, number], (_rates, _latencies, _cpu), strict=True):
            fill(axes, column)
            _dress(axes, is_first=number == 0)
        rows[0, number].set_title(f"{KEY_NAMES[column.key]} CA", fontsize=13, fontweight="bold", color=_INK, pad=34)
    headings = (
        ("Certificates a second", "longer is better", _legend_of_clients()),
        ("Latency, 99th percentile, in ms", "further left is better; logarithmic", _legend_of_dots()),
        ("CPU per certificate, in µs", f"at {_MANY} clients; shorter is better", _legend_of_processes()),
    )
    latencies = [run.p99 for column in columns for run in column.by.values()]
    for axes in rows[1]:
        axes.set_xlim(min(latencies) / 3, max(latencies) * 3)
    for axes, heading in zip(rows[:, 0], headings, strict=True):
        _head(figure, axes, *heading)
    _frame(figure, results)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, metadata={"Software": None})


def _columns(results: Results) -> list[_Column]:
    columns = []
    for key, raw in results.raw.items():
        runs = [run for run in results.medians() if run.suite == "peers" and run.key == key]
        by = {(run.contender, run.clients): run for run in runs if run.clients in {_FEW, _MANY}}
        if {(OURS, _FEW), (OURS, _MANY)} <= by.keys():
            columns.append(_Column(key, by, raw.both_us))
    return columns


# --- the three rows -------------------------------------------------------------------------------


def _rates(axes: Any, column: _Column) -> None:
    longest = max(run.rate for run in column.by.values())
    for (contender, clients), run in column.by.items():
        height = _place(contender) + (_BAR / 2 if clients == _FEW else -_BAR / 2)
        colours = _colours(contender)
        axes.barh(height, run.rate, _BAR, color=colours.few if clients == _FEW else colours.many)
        _label(axes, run.rate, height, f"{run.rate:,.0f}", bold=contender == OURS and clients == _MANY)
    axes.set_xlim(0, longest * _ROOM)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _say_who_is_missing(axes, column)


def _latencies(axes: Any, column: _Column) -> None:
    for contender in _CONTENDERS:
        if not column.has(contender):
            continue
        place, colours = _place(contender), _colours(contender)
        few, many = (column.by[contender, clients].p99 for clients in (_FEW, _MANY))
        axes.plot([few, many], [place, place], color=colours.few, linewidth=2, zorder=2)
        axes.plot(few, place, "o", color="white", markeredgecolor=colours.many, markeredgewidth=1.8, markersize=7)
        axes.plot(many, place, "o", color=colours.many, markersize=8)
        for value, is_left in ((few, few < many), (many, many <= few)):
            axes.annotate(
                f"{value:,.0f}", (value, place), xytext=(-7 if is_left else 7, 0), textcoords="offset points",
                ha="right" if is_left else "left", va="center", fontsize=8.5, color=_INK,
                fontweight="bold" if contender == OURS and value == many else "normal",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")


def _cpu(axes: Any, column: _Column) -> None:
    longest = 0.0
    for contender in _CONTENDERS:
        if not column.has(contender):
            continue
        place, done = _place(contender), 0.0
        for (role, microseconds), colour in zip(
            column.by[contender, _MANY].cpu_us.items(), _process_colours(contender), strict=False
        ):
            axes.barh(place, microseconds, 0.5, left=done, color=colour, label=role)
            done += microseconds
        _label(axes, done, place, f"{done:,.0f}", bold=contender == OURS)
        longest = max(longest, done)
    axes.axvline(column.raw_us, color=_VERMILION, linewidth=1.8, linestyle=(0, (4, 2)), zorder=3)
    axes.annotate(
        f"{column.raw_us:,.0f}", (column.raw_us, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
        textcoords="offset points", ha="center", va="bottom", fontsize=8.5, color=_VERMILION, fontweight="bold",
    )  # fmt: skip
    axes.set_xlim(0, longest * _ROOM)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _label(axes: Any, value: float, height: float, text: str, *, bold: bool) -> None:
    axes.annotate(
        text, (value, height), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5, color=_INK,
        fontweight="bold" if bold else "normal",
    )  # fmt: skip


def _say_who_is_missing(axes: Any, column: _Column) -> None:
    """Once, in the middle of the places that stay empty."""
    empty = [_place(contender) for contender in _CONTENDERS if not column.has(contender)]
    if empty:
        axes.annotate(
            f"Debian's cfssl has no\n{KEY_NAMES[column.key]} CA", (0, sum(empty) / len(empty)),
            xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points", va="center", fontsize=9,
            color=_GREY, fontstyle="italic", backgroundcolor="white",
        )  # fmt: skip


# --- looks ----------------------------------------------------------------------------------------


def _place(contender: str) -> int:
    return list(_CONTENDERS).index(contender)


def _colours(contender: str) -> _Colours:
    return _Colours(_SKY, _BLUE) if contender == OURS else _Colours(_LIGHT_GREY, _GREY)


def _process_colours(contender: str) -> tuple[str, ...]:
    return (_BLUE, _SKY) if contender == OURS else (_GREY,)


def _dress(axes: Any, *, is_first: bool) -> None:
    """The least that an axis needs."""
    axes.set_ylim(-0.6, len(_CONTENDERS) - 0.4)
    axes.set_yticks(range(len(_CONTENDERS)), labels=list(_CONTENDERS.values()) if is_first else [])
    axes.tick_params(axis="y", length=0, labelsize=9, labelcolor=_INK)
    axes.tick_params(axis="x", which="both", length=0, labelsize=8, labelcolor=_GREY)
    axes.grid(axis="x", color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=4) if axes.get_xscale() == "linear" else None
    for side, spine in axes.spines.items():
        spine.set_visible(side == "left")
        spine.set_color(_LIGHT_GREY)


def _head(figure: Any, axes: Any, title: str, hint: str, legend: dict[str, Any]) -> None:
    """A row's heading, at the figure's left edge, and its legend to the right of it."""
    box, width, height = axes.get_position(), figure.get_figwidth(), figure.get_figheight()
    top = box.y1 + 0.26 / height
    figure.text(0.25 / width, top, title, fontsize=11.5, fontweight="bold", color=_INK, va="center")
    figure.text(0.25 / width, top - 0.2 / height, hint, fontsize=8.5, color=_GREY, va="center")
    drawn = figure.legend(
        handles=list(legend.values()), labels=list(legend), loc="center right", frameon=False, fontsize=9,
        bbox_to_anchor=(1 - 0.3 / width, top), ncols=len(legend), handletextpad=0.6, columnspacing=1.8,
        handlelength=2, borderpad=0, borderaxespad=0, handler_map={tuple: HandlerTuple(ndivide=None, pad=0.2)},
    )  # fmt: skip
    figure.add_artist(drawn)


def _legend_of_clients() -> dict[str, Any]:
    colours = _colours(OURS), _colours(WAL)
    return {
        f"{_FEW} clients": tuple(Patch(color=one.few) for one in colours),
        f"{_MANY} clients": tuple(Patch(color=one.many) for one in colours),
    }


def _legend_of_dots() -> dict[str, Any]:
    colours = _colours(OURS), _colours(WAL)
    return {
        f"{_FEW} clients": tuple(_dot(one.many, filled=False) for one in colours),
        f"{_MANY} clients": tuple(_dot(one.many, filled=True) for one in colours),
    }


def _dot(colour: str, *, filled: bool) -> Any:
    fill = colour if filled else "white"
    return Line2D([], [], marker="o", linestyle="none", color=colour, markerfacecolor=fill, markeredgewidth=1.8)


def _legend_of_processes() -> dict[str, Any]:
    return {
        "signer": Patch(color=_BLUE),
        "frontend": Patch(color=_SKY),
        "cfssl": Patch(color=_GREY),
        "the limit: bare sign + verify": Line2D([], [], color=_VERMILION, linewidth=1.8, linestyle=(0, (4, 2))),
    }


def _frame(figure: Any, results: Results) -> None:
    width, height, machine, plan = figure.get_figwidth(), figure.get_figheight(), results.machine, results.plan
    figure.text(
        0.25 / width, 1 - 0.38 / height, "signerd beside cfssl", fontsize=17, fontweight="bold", color=_INK, va="center"
    )
    figure.text(
        0.25 / width, 1 - 0.68 / height,
        "The whole stack, HTTP to ledger, on one machine; keep-alive clients, one contender under load at a time.",
        fontsize=9.5, color=_GREY, va="center",
    )  # fmt: skip
    cores = f"{machine['cpu']}, {machine['cores']} cores, on which the load is made too"
    versions = f"Python {machine['python']}, cryptography {machine['cryptography']}, Debian's cfssl {machine['cfssl']}"
    rounds = f"{_rounds(plan['rounds'])} of {plan['seconds']} s, {machine['date'].split()[0]}"
    lines = (f"{cores}; an fdatasync takes {machine['fdatasync']}.", f"{versions}. {rounds}.")
    for number, line in enumerate(lines):
        place = (0.25 / width, (0.42 - 0.2 * number) / height)
        figure.text(*place, line, fontsize=8, color=_GREY, va="center")


def _rounds(rounds: int) -> str:
    return f"Medians of {rounds} interleaved rounds" if rounds > 1 else "One round"


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), default=Path("docs/performance.png"), show_default=True)
def main(results: tuple[Path, ...], to: Path) -> None:
    """Draws what is in RESULTS; several files count as one."""
    draw(merge(results), to)


if __name__ == "__main__":
    main()
