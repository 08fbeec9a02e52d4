"""Promise 7, where somebody cancels the writer, which nobody should: nothing is stored by half, and all are told."""

import asyncio
import gc
import weakref

import pytest

from asyncbus import BusClosedError, EventBus, PublishOutcomeUnknownError, StoreFailedError
from tests.behaviour.stage import Log, payloads, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


def cancel_all_tasks() -> None:
    """What `asyncio.run` does at its end, and some programs of their own accord."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.mark.fault(27)
@pytest.mark.parametrize("tick", range(8))
@pytest.mark.parametrize("events", [3, 5000], ids=["one statement", "a transaction"])
async def test_whoever_cancels_all_tasks_leaves_no_half_batch(events: int, tick: int, file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish("a", "before")
        publishing = asyncio.create_task(bus.publish_many([("a", number) for number in range(events)]))
        await ticks(tick)
        cancel_all_tasks()
        await asyncio.wait([publishing])
        await until(lambda: bus.health().status == "failed")
        with pytest.raises(BusClosedError):
            await bus.publish("a")
    async with file_log.bus() as again:
        stored = payloads(await again.query(limit=None))
        if publishing.cancelled():
            assert stored in (["before"], ["before", *range(events)])
        else:  # the commit was faster
            assert stored == ["before", *range(events)]
        assert (await again.publish("a", "after")).sequence in (2, events + 2)


@pytest.mark.fault(27)
async def test_who_waited_for_a_cancelled_writer_is_told_what_it_knows(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        in_flight = bus.publish_nowait("a", id="in flight")
        await store.appending.wait()
        queued = bus.publish_nowait("a")
        cancel_all_tasks()
        with pytest.raises(PublishOutcomeUnknownError, match="in flight"):
            await in_flight
        with pytest.raises(BusClosedError):
            await queued
        store.gate.set()
    async with log.bus() as again:
        assert (await again.publish("a", id="in flight")).sequence == 1


async def test_a_bus_whose_writer_was_cancelled_before_a_removal_is_forgotten_when_it_is_closed(log: Log) -> None:
    async def publish_and_clear(bus: EventBus) -> None:
        receipt = bus.publish_nowait("a")
        await bus.clear()  # what this raises knows this frame, and so the receipt
        assert not receipt.done

    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        clearing = asyncio.create_task(publish_and_clear(bus))
        await store.appending.wait()
        [writer] = [task for task in asyncio.all_tasks() if task.get_name() == "asyncbus writer"]
        writer.cancel()
        with pytest.raises(StoreFailedError):
            await clearing
    left = weakref.ref(bus)
    del bus, clearing, writer
    await ticks(2)
    gc.collect()
    assert left() is None
