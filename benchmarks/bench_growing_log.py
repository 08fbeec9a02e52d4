"""Whether a log that grows gets slower: to open, to read from either end, and to append to."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Contestant, Question, Setting, Size, growth
from benchmarks.ours import filled, opened
from benchmarks.workload import TYPE, payloads

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
OPENED, FIRST, NEWEST, APPENDED = "open", "first page", "the last 100", "append"

_UNITS = {OPENED: "ms", FIRST: "ms", NEWEST: "ms", APPENDED: "events/s"}
_KEPT = 1_000_000
"""Logs of so many events are made once, and grow by what is appended; smaller ones are made for each run."""


def question(setting: Setting) -> Question:
    sizes = {Size.FULL: SIZES, Size.QUICK: SIZES[:3], Size.TINY: (10, 100)}[setting.size]
    appended = setting.pick(full=20_000, quick=5_000, tiny=20)
    kept = {size: setting.directory / f"history-{size}.db" for size in sizes if size >= _KEPT}

    def run(size: int) -> tuple[float, ...]:
        path = kept.get(size) or setting.fresh("history")
        filled(path, size)
        return asyncio.run(used(path, appended))

    def prepare() -> None:
        for size, path in kept.items():
            filled(path, size)

    return Question(
        title=f"a log of {sizes[0]:,} to {sizes[-1]:,} events: to open, to read from either end, to append to; FULL",
        contestants=[
            Contestant({figure(what, size): unit for what, unit in _UNITS.items()}, partial(run, size))
            for size in sizes
        ],
        targets=[
            growth(f"{what}, of the longest log to the shortest", partial(figure, what), sizes) for what in _UNITS
        ],
        prepare=prepare,
        notes="The file is in the page cache as far as memory goes, having just been written or used.\n"
        "First page: until a replay from the earliest event has delivered the first. The last 100: "
        "`query(newest_first=True, limit=100)`.\n"
        f'Append: {appended:,} events with `ack="accepted"` until all are stored.',
    )


def figure(what: str, size: int) -> str:
    """The name of a figure."""
    return f"{what}, {size:,} events"


async def used(path: Path, count: int) -> tuple[float, float, float, float]:
    """Milliseconds to open, to the first event and to the last hundred, and events a second appended."""
    start = perf_counter()
    async with opened(path) as bus:
        open_after = perf_counter() - start
        start = perf_counter()
        async for _ in bus.replay():
            break
        first_after = perf_counter() - start
        start = perf_counter()
        await bus.query(newest_first=True, limit=100)
        newest_after = perf_counter() - start
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload, ack="accepted")
        await bus.flush()
        rate = count / (perf_counter() - start)
    return open_after * 1e3, first_after * 1e3, newest_after * 1e3, rate
