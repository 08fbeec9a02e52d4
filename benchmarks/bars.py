"""Bars side by side: a row for each who, a column for each question, the limit as a line through the column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.chart import OURS, Bars, Column, by_name
from benchmarks.ink import DASHES, FAINT, MET, TEXT, svg, write
from benchmarks.results import Result
from benchmarks.verdicts import Figure as Outcome
from benchmarks.wording import number

_WIDTH = 900.0
_LABELS, _NUMBERS, _GAP = 220.0, 74.0, 14.0
"""Pixels for the words before the rows, for the number after each bar, and between columns."""

_ROW, _ABOVE, _BELOW = 26.0, 92.0, 30.0
_THICK = 0.56


def drawn(chart: Bars, results: Sequence[Result]) -> str:
    """The picture as SVG."""
    found = by_name(results)
    height = _ABOVE + _ROW * len(chart.rows) + _BELOW
    each = (_WIDTH - _LABELS) / len(chart.columns)

    def draw(figure: Figure) -> None:
        for place, column in enumerate(chart.columns):
            left, width = _LABELS + each * place, each - _NUMBERS - _GAP
            box = (left / _WIDTH, _BELOW / height, width / _WIDTH, _ROW * len(chart.rows) / height)
            axes = figure.add_axes(box)
            _column(axes, chart.rows, column, {name: found.get((column.question, name)) for name in _names(column)})
            if place == 0:
                _words(axes, chart)
        _legend(figure, height)

    return svg(chart.title, _WIDTH, height, draw)


def _names(column: Column) -> list[str]:
    return [*column.figures.values(), *(() if column.limit is None else (column.limit[1],))]


def _column(axes: Axes, rows: Sequence[str], column: Column, found: Mapping[str, Outcome | None]) -> None:
    """Draw the bars from the top down, on a scale of the column's own."""
    spreads = [figure.spread for figure in found.values() if figure is not None and figure.spread is not None]
    edge = 1.04 * max((spread.high for spread in spreads), default=1.0)
    axes.set_xlim(0.0, edge)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.axvline(0.0, color=TEXT, linewidth=0.8)
    write(axes, 0.0, (0.0, 1.0), column.heading, shift=44.0, size=9.0, bold=True)
    write(axes, 0.0, (0.0, 1.0), column.more, shift=28.0, size=7.5)
    _limit(axes, column, found)
    for row, who in enumerate(rows):
        if who in column.figures:
            _bar(axes, row, len(rows), who, found[column.figures[who]])


def _limit(axes: Axes, column: Column, found: Mapping[str, Outcome | None]) -> None:
    limit = found.get(column.limit[1]) if column.limit is not None else None
    if column.limit is None or limit is None or limit.spread is None:
        return
    axes.axvline(limit.spread.median, color=TEXT, linewidth=1.2, linestyle=DASHES, zorder=4)
    words = f"┊ {column.limit[0]}: {number(limit.spread.median)}"
    write(axes, 0.0, (0.0, 1.0), words, shift=12.0, size=7.5)


def _bar(axes: Axes, row: int, of: int, who: str, figure: Outcome | None) -> None:
    """The bar, its spread, and its number after the column; a word where there is none."""
    colour = MET if who.startswith(OURS) else TEXT
    middle = (1.0, 1.0 - (row + 0.5) / of)
    if figure is None or figure.spread is None:
        write(axes, 8.0, middle, "not measured", shift=0.0, size=7.5)
        return
    spread = figure.spread
    axes.barh(row, spread.median, height=_THICK, color=colour, alpha=FAINT, linewidth=0, zorder=2)
    axes.plot([spread.low, spread.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=3)
    axes.plot([spread.low, spread.high], [row, row], color=colour, linestyle="", marker="|", markersize=6, zorder=3)
    write(axes, 8.0, middle, number(spread.median), shift=0.0, size=9.0, colour=colour, bold=who.startswith(OURS))


def _words(axes: Axes, chart: Bars) -> None:
    for row, who in enumerate(chart.rows):
        ours = who.startswith(OURS)
        before = (0.0, 1.0 - (row + 0.5) / len(chart.rows))
        write(axes, -12.0, before, who, shift=0.0, size=9.0, align="right", colour=MET if ours else TEXT, bold=ours)
    write(axes, -_LABELS + 8.0, (0.0, 1.0), chart.title, shift=74.0, size=10.0, bold=True)


def _legend(figure: Figure, height: float) -> None:
    handles = {
        "median of the rounds": Line2D([], [], color=TEXT, linewidth=7.0, alpha=FAINT),
        "lowest to highest round": Line2D([], [], color=TEXT, linewidth=1.6),
        "the limit, measured in the same run": Line2D([], [], color=TEXT, linewidth=1.2, linestyle=DASHES),
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="lower left",
        bbox_to_anchor=(8.0 / _WIDTH, 0.0 / height),
        borderaxespad=0.3,
        ncols=3,
        frameon=False,
        fontsize=7.5,
    )
