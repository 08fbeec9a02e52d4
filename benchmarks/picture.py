"""The picture of the project's README, drawn from the results and never by hand: a bar for each target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from msgspec import Struct

from benchmarks.ink import DASHES, FAINT, MET, MISSED, TEXT, svg, write
from benchmarks.results import Result
from benchmarks.verdicts import Figure as Outcome
from benchmarks.verdicts import Spread, Verdict
from benchmarks.wording import number

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "assets" / "figures.svg"

LABELS = {
    ("asyncbus, async handler", "executemany, reference schema"): (
        "publish → handler, durable",
        "against SQLite's bulk insert",
    ),
    ("asyncbus, async handler", "bubus, default history of 50"): (
        "publish → handler, durable",
        "against bubus, in memory",
    ),
    ('asyncbus, 256 tasks awaiting `ack="stored"`', 'asyncbus, `ack="accepted"` (the first row)'): (
        "256 tasks awaiting stored",
        "against not waiting for the disk",
    ),
    ("asyncbus, NORMAL", "aiosqlite, NORMAL, reference schema"): (
        "one task awaiting stored, sync NORMAL",
        "against a bare aiosqlite INSERT",
    ),
    ("asyncbus, FULL", "aiosqlite, FULL, reference schema"): (
        "one task awaiting stored, sync FULL",
        "against a bare aiosqlite INSERT",
    ),
    ("asyncbus, `publish_from_thread`", 'asyncbus, `publish(ack="accepted")` (the first row)'): (
        "from a worker thread",
        "against publishing on the loop",
    ),
    ("asyncbus.verify", None): ("verify 1,000,000 events", "seconds"),
    ("wake-ups of the loop from other threads", None): ("from a worker thread", "wake-ups of the loop"),
    ("asyncbus, memory store, 1", "asyncio.Queue, 1"): ("memory, 1 subscriber", "against a plain asyncio.Queue"),
    ("asyncbus, memory store, 10", "asyncio.Queue, 10"): ("memory, 10 subscribers", "against plain asyncio.Queues"),
    ("asyncbus, memory store, 100", "asyncio.Queue, 100"): ("memory, 100 subscribers", "against plain asyncio.Queues"),
    ("100,000 subscriptions, 1 matches", "1 subscription"): (
        "100,000 subscriptions, 1 matches",
        "time an event, against 1 subscription",
    ),
    ("asyncbus replay, not reading the data", "fetchall"): ("replay, data not read", "against SQLite's fetchall"),
    ("asyncbus replay, reading the data", "fetchall and decode"): (
        "replay, data read",
        "against fetchall and decoding",
    ),
    ("warm, first event", None): ("replay of a rare pattern: first event", "1 event in 1,000 matches"),
    ("warm, whole", "a log that holds nothing else, whole"): (
        "replay of a rare pattern",
        "against a log of only what matches",
    ),
    ("typed, a dataclass", "untyped, a dict"): ("typed event, dataclass", "time an event, against a plain dict"),
    ("typed, a msgspec Struct", "untyped, a dict"): ("typed event, Struct", "time an event, against a plain dict"),
    ("untyped, where others expect sequences", "untyped, a dict"): (
        "plain event, others expect sequences",
        "time an event, against nobody expecting",
    ),
    ("publish to handled, the loop computes", "publish to handled, the loop idle"): (
        "publish → handler, beside a busy loop",
        "against an idle loop",
    ),
    ("replay, the loop computes", "replay, the loop idle"): ("replay, beside a busy loop", "against an idle loop"),
    ("asyncbus, highest growth over the run", None): ("catching up 1,000,000 events", "growth of memory"),
    ("asyncbus FULL, median", "aiosqlite FULL in turn, median"): (
        "latency to the handler, median",
        "against one aiosqlite commit",
    ),
    ("asyncbus FULL, 99th percentile", "aiosqlite FULL in turn, 99th percentile"): (
        "latency to the handler, 99th percentile",
        "against one aiosqlite commit",
    ),
    ("consumer, publish to handled", "subscription, publish to handled"): (
        "durable consumer, publish → handler",
        "against a subscription",
    ),
    ("consumer, catching up on a stored log", "subscription, catching up on a stored log"): (
        "durable consumer, catching up",
        "against a subscription",
    ),
    ("idle bus with 1,000 consumers", None): ("1,000 consumers on an idle bus", "CPU seconds a second"),
    ("dead letters, the last page", "dead letters, the first page"): (
        "100,000 dead letters, the last page",
        "time, against the first",
    ),
    ("dead letters, the middle page", "dead letters, the first page"): (
        "100,000 dead letters, the middle page",
        "time, against the first",
    ),
    ("import asyncbus", "import anyio, aiosqlite, msgspec"): (
        "import asyncbus",
        "time, against its three dependencies",
    ),
}
"""The two lines before a bar, for a newcomer, by the two figures of its target."""

_WIDTH = 900.0
_LEFT, _RIGHT = 276.0, 738.0  # the axes; labels stand before them, numbers after them
_ROW = 32.0
_ABOVE, _BELOW = 34.0, 30.0  # of each panel's rows: its heading, its scale
_LEGEND = 42.0

_FAR = 4.0
"""Up to here a scale stretches to show a number; what lies further is cut off, with an arrow."""

_TITLE = "asyncbus beside its limits and peers"


class Panel(Enum):
    """The bars that share a scale and a direction; the value is the heading."""

    RATES = "Events a second, as a multiple of a limit's or a peer's: longer is better"
    COSTS = "Time, as a multiple of a limit's: shorter is better"
    BOUNDS = "Share of a fixed bound: shorter is better"


class Bar(Struct, frozen=True):
    """One target as it is drawn.

    Attributes:
        panel: where it stands.
        label: what was measured.
        than: what it is held against; without a peer, more about what was measured.
        spread: ours as a multiple of the peer, or of the bound; None if it could not be measured.
        target: on the same scale.
        met: whether the target is reached.
        shown: the number beside the bar.
        asked: the target in words.
    """

    panel: Panel
    label: str
    than: str
    spread: Spread | None
    target: float
    met: bool
    shown: str
    asked: str


def drawn(results: Sequence[Result]) -> str:
    """The picture as SVG, the same for the same results and the same matplotlib."""
    shown = bars(results)
    panels = [of_panel for panel in Panel if (of_panel := [bar for bar in shown if bar.panel is panel])]
    height = _LEGEND + sum(_ABOVE + _ROW * len(of_panel) + _BELOW for of_panel in panels)

    def draw(figure: Figure) -> None:
        _legend(figure)
        top = height - _LEGEND
        for of_panel in panels:
            top -= _ABOVE + _ROW * len(of_panel)
            box = (_LEFT / _WIDTH, top / height, (_RIGHT - _LEFT) / _WIDTH, _ROW * len(of_panel) / height)
            _panel(figure.add_axes(box), of_panel)
            top -= _BELOW

    return svg(_TITLE, _WIDTH, height, draw)


def bars(results: Sequence[Result]) -> list[Bar]:
    """A bar for each verdict that has a target, in the order of the results."""
    return [_bar(verdict, result) for result in results for verdict in result.verdicts if verdict.met is not None]


def _bar(verdict: Verdict, result: Result) -> Bar:
    label, than = LABELS.get((verdict.figure, verdict.against), (verdict.figure, f"against {verdict.against}"))
    bound, sign = (verdict.at_most, "≤") if verdict.at_least is None else (verdict.at_least, "≥")
    assert bound is not None, "a verdict that is met or missed has a bound"
    ours = result.figures[verdict.figure]
    found = _found(verdict, ours)
    alone = verdict.against is None
    unit = f" {ours.unit}" if alone else ""
    one = bound if alone else 1.0
    return Bar(
        panel=_panel_of(verdict),
        label=label,
        than=than,
        spread=found and Spread(found.median / one, found.low / one, found.high / one),
        target=bound / one,
        met=bool(verdict.met),
        shown=f"{number(found.median)}{unit}" if found else "no answer",
        asked=f"{sign} {bound:g}{unit}",
    )


def _found(verdict: Verdict, ours: Outcome) -> Spread | None:
    """What is held against the bound: the ratio with that of the paired rounds, or the figure itself."""
    if verdict.why is not None:
        return None
    if verdict.ratio is None or verdict.paired is None:
        return ours.spread
    return Spread(verdict.ratio, verdict.paired.low, verdict.paired.high)


def _panel_of(verdict: Verdict) -> Panel:
    if verdict.at_least is not None:
        return Panel.RATES
    return Panel.BOUNDS if verdict.against is None else Panel.COSTS


def _panel(axes: Axes, of_panel: Sequence[Bar]) -> None:
    """Draw the bars of a panel from the top down, on one scale."""
    edge = 1.08 * max(value for bar in of_panel for value in _on_scale(bar))
    axes.set_xlim(0.0, edge)
    axes.set_ylim(len(of_panel) - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", colors=TEXT, labelsize=7.5, length=3)
    axes.axvline(1.0, color=TEXT, linewidth=1.0, linestyle=DASHES, zorder=1)
    write(axes, -_LEFT + 8.0, (0.0, 1.0), of_panel[0].panel.value, shift=13.0, size=9.5, bold=True)
    for row, bar in enumerate(of_panel):
        _words(axes, row / len(of_panel), 1.0 / len(of_panel), bar)
        _marks(axes, row, bar, edge)


def _on_scale(bar: Bar) -> Iterator[float]:
    yield 1.0
    numbers = (bar.target, *((bar.spread.median, bar.spread.high) if bar.spread else ()))
    yield from (value for value in numbers if value <= _FAR)


def _marks(axes: Axes, row: int, bar: Bar, edge: float) -> None:
    """The bar itself, its spread and its target; an arrow where something goes on beyond the edge."""
    colour = MET if bar.met else MISSED
    if bar.spread is not None:
        low, high = min(bar.spread.low, edge), min(bar.spread.high, edge)
        axes.barh(row, min(bar.spread.median, edge), height=0.56, color=colour, alpha=FAINT, linewidth=0, zorder=2)
        axes.plot([low, high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=3)
        ends = [end for end in (bar.spread.low, bar.spread.high) if end <= edge]
        axes.plot(ends, [row] * len(ends), color=colour, linestyle="", marker="|", markersize=7, zorder=3)
        if bar.spread.high > edge:
            axes.plot([edge], [row], color=colour, marker=">", markersize=7, clip_on=False, zorder=3)
    if bar.target <= edge:
        axes.plot([bar.target] * 2, [row - 0.4, row + 0.4], color=TEXT, linewidth=2.4, zorder=4)


def _words(axes: Axes, above: float, share: float, bar: Bar) -> None:
    """What the bar is, before it; its number and what was asked, after it."""
    middle = 1.0 - above - share / 2
    before, after = (0.0, middle), (1.0, middle)
    colour = TEXT if bar.met else MISSED
    write(axes, -14.0, before, bar.label, shift=6.5, size=9.0, align="right")
    write(axes, -14.0, before, bar.than, shift=-7.5, size=7.5, align="right")
    write(axes, 18.0, after, bar.shown, shift=6.5, size=9.0, colour=colour, bold=True)
    write(axes, 18.0, after, f"{'' if bar.met else 'missed: '}{bar.asked} asked", shift=-7.5, size=7.5, colour=colour)


def _legend(figure: Figure) -> None:
    handles = {
        "target met": Patch(facecolor=MET, alpha=FAINT),
        "target missed": Patch(facecolor=MISSED, alpha=FAINT),
        "target": _sign("|", edge=2.4),
        "1.0: like its limit or peer": Line2D([], [], color=TEXT, linewidth=1.0, linestyle=DASHES),
        "lowest to highest round": Line2D([], [], color=TEXT, linewidth=1.6),
        "beyond the edge": _sign(">"),
    }
    figure.legend(handles.values(), handles.keys(), loc="upper center", ncols=6, frameon=False, fontsize=8.0)


def _sign(marker: str, *, edge: float = 1.0) -> Line2D:
    return Line2D([], [], color=TEXT, linestyle="", marker=marker, markersize=10, markeredgewidth=edge)
