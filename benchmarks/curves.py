"""Lines over what grows: a panel for each question, across in powers of ten, the spread of the rounds as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.chart import Curves, Line, Panel, by_name
from benchmarks.ink import DASHES, MET, OTHERS, TEXT, svg, write
from benchmarks.results import Result
from benchmarks.verdicts import Figure as Outcome
from benchmarks.verdicts import Spread

_WIDTH = 900.0
_COLUMNS = 2
_LEFT, _RIGHT, _BETWEEN = 62.0, 14.0, 78.0
_TOP, _PANEL, _ABOVE, _BELOW = 10.0, 150.0, 34.0, 46.0
_BAND = 0.18


def drawn(chart: Curves, results: Sequence[Result]) -> str:
    """The picture as SVG."""
    found = by_name(results)
    panels = [panel for panel in chart.panels if any(_points(panel, line, found) for line in panel.lines)]
    rows = -(-len(panels) // _COLUMNS)
    height = _TOP + rows * (_ABOVE + _PANEL + _BELOW)
    width = (_WIDTH - _LEFT - _RIGHT - _BETWEEN * (_COLUMNS - 1)) / _COLUMNS

    def draw(figure: Figure) -> None:
        for place, panel in enumerate(panels):
            row, column = divmod(place, _COLUMNS)
            left = _LEFT + column * (width + _BETWEEN)
            bottom = height - _TOP - row * (_ABOVE + _PANEL + _BELOW) - _ABOVE - _PANEL
            axes = figure.add_axes((left / _WIDTH, bottom / height, width / _WIDTH, _PANEL / height))
            _panel(axes, panel, found)

    return svg(chart.title, _WIDTH, height, draw)


def _panel(axes: Axes, panel: Panel, found: Mapping[tuple[str, str], Outcome]) -> None:
    axes.set_xscale("log")
    if panel.logarithmic:
        axes.set_yscale("log")
    colours = cycle((MET, *OTHERS))
    for line in panel.lines:
        points = _points(panel, line, found)
        colour = TEXT if line.limit else next(colours)
        across = [size for size, _ in points]
        axes.fill_between(
            across,
            [spread.low for _, spread in points],
            [spread.high for _, spread in points],
            color=colour,
            alpha=_BAND,
            linewidth=0,
        )
        axes.plot(
            across,
            [spread.median for _, spread in points],
            color=colour,
            linewidth=1.6,
            linestyle=DASHES if line.limit else "solid",
            marker="o",
            markersize=3.5,
            label=line.label,
        )
    _frame(axes, panel)


def _frame(axes: Axes, panel: Panel) -> None:
    """Scales, ticks and words."""
    if not panel.logarithmic:
        axes.set_ylim(bottom=0.0)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(TEXT)
    axes.tick_params(colors=TEXT, labelsize=7.5, length=3)
    axes.grid(visible=True, axis="y", color=TEXT, alpha=0.15, linewidth=0.8)
    write(axes, -_LEFT + 8.0, (0.0, 1.0), f"{panel.heading}, {panel.upwards}", shift=20.0, size=9.5, bold=True)
    write(axes, 0.0, (0.5, 0.0), panel.across, shift=-30.0, size=7.5, align="center")
    if len(panel.lines) > 1:
        axes.legend(loc="best", frameon=False, fontsize=7.5, labelcolor=TEXT)


def _points(panel: Panel, line: Line, found: Mapping[tuple[str, str], Outcome]) -> list[tuple[float, Spread]]:
    """The sizes that were measured, each with what it was."""
    measured = [(size, found.get((panel.question, name))) for size, name in line.points]
    return [(size, figure.spread) for size, figure in measured if figure is not None and figure.spread is not None]
