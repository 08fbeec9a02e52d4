"""Promise 7: when the store fails, every waiting publisher gets the cause, and no sequence is burnt.

Nothing is delivered that was not stored, and the bus goes on where that is possible.
"""

import asyncio
import logging
from typing import Any

import pytest

from asyncbus import (
    AsyncBusError,
    BusClosedError,
    EventBus,
    PendingReceipt,
    PublishOutcomeUnknownError,
    StoreCorruptError,
    StoreError,
    StoreFailedError,
    StoreFullError,
)
from tests.behaviour.stage import Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def _outcome(receipt: Any) -> Any:
    try:
        return await receipt
    except AsyncBusError as error:
        return error


@pytest.mark.fault(34)
async def test_all_who_wait_get_the_cause_and_the_numbers_are_used_again(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        events = bus.subscribe("*")
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        pending: list[PendingReceipt] = [bus.publish_nowait("a"), await bus.publish("a", ack="accepted")]
        pending.append(await asyncio.to_thread(bus.publish_from_thread, "a"))
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(bus.publish("a")) for _ in range(3)]
        waiting.append(asyncio.create_task(bus.publish_many([("a", None)] * 3)))
        waiting += [asyncio.create_task(_outcome(receipt)) for receipt in pending]
        waiting.append(asyncio.create_task(asyncio.to_thread(pending[2].result)))
        await until(lambda: bus.statistics().inbox_depth == 9)
        store.append_faults += [None, StoreFullError("no space is left")]
        store.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [StoreFullError] * 8
        assert len({id(result) for result in results}) == 8, "each raises an error of its own"
        assert (await bus.publish("a", "again")).sequence == 2
        assert payloads(await take(events, 2)) == ["in flight", "again"]
        assert payloads(await bus.query()) == payloads(bus.recent()) == ["in flight", "again"]


async def test_only_the_batch_that_failed_is_lost(log: Log) -> None:
    store = log.staged(batch_limit=2)
    async with EventBus(store) as bus:
        store.append_faults.append(StoreFullError("no space is left, for once"))
        results = await asyncio.gather(*(_outcome(bus.publish_nowait("a", number)) for number in range(6)))
        assert [isinstance(result, StoreFullError) for result in results] == [True, True, False, False, False, False]
        assert payloads(await bus.query()) == [2, 3, 4, 5]
        assert sequences(await bus.query()) == [1, 2, 3, 4]


@pytest.mark.fault(37)
async def test_reading_goes_on_while_nothing_can_be_written(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", number) for number in range(10)])
    store = log.staged()
    async with EventBus(store) as bus:
        store.append_faults += [StoreFullError("no space is left")] * 3
        for _ in range(3):
            with pytest.raises(StoreFullError):
                await bus.publish("a")
        assert len(await bus.query()) == 10
        assert payloads(await take(bus.subscribe("a", start="earliest"), 10)) == list(range(10))
        assert [event.data async for event in bus.replay()] == list(range(10))
        assert (await bus.publish("a")).sequence == 11


@pytest.mark.parametrize("cause", [OSError("the disk is gone"), ValueError("a bug in a store"), TimeoutError()])
async def test_what_a_store_raises_of_its_own_means_unknown_and_is_kept_as_the_cause(
    cause: Exception, log: Log
) -> None:
    store = log.staged()
    store.append_faults.append(cause)
    async with EventBus(store) as bus:
        events = bus.subscribe("*")
        with pytest.raises(PublishOutcomeUnknownError) as caught:
            await bus.publish("a")
        failed = caught.value.__cause__
        assert isinstance(failed, StoreFailedError)
        assert failed.__cause__ is cause
        assert bus.health().status == "failed"
        assert (events.position, bus.recent()) == (0, [])


async def test_a_store_that_cannot_be_trusted_says_so_until_it_is_opened_again(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        await bus.publish("a", "before")
        store.append_faults += [StoreFailedError("fsync failed", outcome_unknown=True)]
        store.append_faults += [StoreFailedError("it failed before")] * 2
        with pytest.raises(PublishOutcomeUnknownError):
            await bus.publish("a", "unknown")
        for _ in range(2):
            with pytest.raises(StoreFailedError, match="before"):
                await bus.publish("a", "not stored")
        assert bus.health().status == "failed"
        assert payloads(await bus.query()) == ["before"]
    async with log.bus() as bus:
        assert (await bus.publish("a")).sequence == 2


async def test_a_failed_removal_is_the_callers_and_changes_nothing(log: Log) -> None:
    store = log.staged()
    store.clear_faults += [StoreFullError("no space to note it"), OSError("the disk is gone")]
    async with EventBus(store) as bus:
        await bus.publish("a")
        with pytest.raises(StoreFullError):
            await bus.clear()
        with pytest.raises((StoreError, OSError)):
            await bus.clear()
        assert len(await bus.query()) == len(bus.recent()) == 1
        assert (await bus.publish("a")).sequence == 2


@pytest.mark.parametrize(
    "cause", [StoreCorruptError("a bad page", 3), StoreFailedError("cannot be read"), OSError("the disk is gone")]
)
async def test_who_cannot_read_the_past_is_told(cause: Exception, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 5)
    store = log.staged()
    async with EventBus(store) as bus:
        live, iterated = bus.subscribe("a"), bus.subscribe("a", start="earliest")
        store.read_faults.append(cause)
        with pytest.raises((type(cause), StoreFailedError), match=str(cause)):
            await anext(iterated)
        store.read_faults.append(cause)
        handled = bus.subscribe("a", lambda event: None, start="earliest")
        await until(lambda: handled.name not in [each.name for each in bus.statistics().subscriptions])
        assert handled.error is not None
        assert str(cause) in str(handled.error)
        store.read_faults.append(cause)
        with pytest.raises((type(cause), StoreFailedError), match=str(cause)):
            _ = [event async for event in bus.replay()]
        await bus.publish("a")
        assert (await anext(live)).sequence == 6
        await bus.drain()
    ended = [record for record in caplog.records if "has ended" in record.getMessage()]
    assert [record.levelno for record in ended] == [logging.ERROR]


class DoesNotOpenError(Exception):
    """What a back end raises whose server is away."""


async def test_a_store_that_does_not_open_leaves_nothing_behind(log: Log) -> None:
    store = log.staged()
    seen: list[int] = []

    async def fail() -> Any:
        raise DoesNotOpenError

    store.open = fail  # type: ignore[method-assign]
    bus = EventBus(store)
    bus.subscribe("a", lambda event: seen.append(event.sequence))
    with pytest.raises(DoesNotOpenError):
        await bus.__aenter__()
    assert bus.health().status == "closed"
    with pytest.raises(BusClosedError):
        await bus.publish("a")
    del store.open
    async with bus:  # now it does
        await bus.publish("a")
        await bus.drain()
    assert seen == [1]


class Crash(BaseException):
    """What nobody should catch."""


@pytest.mark.fault(26)
@pytest.mark.parametrize("way", ["crash", "cancelled"])
async def test_without_its_writer_the_bus_says_that_it_has_failed(
    way: str, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    store = log.staged()
    bus = EventBus(store)
    async with bus:
        events = bus.subscribe("a")
        handled = bus.subscribe("a", lambda event: None)
        reading = asyncio.ensure_future(anext(events))
        store.gate.clear()
        taken = asyncio.create_task(bus.publish("a", id="taken"))
        await store.appending.wait()
        queued = asyncio.create_task(bus.publish("a"))
        clearing = asyncio.create_task(bus.clear())
        await ticks(2)
        if way == "crash":
            store.append_faults.append(Crash("out of everything"))
            store.gate.set()
        else:
            (writer,) = [task for task in asyncio.all_tasks() if task.get_name() == "asyncbus writer"]
            writer.cancel()
        with pytest.raises(PublishOutcomeUnknownError):
            await taken
        for waiting in (queued, clearing):
            with pytest.raises((BusClosedError, StoreFailedError)):
                await waiting
        with pytest.raises((BusClosedError, StoreFailedError)):
            await bus.publish("a")
        with pytest.raises(StoreError):
            await reading
        assert handled.error is not None
        assert bus.health().status == "failed"
        assert bus.statistics().subscriptions == ()
        store.gate.set()
    assert bus.health().status in {"closed", "failed"}
