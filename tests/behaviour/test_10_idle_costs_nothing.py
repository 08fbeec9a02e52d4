"""Promise 10: while nothing is in flight there are no timers, and nobody polls in the process that writes."""

import asyncio
import heapq
import selectors
from collections.abc import Callable
from typing import Any

import pytest

from asyncbus import Event, EventBus
from tests.behaviour.stage import Log, until

pytestmark = pytest.mark.timeout(20)


class WatchedLoop(asyncio.SelectorEventLoop):
    """Says what could wake it: timers to come, callbacks ready to run, and how often it was woken by other threads."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self.set_debug(True)  # keeps where each timer was set
        self.timers_set = 0
        self.knocks = 0

    def call_at(  # type: ignore[override]  # whatever it gets it hands on
        self, when: float, callback: Callable[..., object], *args: Any, **context: Any
    ) -> asyncio.TimerHandle:
        self.timers_set += 1
        return super().call_at(when, callback, *args, **context)

    def call_soon_threadsafe(  # type: ignore[override]  # as above
        self, callback: Callable[..., object], *args: Any, **context: Any
    ) -> asyncio.Handle:
        self.knocks += 1
        return super().call_soon_threadsafe(callback, *args, **context)

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # the loop's own heap
        return [timer for timer in heapq.nsmallest(len(scheduled), scheduled) if not timer.cancelled()]

    @property
    def ready(self) -> int:
        return len(self._ready)  # type: ignore[attr-defined]  # the loop's own queue


async def a_bus_that_waits_in_every_way(bus: EventBus) -> list[asyncio.Future[Event]]:
    handled: list[Event] = []

    async def answer(event: Event) -> None:
        handled.append(event)

    bus.subscribe("a.*", answer)
    bus.subscribe("a.*", handled.append, start="earliest")
    iterated = bus.subscribe("*", start="earliest", capacity=3)
    waiting: list[asyncio.Future[Event]] = [asyncio.ensure_future(bus.wait_for("never"))]
    for _ in range(10):
        await bus.publish("a.b")
        await bus.publish_many([("a.b", None)] * 10)
        await asyncio.to_thread(bus.publish_from_thread, "a.c")
    await bus.drain()
    while iterated.backlog:
        await anext(iterated)
    waiting.append(asyncio.ensure_future(anext(iterated)))
    await until(lambda: iterated.phase == "live")
    return waiting


def test_while_nothing_is_in_flight_nothing_can_wake_the_loop(log: Log) -> None:
    async def watch() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedLoop)
        async with log.bus() as bus:
            waiting = await a_bus_that_waits_in_every_way(bus)
            # The last commit's timer goes off once more, finds nothing in flight, and is not set again.
            await until(lambda: not loop.timers)
            before = loop.timers_set, loop.knocks
            for _ in range(100):
                await asyncio.sleep(0)
                assert loop.timers == []
                assert loop.ready == 0, "somebody else than this task wants to run"
            assert (loop.timers_set, loop.knocks) == before
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        runner.run(watch())


def test_a_log_in_memory_needs_no_timer_at_all(memory_log: Log) -> None:
    async def watch() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedLoop)
        async with memory_log.bus() as bus:
            waiting = await a_bus_that_waits_in_every_way(bus)
            timers = loop.timers_set
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        return timers

    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        assert runner.run(watch()) == 0


def test_a_thread_wakes_the_loop_once_and_not_for_each_event(log: Log) -> None:
    async def watch() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedLoop)
        store = log.staged()
        async with EventBus(store) as bus:

            def work() -> None:
                for number in range(1000):
                    bus.publish_from_thread("a", number)

            store.gate.clear()
            before = loop.knocks
            await asyncio.to_thread(work)
            knocks = loop.knocks - before
            store.gate.set()
            await bus.flush()
            assert len(await bus.query()) == 1000
        return knocks

    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        assert runner.run(watch()) <= 3  # one of them is the thread's end
