"""The arithmetic: what readings amount to, and whether they reach what was asked. Nothing here measures or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import Struct

from benchmarks.harness import Readings, Target


class Spread(Struct, frozen=True):
    """The middle of some values, and the lowest and highest of them."""

    median: float
    low: float
    high: float


class Figure(Struct, frozen=True):
    """What one figure was: its unit, what it is in the question, every reading, and what they amount to.

    `spread` is None when nothing could be read; `trouble` then says why.
    """

    unit: str
    role: str
    readings: Sequence[float]
    spread: Spread | None
    trouble: str | None = None


class Verdict(Struct, frozen=True):
    """Whether a target was reached.

    Attributes:
        text: what was to be reached.
        figure: name of the figure judged.
        against: name of the figure it was divided by; None: the value itself is judged.
        at_least: the bound below, if any.
        at_most: the bound above, if any.
        ratio: of the medians; None where there is nothing to divide.
        paired: of the readings of the same round.
        met: whether the ratio (without `against`: the median) is within the bounds; None: nothing was asked. What
            could not be measured was not met.
        why: what kept it from being measured.
    """

    text: str
    figure: str
    against: str | None
    at_least: float | None
    at_most: float | None
    ratio: float | None
    paired: Spread | None
    met: bool | None
    why: str | None = None


def spread(values: Sequence[float]) -> Spread | None:
    """The median and the extremes, or None of no values."""
    return Spread(median(values), min(values), max(values)) if values else None


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours divided by theirs, round by round, for the rounds that both took part in."""
    return [one / other for one, other in zip(ours, theirs, strict=False) if other]


def within(value: float, at_least: float | None, at_most: float | None) -> bool | None:
    """Whether the value is within the bounds given; None where none is."""
    if at_least is None and at_most is None:
        return None
    return (at_least is None or value >= at_least) and (at_most is None or value <= at_most)


def judge(target: Target, readings: Readings) -> Verdict:
    """Hold the readings against the target.

    A figure whose contestant failed half-way is not judged by the rounds it finished: its target is missed.
    """
    ours = readings.values[target.figure]
    theirs = readings.values[target.against] if target.against else [1.0] * len(ours)
    why = next((readings.troubles[name] for name in (target.figure, target.against) if name in readings.troubles), None)
    if why is None and not (ours and theirs and median(theirs)):
        why = "nothing was measured"
    ratio = None if why else median(ours) / median(theirs)
    return Verdict(
        text=target.text,
        figure=target.figure,
        against=target.against,
        at_least=target.at_least,
        at_most=target.at_most,
        ratio=ratio if target.against else None,
        paired=spread(paired_ratios(ours, theirs)) if target.against else None,
        met=_met(ratio, target),
        why=why,
    )


def figures(
    units: Mapping[str, tuple[str, str]],
    readings: Readings,
) -> dict[str, Figure]:
    """Every figure by name; `units` gives the unit and the role of each."""
    return {
        name: Figure(unit, role, readings.values[name], spread(readings.values[name]), readings.troubles.get(name))
        for name, (unit, role) in units.items()
    }


def _met(ratio: float | None, target: Target) -> bool | None:
    if target.at_least is None and target.at_most is None:
        return None
    return ratio is not None and bool(within(ratio, target.at_least, target.at_most))
