"""What a chart is made of: who is shown beside whom, or what over what, by the names of the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from benchmarks.results import Result
from benchmarks.verdicts import Figure

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "assets"

OURS = "asyncbus"


class Column(Struct, frozen=True):
    """One question, side by side: who → name of the figure, and the figure of the limit with its words."""

    question: str
    heading: str
    more: str
    figures: Mapping[str, str]
    limit: tuple[str, str] | None = None


class Bars(Struct, frozen=True):
    """A picture of bars: a row for each who, a column for each question."""

    name: str
    title: str
    rows: Sequence[str]
    columns: Sequence[Column]

    @property
    def named(self) -> Iterator[tuple[str, str]]:
        """Every figure shown, as its question and its name."""
        for column in self.columns:
            limit = () if column.limit is None else (column.limit[1],)
            yield from ((column.question, figure) for figure in (*column.figures.values(), *limit))


class Line(Struct, frozen=True):
    """What one figure does as something grows: the sizes, each with the name of its figure."""

    label: str
    points: Sequence[tuple[float, str]]
    limit: bool = False


class Panel(Struct, frozen=True):
    """Lines on one scale: across what grows, upwards what is measured."""

    question: str
    heading: str
    across: str
    upwards: str
    lines: Sequence[Line]
    logarithmic: bool = False


class Curves(Struct, frozen=True):
    """A picture of panels."""

    name: str
    title: str
    panels: Sequence[Panel]

    @property
    def named(self) -> Iterator[tuple[str, str]]:
        """Every figure shown, as its question and its name."""
        for panel in self.panels:
            yield from ((panel.question, figure) for line in panel.lines for _, figure in line.points)


def path_of(chart: Bars | Curves) -> Path:
    """Where the picture is kept."""
    return FOLDER / f"{chart.name}.svg"


def by_name(results: Sequence[Result]) -> dict[tuple[str, str], Figure]:
    """Every figure that was measured, by its question and its name."""
    return {
        (result.question, name): figure
        for result in results
        for name, figure in result.figures.items()
        if figure.spread
    }
