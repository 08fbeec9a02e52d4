"""A question and how it is measured: contestants in turn, round after round, in the same run.

A *question* is one row of what the library is to reach. Its *contestants* (ours, the limit, a peer) are measured
interleaved: each round runs every one of them once, each round starting with another one, so that whatever disturbs
the machine disturbs all. One round before the first is not counted. What comes out are the raw readings; `verdicts.py`
judges them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

Role = Literal["ours", "limit", "peer", "beside"]
"""`ours` and what it is judged by (`limit`, `peer`); `beside` is shown for orientation and judged by nothing."""


class UnavailableError(Exception):
    """A contestant cannot run here; the reason is its message."""


class Size(Enum):
    """How much is measured: figures to publish, a quick look, or just enough to run every line."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a question keeps its files (an empty directory of its own, on a disk) and how much it measures."""

    directory: Path
    size: Size = Size.FULL

    def pick(self, *, full: int, quick: int, tiny: int) -> int:
        """The number that fits the size."""
        return {Size.FULL: full, Size.QUICK: quick, Size.TINY: tiny}[self.size]

    def fresh(self, name: str) -> Path:
        """The path of a database called `name` that does not exist yet: an old one is removed with all its files."""
        for old in self.directory.glob(f"{name}.db*"):
            old.unlink()
        return self.directory / f"{name}.db"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something to measure.

    Args:
        units: the figures it gives, in order → their units.
        run: measures once: a value for each figure. Raises `UnavailableError` when it cannot run here and
            `TookTooLongError` (of `contained`) when it was stopped by its hard limit; either ends its part.
        role: what the figures are in the question.
    """

    units: Mapping[str, str]
    run: Callable[[], Sequence[float]]
    role: Role = "ours"


def single(name: str, unit: str, run: Callable[[], float], role: Role = "ours") -> Contestant:
    """A contestant that gives one figure."""
    return Contestant({name: unit}, lambda: (run(),), role)


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach: a ratio to another one's, or a value of its own when `against` is None.

    Args:
        text: what is to be reached, as the table shows it.
        figure: name of the figure judged.
        against: name of the figure it is divided by.
        at_least: the smallest ratio (or value) that meets the target.
        at_most: the largest.

    With neither bound, the ratio is shown and nothing is judged.
    """

    text: str
    figure: str
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None


def growth(text: str, figure: Callable[[int], str], sizes: Sequence[int]) -> Target:
    """The figure of the largest size against that of the smallest, shown and not judged."""
    return Target(f"({text}: for orientation)", figure(sizes[-1]), figure(sizes[0]))


@dataclass(frozen=True, slots=True)
class Question:
    """One row: what is asked, who is measured, and what is to be reached.

    Args:
        title: the question.
        contestants: who is measured, in the order shown.
        targets: what is to be reached.
        prepare: done once before anything is measured (a large log is built, say).
        notes: what a reader of the figures has to know, a line each.
    """

    title: str
    contestants: Sequence[Contestant]
    targets: Sequence[Target]
    prepare: Callable[[], object] = lambda: None
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read: figure → one value a round; contestants that failed have fewer, and their trouble is told."""

    values: dict[str, list[float]] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """How far a question is: `done` of `of` runs, and what runs now."""

    done: int
    of: int
    doing: str


def measure(
    question: Question, *, repeats: int, warm_up: bool = True, on_step: Callable[[Step], None] = lambda _: None
) -> Readings:
    """Measure every contestant `repeats` times, interleaved, after a round that is not counted.

    A contestant that raises is out for the rest, with what it raised as its trouble: the run goes on without it.
    """
    rounds = repeats + warm_up
    readings = Readings(values={name: [] for contestant in question.contestants for name in contestant.units})
    running = list(question.contestants)
    of = 1 + rounds * len(running)
    on_step(Step(0, of, "preparing"))
    question.prepare()
    for number in range(rounds):
        counted = number >= warm_up
        label = f"round {number + 1 - warm_up} of {repeats}" if counted else "warm-up"
        for place, contestant in enumerate(in_turn(running, number)):
            on_step(
                Step(1 + number * len(question.contestants) + place, of, f"{label}: {next(iter(contestant.units))}")
            )
            trouble = _take(contestant, readings.values if counted else {})
            if trouble is not None:
                running.remove(contestant)
                readings.troubles.update(dict.fromkeys(contestant.units, trouble))
    on_step(Step(of, of, "done"))
    return readings


def in_turn(contestants: Sequence[Contestant], number: int) -> Sequence[Contestant]:
    """The contestants in the order of round `number`: each round starts with the next one."""
    start = number % len(contestants) if contestants else 0
    return [*contestants[start:], *contestants[:start]]


def _take(contestant: Contestant, values: dict[str, list[float]]) -> str | None:
    """Run the contestant once and keep what it read; return its trouble if it had one."""
    gc.collect()  # what the one before left behind is not this one's cost
    try:
        taken = contestant.run()
    except UnavailableError as reason:
        return f"not available: {reason}"
    except Exception as error:  # noqa: BLE001 - whatever a contestant raises is reported as its result
        return f"{type(error).__name__}: {error}"
    for name, value in zip(contestant.units, taken, strict=True):
        if name in values:
            values[name].append(value)
    return None
