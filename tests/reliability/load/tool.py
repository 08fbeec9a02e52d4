"""Load: a bus at work for an hour, and nothing that grows.

One process publishes some thousands of events a second in all ways, to subscribers that stay, come and go, fall behind
and fail, beside replays and queries; now and then the log is cleared, so that the file stays small. What the process
holds is sampled once a round. `python -m tests.reliability.load --keep` makes the long run.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from asyncbus import EventBus, SQLiteStore
from tests.reliability.load.samples import Sample, Samples, judge, sample, slope, tells
from tests.reliability.load.work import Work
from tests.reliability.trials import Figures, Tool, Violation, quiet

ROUND = 2.0
"""Seconds."""

ROUNDS = 2
"""Of a trial."""


def trial(seed: int, folder: Path) -> Figures:
    """A short stretch, which shows that nothing is left behind; whether memory grows it cannot tell."""
    figures: Figures = Counter()
    asyncio.run(stretch(seed, folder, ROUNDS, figures))
    return figures


async def stretch(
    seed: int,
    folder: Path,
    rounds: int,
    figures: Figures,
    *,
    on_round: Callable[[EventBus, Samples], None] = lambda bus, samples: None,
) -> None:
    """Open a bus, put it under load for so many rounds, close it, and see that nothing grew and nothing is left.

    Args:
        seed, folder: as a trial has them.
        rounds: of two seconds each.
        figures: what is counted, also where something is found.
        on_round: called after each.

    Raises:
        Violation: something did, or is.
    """
    # One thread, taken now: a pool of asyncio's own size takes another one now and then, and each takes memory.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await asyncio.to_thread(int)
    before = sample(0)
    began = time.monotonic()
    with quiet():
        async with EventBus(SQLiteStore(folder / "log.db")) as bus:
            samples = await _under_load(bus, Random(seed), rounds, figures, on_round)
    if tells(samples):
        figures["bytes an hour"] = slope(samples)
        figures["bytes at the end"] = samples[-1].memory
        judge(samples)
    _nothing_is_left(before, sample(time.monotonic() - began))


async def _under_load(
    bus: EventBus, random: Random, rounds: int, figures: Figures, on_round: Callable[[EventBus, Samples], None]
) -> Samples:
    """What a sample at the end of each round has shown."""
    samples = Samples(rounds)
    began = time.monotonic()
    work = Work(bus, random, figures)
    try:
        async with asyncio.TaskGroup() as group:
            parts: list[asyncio.Task[None]] = [group.create_task(part()) for part in work.parts()]
            for number in range(1, rounds + 1):
                await asyncio.sleep(began + number * ROUND - time.monotonic())
                await work.round(number)
                samples.add(sample(time.monotonic() - began))
                figures["rounds"] += 1
                on_round(bus, samples)
            for part in parts:
                part.cancel()
    except BaseExceptionGroup as group:
        found = group.subgroup(Violation)
        if found is None:
            raise
        raise Violation("; ".join(map(str, found.exceptions))) from group
    return samples


def _nothing_is_left(before: Sample, after: Sample) -> None:
    # The loop keeps some threads for the next hop; they are bounded, and end with it.
    if after.tasks > before.tasks or after.descriptors > before.descriptors:
        raise Violation(f"left behind by a bus that was closed: before {before}, after {after}")


TOOL = Tool(
    name="load",
    promise="Under load nothing is left behind, and in an hour memory grows by less than 1 MB",
    unit="rounds",
    short=ROUNDS,
    long=1800,
    trial=trial,
    jobs=1,
)
