"""Promise 3 for threads: they share the bounded inbox with the loop, wait for room, and keep their order."""

import asyncio
import queue
import sys
import threading
from types import FrameType
from typing import Any, Self

import pytest

import asyncbus
from asyncbus import BusClosedError, EventBus, MemoryStore, PendingReceipt, WrongThreadError
from tests.behaviour.stage import Log, StagedStore, payloads, until

pytestmark = pytest.mark.timeout(20)

PACKAGE = asyncbus.__path__[0]


@pytest.mark.asyncio
async def test_a_thread_waits_for_room_and_keeps_its_order(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=3) as bus:
        store.gate.clear()
        sent: list[PendingReceipt] = []
        working = asyncio.create_task(
            asyncio.to_thread(lambda: sent.extend(bus.publish_from_thread("a", number) for number in range(50)))
        )
        await until(lambda: bus.statistics().waiting_publishers == 1)
        assert not working.done()
        store.gate.set()
        await working
        assert [(await receipt).sequence for receipt in sent] == list(range(1, 51))
        assert payloads(await bus.query()) == list(range(50))


@pytest.mark.asyncio
async def test_a_thread_waits_no_longer_than_it_wants(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=1) as bus:
        store.gate.clear()
        bus.publish_nowait("a")
        await store.appending.wait()
        bus.publish_nowait("a")
        with pytest.raises(TimeoutError, match="no room"):
            await asyncio.to_thread(bus.publish_from_thread, "a", "too late", timeout=0.01)
        assert bus.statistics().waiting_publishers == 0
        store.gate.set()
    assert payloads(await _all(log)) == [None, None]


@pytest.mark.asyncio
async def test_a_thread_that_waits_for_room_learns_that_the_bus_closes(log: Log) -> None:
    store = log.staged()
    bus = EventBus(store, inbox_capacity=1)
    async with bus:
        store.gate.clear()
        bus.publish_nowait("a")
        await store.appending.wait()
        bus.publish_nowait("a")
        waiting = asyncio.create_task(asyncio.to_thread(bus.publish_from_thread, "a", "too late"))
        await until(lambda: bus.statistics().waiting_publishers == 1)
        asyncio.get_running_loop().call_soon(store.gate.set)
    with pytest.raises(BusClosedError):
        await waiting
    assert payloads(await _all(log)) == [None, None]


@pytest.mark.asyncio
async def test_the_loop_and_threads_share_one_inbox_and_its_count_is_right_in_the_end(log: Log) -> None:
    store = log.staged(batch_limit=3)
    async with EventBus(store, inbox_capacity=10) as bus:
        ready = threading.Barrier(3)

        def work(name: int) -> None:
            ready.wait(10)
            for number in range(300):
                bus.publish_from_thread("a", (name, number))

        async def loop_publishes(name: int) -> None:
            for number in range(300):
                await bus.publish("a", (name, number), ack="accepted")

        working = [asyncio.to_thread(work, name) for name in (0, 1)]
        starting = asyncio.to_thread(ready.wait, 10)
        await asyncio.gather(*working, starting, loop_publishes(2), loop_publishes(3))
        await bus.flush()
        data = payloads(await bus.query(limit=None))
        statistics = bus.statistics()
    assert sorted(map(tuple, data)) == [(name, number) for name in range(4) for number in range(300)]
    for name in range(4):
        assert [number for other, number in data if other == name] == list(range(300))
    assert (statistics.inbox_depth, statistics.inbox_bytes, statistics.waiting_publishers) == (0, 0, 0)
    assert (statistics.published, statistics.stored) == (1200, 1200)
    # The loop's thread takes no lock for an event, so a thread may have taken the last place that it saw.
    assert statistics.inbox_high_water <= 10 + 1


@pytest.mark.asyncio
async def test_a_thread_waits_for_the_commit_by_result(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        receipt = await asyncio.to_thread(bus.publish_from_thread, "a")
        assert not receipt.done
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(receipt.result, 0.01)
        with pytest.raises(WrongThreadError, match="await"):
            receipt.result()
        waiting = asyncio.create_task(asyncio.to_thread(receipt.result))
        await store.appending.wait()
        store.gate.set()
        assert (await waiting).sequence == 1
        assert receipt.result() == await receipt


class Interrupted:
    """Lets a thread publish between two lines of what the loop's thread runs of asyncbus."""

    def __init__(self, bus: EventBus, line: int) -> None:
        self.lines = 0
        self._bus = bus
        self._line = line
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.put(False)
        self._thread.join()

    def _work(self) -> None:
        if self._orders.get():
            for number in range(3):
                self._bus.publish_from_thread("thread", number)
            self._done.set()

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self._line:
                self._orders.put(True)
                self._done.wait(0.02)  # where the loop's thread holds the lock, the other one goes on after it
        return self.trace if frame.f_code.co_filename.startswith(PACKAGE) else None


def test_a_thread_may_publish_between_any_two_lines_of_the_loops_own_publish() -> None:
    async def publish(line: int, waiting: int) -> bool:
        store = StagedStore(MemoryStore(), batch_limit=2)
        async with EventBus(store) as bus:
            for _ in range(waiting):
                bus.publish_nowait("loop", "first")
            before = sys.gettrace()
            with Interrupted(bus, line) as interrupted:
                sys.settrace(interrupted.trace)
                try:
                    bus.publish_nowait("loop", "last")
                finally:
                    sys.settrace(before)
            reached = interrupted.lines >= line
            await bus.flush()
            assert payloads(await bus.query("thread")) == ([0, 1, 2] if reached else [])
            assert payloads(await bus.query("loop")) == ["first"] * waiting + ["last"]
            statistics = bus.statistics()
            found = (statistics.inbox_depth, statistics.inbox_bytes, statistics.published - statistics.stored)
            assert found == (0, 0, 0), f"the thread came between at line {line}"
        return reached

    for waiting in (0, 1, 2):
        line = 1
        while asyncio.run(publish(line, waiting)):
            line += 1
        assert line > 5


async def _all(log: Log) -> list[Any]:
    async with log.bus() as bus:
        return await bus.query(limit=None)
