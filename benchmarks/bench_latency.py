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
from benchmarks.peers import jetstream
from benchmarks.workload import PATTERN, TYPE, Handled, Readable, payloads

PARTS = ("median", "99th percentile", "99.9th percentile")
JUDGED = PARTS[:2]
JETSTREAM = "JetStream default"
JETSTREAM_ALWAYS = "JetStream sync_interval: always"

Measure = Callable[[Path, raw.Synchronous, int], Coroutine[Any, Any, list[float]]]
"""Measures so many events on a fresh file: the seconds that each took."""

_A_SECOND = 1000
_INSERT = raw.REFERENCE.insert


def question(setting: Setting) -> Question:
    count = setting.pick(full=3_000, quick=1_000, tiny=30)

    return Question(
        title="publish at 1,000 events a second, FULL, latency from the call to the handler",
        contestants=_contestants(setting, count),
        targets=[
            *_targets("asyncbus FULL", "aiosqlite FULL in turn", 1.5),
            *_targets("asyncbus FULL in turn", "aiosqlite FULL in turn"),
            *_targets("asyncbus FULL", "aiosqlite FULL"),
            *_targets("asyncbus NORMAL", "aiosqlite NORMAL"),
            *_targets("asyncbus FULL", JETSTREAM_ALWAYS),
            *_targets("asyncbus NORMAL", JETSTREAM),
        ],
        notes="All are paced by one absolute schedule on the monotonic clock, kept by a thread, since a loop's timers "
        "are a millisecond coarse.\n"
        '`in turn` awaits the one before (with `ack="stored"`); without it, an event is published, and an INSERT in '
        "autocommit started, when it is due, even if others are under way. One commit is one in turn, so that is what "
        "is judged by, though a stall of the disk counts once there and for everything that was due meanwhile here.\n"
        "NORMAL syncs nothing at a commit; its tail is the checkpoints, which sync the log and the database "
        "every so many pages while the next commits wait.\n"
        f"The 99.9th percentile is decided by the few worst of {count:,} events a round.\n"
        "JetStream publishes with `publish_async` to a push consumer; by default nothing is synced before it delivers, "
        "as with NORMAL, and with `always` every message is, as with FULL.",
    )


def _contestants(setting: Setting, count: int) -> tuple[Contestant, ...]:
    def contestant(name: str, measure: Measure, synchronous: raw.Synchronous, role: Role) -> Contestant:
        def run() -> Sequence[float]:
            return middle_and_tail(asyncio.run(measure(setting.fresh("latency"), synchronous, count)))

        return Contestant({f"{name}, {part}": "ms" for part in PARTS}, run, role)

    def peer(name: str, sync: jetstream.Sync) -> Contestant:
        async def sent(path: Path, _: raw.Synchronous, count: int) -> list[float]:
            return await jetstream.latencies(path.with_suffix(".jetstream"), sync, paced(count), count)

        return contestant(name, sent, "full", "peer")

    return (
        contestant("asyncbus FULL", published, "full", "ours"),
        contestant("aiosqlite FULL", committed, "full", "beside"),
        contestant("asyncbus FULL in turn", published_in_turn, "full", "beside"),
        contestant("aiosqlite FULL in turn", committed_in_turn, "full", "limit"),
        contestant("asyncbus NORMAL", published, "normal", "beside"),
        contestant("aiosqlite NORMAL", committed, "normal", "beside"),
        peer(JETSTREAM, "default"),
        peer(JETSTREAM_ALWAYS, "always"),
    )


def _targets(ours: str, other: str, bound: float | None = None) -> list[Target]:
    """The parts that are judged by the bound; without one, all of them, for orientation."""
    return [
        Target(
            f"({part} of {ours} to {other}: for orientation)"
            if bound is None
            else f"{part} at most {bound} times that of one aiosqlite commit ({other})",
            f"{ours}, {part}",
            f"{other}, {part}",
            at_most=bound,
        )
        for part in (PARTS if bound is None else JUDGED)
    ]


def middle_and_tail(latencies: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th and 99.9th percentile, in milliseconds, of seconds."""
    thousandths = statistics.quantiles(latencies, n=1000)
    return statistics.median(latencies) * 1e3, thousandths[989] * 1e3, thousandths[998] * 1e3


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
    handled = Handled(count)

    async def handle(event: Readable) -> None:
        event.data["execution_time_ms"]
        latencies.append(perf_counter() - called[len(latencies)])
        handled.counted()

    async with opened(path, synchronous) as bus:
        bus.subscribe(PATTERN, handle)
        waiting = payloads(count)
        async for _ in paced(count):
            called.append(perf_counter())
            await bus.publish(TYPE, next(waiting), ack=ack)
        await handled.all_handled.wait()
    return latencies


async def committed(path: Path, synchronous: raw.Synchronous, count: int) -> list[float]:
    """Seconds of each INSERT in autocommit, each started when it is due."""
    latencies: list[float] = []

    async def insert(database: aiosqlite.Connection, row: tuple[object, ...]) -> None:
        start = perf_counter()
        await database.execute(_INSERT, row)
        latencies.append(perf_counter() - start)

    rows = cycle(raw.REFERENCE.rows)
    async with raw.autocommitting(path, raw.REFERENCE, synchronous) as database, asyncio.TaskGroup() as tasks:
        async for _ in paced(count):
            tasks.create_task(insert(database, next(rows)))
    return latencies


async def committed_in_turn(path: Path, synchronous: raw.Synchronous, count: int) -> list[float]:
    """Seconds of each INSERT in autocommit, each started when it is due and the one before is done."""
    latencies: list[float] = []
    rows = cycle(raw.REFERENCE.rows)
    async with raw.autocommitting(path, raw.REFERENCE, synchronous) as database:
        async for _ in paced(count):
            start = perf_counter()
            await database.execute(_INSERT, next(rows))
            latencies.append(perf_counter() - start)
    return latencies
