"""How long one event takes at a modest pace, beside how long one commit takes."""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from itertools import cycle
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any, Literal

import aiosqlite

from benchmarks import raw
from benchmarks.harness import Contestant, Question, Role, Setting, Target
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, TYPE, Readable, payloads

_A_SECOND = 1000
_INSERT = raw.REFERENCE.insert


def question(setting: Setting) -> Question:
    count = setting.pick(full=3_000, quick=1_000, tiny=30)

    def contestant(
        name: str,
        measure: Callable[[Path, raw.Synchronous, int], Coroutine[Any, Any, list[float]]],
        synchronous: raw.Synchronous,
        role: Role,
    ) -> Contestant:
        def run() -> Sequence[float]:
            return middle_and_tail(asyncio.run(measure(setting.fresh("latency"), synchronous, count)))

        return Contestant({f"{name}, median": "ms", f"{name}, 99th percentile": "ms"}, run, role)

    def targets(ours: str, other: str, bound: float | None) -> list[Target]:
        return [
            Target(
                f"{part} at most {bound} times that of one aiosqlite commit ({other})"
                if bound
                else f"({part} of {ours} to {other}: for orientation)",
                f"{ours}, {part}",
                f"{other}, {part}",
                at_most=bound,
            )
            for part in ("median", "99th percentile")
        ]

    return Question(
        title="publish at 1,000 events a second, FULL, latency from the call to the handler",
        contestants=(
            contestant("asyncbus FULL", published, "full", "ours"),
            contestant("aiosqlite FULL", committed, "full", "beside"),
            contestant("asyncbus FULL in turn", published_in_turn, "full", "beside"),
            contestant("aiosqlite FULL in turn", committed_in_turn, "full", "limit"),
            contestant("asyncbus NORMAL", published, "normal", "beside"),
            contestant("aiosqlite NORMAL", committed, "normal", "beside"),
        ),
        targets=[
            *targets("asyncbus FULL", "aiosqlite FULL in turn", 1.5),
            *targets("asyncbus FULL in turn", "aiosqlite FULL in turn", None),
            *targets("asyncbus FULL", "aiosqlite FULL", None),
            *targets("asyncbus NORMAL", "aiosqlite NORMAL", None),
        ],
        notes="All are paced by one absolute schedule on the monotonic clock, kept by a thread, since a loop's timers "
        "are a millisecond coarse.\n"
        '`in turn` awaits the one before (with `ack="stored"`); without it, an event is published, and an INSERT in '
        "autocommit started, when it is due, even if others are under way. One commit is one in turn, so that is what "
        "is judged by, though a stall of the disk counts once there and for everything that was due meanwhile here.\n"
        "NORMAL syncs nothing at a commit; its tail is the checkpoints, which sync the log and the database "
        "every so many pages while the next commits wait.",
    )


def middle_and_tail(latencies: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds, of seconds."""
    return statistics.median(latencies) * 1e3, statistics.quantiles(latencies, n=100)[98] * 1e3


async def paced(count: int) -> AsyncIterator[None]:
    """Yield `count` times, a thousand times a second by the monotonic clock; what is late is made up for at once."""
    loop = asyncio.get_running_loop()
    due: asyncio.Queue[None] = asyncio.Queue()

    def keep_time() -> None:
        start = monotonic()
        for number in range(count):
            sleep(max(0.0, start + number / _A_SECOND - monotonic()))
            loop.call_soon_threadsafe(due.put_nowait, None)

    clock = threading.Thread(target=keep_time)
    clock.start()
    for _ in range(count):
        await due.get()
        yield
    clock.join()


async def published(path: Path, synchronous: raw.Synchronous, count: int) -> list[float]:
    """Seconds from each call of `publish` to the handler that has read the data, each published when it is due."""
    return await _published(path, synchronous, count, "accepted")


async def published_in_turn(path: Path, synchronous: raw.Synchronous, count: int) -> list[float]:
    """The same, each published when it is due and the one before is stored."""
    return await _published(path, synchronous, count, "stored")


async def _published(
    path: Path, synchronous: raw.Synchronous, count: int, ack: Literal["accepted", "stored"]
) -> list[float]:
    called: list[float] = []
    latencies: list[float] = []
    all_handled = asyncio.Event()

    async def handle(event: Readable) -> None:
        event.data["execution_time_ms"]
        latencies.append(perf_counter() - called[len(latencies)])
        if len(latencies) == count:
            all_handled.set()

    async with opened(path, synchronous) as bus:
        bus.subscribe(PATTERN, handle)
        waiting = payloads(count)
        async for _ in paced(count):
            called.append(perf_counter())
            await bus.publish(TYPE, next(waiting), ack=ack)
        await all_handled.wait()
    return latencies


async def committed(path: Path, synchronous: raw.Synchronous, count: int) -> list[float]:
    """Seconds of each INSERT in autocommit, each started when it is due."""
    latencies: list[float] = []

    async def insert(database: aiosqlite.Connection, row: tuple[object, ...]) -> None:
        start = perf_counter()
        await database.execute(_INSERT, row)
        latencies.append(perf_counter() - start)

    rows = cycle(raw.REFERENCE.rows)
    async with aiosqlite.connect(path, isolation_level=None) as database, asyncio.TaskGroup() as tasks:
        await _prepare(database, synchronous)
        async for _ in paced(count):
            tasks.create_task(insert(database, next(rows)))
    return latencies


async def committed_in_turn(path: Path, synchronous: raw.Synchronous, count: int) -> list[float]:
    """Seconds of each INSERT in autocommit, each started when it is due and the one before is done."""
    latencies: list[float] = []
    rows = cycle(raw.REFERENCE.rows)
    async with aiosqlite.connect(path, isolation_level=None) as database:
        await _prepare(database, synchronous)
        async for _ in paced(count):
            start = perf_counter()
            await database.execute(_INSERT, next(rows))
            latencies.append(perf_counter() - start)
    return latencies


async def _prepare(database: aiosqlite.Connection, synchronous: raw.Synchronous) -> None:
    await database.execute("PRAGMA journal_mode = WAL")
    await database.execute(f"PRAGMA synchronous = {synchronous}")
    await database.executescript(raw.REFERENCE.schema)
