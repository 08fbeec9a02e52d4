"""Durable consumers on a store that is full or fails: what heals goes on by itself, what does not ends them, loudly."""

import asyncio
import logging

import pytest

from asyncbus import AsyncBusError, EventBus, StoreFailedError, StoreFullError
from asyncbus.testing import FakeClock, FaultyStore
from tests.behaviour.consuming import Handler, passing, publish_keys, quiet
from tests.behaviour.stage import HandClock, Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]

FULL = StoreFullError("no space is left")
FAILED = StoreFailedError("the disk is gone")


@pytest.mark.fault(37)
async def test_on_a_full_disk_nothing_is_handed_out_and_when_there_is_room_all_goes_on(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    clock, handler = HandClock(), Handler()
    store = FaultyStore(log.store())
    async with EventBus(store, clock=clock) as bus:
        consumer = bus.consume("one", "a", handler)
        await publish_keys(bus, None)
        await passing(consumer, 1)
        await quiet(bus)
        caplog.clear()
        await publish_keys(bus, *[None] * 2)
        await passing(consumer, 3)
        await quiet(bus)
        store.fail("commit", FULL, times=4)
        await publish_keys(bus, None)
        await passing(consumer, 4)
        assert handler.got == [(sequence, 1) for sequence in range(1, 5)]
        assert clock.sleeps == [0.1, 0.2, 0.4, 0.8]
        assert consumer.error is None
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([each for each in warnings if "consumer one waits until there is room" in each]) == 1


async def test_an_ack_on_a_full_disk_says_so_and_is_stored_with_the_next_commit(log: Log) -> None:
    store, again = FaultyStore(log.store()), Handler()
    async with EventBus(store) as bus:
        await publish_keys(bus, None, None)
        deliveries = bus.consume("one", "a", ack="manual")
        delivery = await anext(deliveries)
        await quiet(bus)
        store.fail("commit", FULL)
        with pytest.raises(StoreFullError):
            await delivery.ack()
        await bus.publish("b")
        [state] = await store.consumers()
        assert state.checkpoint == 1
        await deliveries.close()
        await passing(bus.consume("one", "a", again), 3)
    assert again.got == [(2, 1)]


@pytest.mark.parametrize("after", [False, True])
async def test_a_store_that_has_failed_ends_the_consumer_with_its_error(after: bool, log: Log) -> None:
    store, handler, again = FaultyStore(log.store()), Handler(), Handler()
    handler.hold(2)
    async with EventBus(store) as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler)
        deliveries = bus.consume("iterated", "a")
        await anext(deliveries)
        await until(lambda: handler.running)
        await quiet(bus)
        assert [state.checkpoint for state in await store.consumers() if state.name == "one"] == [1]
        store.fail("commit", FAILED, times=None, after=after)
        handler.release()
        with pytest.raises(AsyncBusError):
            await bus.publish("a")
        with pytest.raises(StoreFailedError):
            await anext(deliveries)
        await until(lambda: not bus.statistics().consumers)
        assert isinstance(consumer.error, StoreFailedError)
        assert isinstance(deliveries.error, StoreFailedError)
    async with log.bus() as bus:
        await passing(bus.consume("one", "a", again), await bus.latest_sequence())
    assert 1 not in again.sequences, "it was stored as done"
    assert after or (2, 2) in again.got, "it was in flight"


@pytest.mark.parametrize("call", ["consumers", "dead_letter_counts", "commit"])
async def test_a_consumer_that_cannot_take_its_name_has_the_cause_and_leaves_the_name_free(call: str, log: Log) -> None:
    store, handler = FaultyStore(log.store()), Handler()
    async with EventBus(store) as bus:
        await publish_keys(bus, None)
        store.fail(call, FAILED)  # type: ignore[arg-type]  # one of those calls
        consumer = bus.consume("one", "a", handler)
        await until(lambda: consumer.error is not None)
        await consumer.close()
        assert "the disk is gone" in str(consumer.error)
        await passing(bus.consume("one", "a", handler), 1)
    assert handler.got == [(1, 1)]


async def test_what_a_store_raises_that_is_none_of_ours_becomes_ours(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        await publish_keys(bus, None)
        store.fail("read", ZeroDivisionError("a bug"), times=None)
        store.fail("consumers", ZeroDivisionError("a bug"))
        consumer = bus.consume("one", "a", Handler())
        await until(lambda: consumer.error is not None)
        await consumer.close()
    assert isinstance(consumer.error, AsyncBusError)
    assert "a bug" in str(consumer.error)


async def test_a_consumer_is_closed_in_time_while_it_waits_for_a_full_disk(log: Log) -> None:
    clock, handler, again = FakeClock(), Handler(), Handler()
    store = FaultyStore(log.store())
    async with EventBus(store, clock=clock) as bus:
        await publish_keys(bus, None)
        consumer = bus.consume("one", "a", handler)
        await passing(consumer, 1)
        await quiet(bus)
        await publish_keys(bus, None)
        await passing(consumer, 2)
        await quiet(bus)
        store.fail("commit", FULL, times=None)
        publishing = asyncio.create_task(bus.publish("a"))
        await asyncio.wait([publishing])
        await ticks(50)
        await consumer.close()
        store.heal()
        publishing.exception()
        head = (await bus.publish("a")).sequence
        await passing(bus.consume("one", "a", again), head)
    assert handler.sequences == [1, 2]
    assert again.sequences == list(range(3, head + 1))
