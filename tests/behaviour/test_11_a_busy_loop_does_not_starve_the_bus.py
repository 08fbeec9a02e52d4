"""Promise 11: while somebody computes on the loop's own thread, events are still committed, delivered and replayed.

How fast is a question for benchmarks/bench_busy_loop.py; here it must not stop. Without care it does: 0 events in 6 s.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import asyncbus
from asyncbus import Event
from tests.behaviour.stage import Log, take

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(15)]

# The interpreter takes the GIL away after 5 ms; who computes for less and then lets the loop turn keeps it for good.
turns = pytest.mark.parametrize("turn", [0.0005, 0.0015, 0.005], ids=["0.5 ms", "1.5 ms", "5 ms"])


@asynccontextmanager
async def an_emulator_that_computes(seconds: float = 0.005) -> AsyncIterator[None]:
    async def compute() -> None:
        while True:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)

    computing = asyncio.create_task(compute())
    try:
        yield
    finally:
        computing.cancel()
        await asyncio.wait([computing])
    # pytest-timeout's signal meets the task that computes, and without it everybody else would go on.
    assert computing.cancelled(), "it took too long"


@turns
async def test_commits_go_on_and_are_delivered(turn: float, log: Log) -> None:
    seen: list[int] = []
    url = log.path if log.kind == "sqlite" else None  # synchronous="full": an fsync, too, gives the GIL up

    async def handle(event: Event) -> None:
        seen.append(event.data)

    async with asyncbus.connect(url) as bus:
        bus.subscribe("a", handle)
        async with an_emulator_that_computes(turn):
            for number in range(50):
                await bus.publish("a", number)
            accepted = [bus.publish_nowait("a", number) for number in range(50, 2000)]
            assert (await accepted[-1]).sequence == 2000
            await bus.drain()
        assert seen == list(range(2000))


@turns
async def test_pages_are_read_all_the_same(turn: float, log: Log) -> None:
    async with log.bus() as bus:
        for _ in range(3):
            await bus.publish_many([("a" if number % 10 else "rare", number) for number in range(5000)])
    async with log.bus() as bus, an_emulator_that_computes(turn):
        assert [event.data async for event in bus.replay()] == list(range(5000)) * 3
        events = bus.subscribe("rare", start="earliest")
        assert len(await take(events, 1500)) == 1500
        assert len(await bus.query("rare", limit=None)) == 1500


@turns
async def test_opening_clearing_and_closing_come_to_an_end(turn: float, log: Log) -> None:
    async with an_emulator_that_computes(turn):
        async with log.bus() as bus:
            await bus.publish("a")
            await bus.clear()
            await bus.publish("a")
        async with log.bus() as bus:
            assert await bus.latest_sequence() == 2
