"""Questions and answers that take no time to measure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from benchmarks.harness import Contestant, Question, Readings, Size, Target, single
from benchmarks.machine import Machine
from benchmarks.results import Result, answer

MACHINE = Machine("a processor", 2, 24.0, "Linux", "ext4", "CPython 3.11", "3.40.1", {"asyncbus": "0.1.0"}, 0.5)


def asked(*contestants: Contestant, targets: Sequence[Target] = ()) -> Question:
    return Question("how fast?", contestants, targets)


def counting(name: str) -> Contestant:
    numbers = count()
    return single(name, "events/s", lambda: float(next(numbers)))


def answered(readings: Readings, *targets: Target) -> Result:
    contestants = [Contestant({name: "events/s"}, lambda: (0.0,)) for name in readings.values]
    return answer(
        "speed",
        Question("how fast?", contestants, targets, notes="read on a desk\nand twice"),
        readings,
        size=Size.FULL,
        repeats=3,
        seconds=1.25,
        machine=MACHINE,
    )
