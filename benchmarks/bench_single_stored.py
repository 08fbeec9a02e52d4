"""What one task that awaits every commit gets, beside the same loop with nothing but aiosqlite."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import aiosqlite

from benchmarks import raw
from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

_SYNCHRONOUS: tuple[raw.Synchronous, ...] = ("normal", "full")


def question(setting: Setting) -> Question:
    counts: dict[raw.Synchronous, int] = {
        "normal": setting.pick(full=15_000, quick=3_000, tiny=20),
        "full": setting.pick(full=5_000, quick=1_000, tiny=20),
    }

    def contestants(synchronous: raw.Synchronous) -> tuple[Contestant, ...]:
        word, count = synchronous.upper(), counts[synchronous]
        return (
            single(
                f"asyncbus, {word}",
                "events/s",
                lambda: asyncio.run(stored(setting.fresh("ours"), synchronous, count)),
            ),
            single(
                f"asyncbus, {word}, with a subscriber",
                "events/s",
                lambda: asyncio.run(stored_and_handled(setting.fresh("handled"), synchronous, count)),
                "beside",
            ),
            single(
                f"aiosqlite, {word}, reference schema",
                "events/s",
                lambda: asyncio.run(bare_loop(setting.fresh("bare"), raw.REFERENCE, synchronous, count)),
                "limit",
            ),
            single(
                f"aiosqlite, {word}, two-column table",
                "events/s",
                lambda: asyncio.run(bare_loop(setting.fresh("two"), raw.BARE, synchronous, count)),
                "beside",
            ),
        )

    def target(synchronous: raw.Synchronous, at_least: float) -> Target:
        word = synchronous.upper()
        return Target(
            f"{word}: at least {at_least} of a bare aiosqlite autocommit INSERT loop",
            f"asyncbus, {word}",
            f"aiosqlite, {word}, reference schema",
            at_least=at_least,
        )

    return Question(
        title='one task awaiting `ack="stored"`, NORMAL / FULL',
        contestants=[contestant for synchronous in _SYNCHRONOUS for contestant in contestants(synchronous)],
        targets=(target("normal", 0.65), target("full", 0.75)),
        notes="The aiosqlite loop inserts rows that are encoded before the clock starts, one call a row.",
    )


async def stored(path: Path, synchronous: raw.Synchronous, count: int) -> float:
    """Receipts a second of one task that awaits each before it publishes the next; nobody subscribes."""
    async with opened(path, synchronous) as bus:
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload)
        return count / (perf_counter() - start)


async def stored_and_handled(path: Path, synchronous: raw.Synchronous, count: int) -> float:
    """The same with one pattern subscriber, until it has handled the last event."""
    handled = Handled(count)
    async with opened(path, synchronous) as bus:
        bus.subscribe(PATTERN, handled.handle)
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload)
        await handled.all_handled.wait()
        return count / (perf_counter() - start)


async def bare_loop(path: Path, table: raw.Table, synchronous: raw.Synchronous, count: int) -> float:
    """Rows a second of one aiosqlite call a row, each its own transaction."""
    async with aiosqlite.connect(path, isolation_level=None) as database:
        await database.execute("PRAGMA journal_mode = WAL")
        await database.execute(f"PRAGMA synchronous = {synchronous}")
        await database.executescript(table.schema)
        insert = table.insert
        start = perf_counter()
        for row in islice(cycle(table.rows), count):
            await database.execute(insert, row)
        return count / (perf_counter() - start)
