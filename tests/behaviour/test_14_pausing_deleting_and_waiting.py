"""Consumers are paused, deleted and waited for by name."""

import asyncio

import pytest

from asyncbus import (
    BusClosedError,
    ConsumerClosedError,
    ConsumerInUseError,
    ConsumerStoppedError,
    InvalidOptionError,
    Retry,
    UnknownConsumerError,
)
from tests.behaviour.consuming import ONCE, FailingHandler, handled_events, parked_events, publish_batch, settled
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


# ----------------------------------------------------------------------------------------------------- they are paused


async def test_a_paused_consumer_gets_nothing_until_it_is_resumed(log: Log) -> None:
    async with log.bus() as bus:
        consumer, handling = await handled_events(bus, 1)
        await bus.pause("one")
        last = await publish_batch(bus, 3)
        with pytest.raises(TimeoutError):
            await bus.wait_processed("one", last, timeout=0.02)
        assert (handling.got, consumer.statistics().paused, consumer.backlog) == ([1], True, 3)
        await bus.resume("one")
        await settled(bus)
        assert (handling.got, consumer.statistics().paused) == ([1, 2, 3, 4], False)


async def test_what_is_in_flight_goes_on(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, concurrency=2)
        handling.gate.clear()
        await publish_batch(bus, 5)
        await until(lambda: len(handling.got) == 2)
        await bus.pause("one")
        handling.gate.set()
        await until(lambda: len(handling.done) == 2)
        await ticks(20)
        assert handling.got == [1, 2]
        await bus.resume("one")
        await settled(bus)


async def test_a_pause_is_remembered(log: Log) -> None:
    async with log.bus() as bus:
        consumer, handling = await handled_events(bus, 1)
        await bus.pause("one")
        await consumer.close()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 1)
        await until(lambda: consumer.statistics().active_since)
        await ticks(20)
        assert handling.got == [1]
        await consumer.close()
        await bus.resume("one")
        bus.consume("one", "a", handling.handle)
        await settled(bus)
        assert handling.got == [1, 2]


async def test_one_is_paused_before_it_has_begun(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        await publish_batch(bus, 2)
        consumer = bus.consume("one", "a", handling.handle)
        await bus.pause("one")
        assert consumer.statistics().paused
        await until(lambda: consumer.statistics().active_since)
        await ticks(20)
        assert (handling.got, consumer.statistics().paused) == ([], True)
        await bus.resume("one")
        await settled(bus)


async def test_one_that_iterates_waits_while_it_is_paused(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "a") as deliveries:
        await publish_batch(bus, 1)
        await until(lambda: deliveries.statistics().active_since)
        await bus.pause("one")
        waiting = asyncio.create_task(anext(deliveries))
        await ticks(20)
        assert not waiting.done()
        await bus.resume("one")
        assert (await waiting).event.sequence == 1


async def test_an_unknown_one_is_neither_paused_nor_resumed(log: Log) -> None:
    async with log.bus() as bus:
        for refused in (bus.pause("one"), bus.resume("one")):
            with pytest.raises(UnknownConsumerError):
                await refused


# ---------------------------------------------------------------------------------------------------- they are deleted


async def test_a_mistyped_name_is_seen_and_deleted_with_all_it_has(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 2, name="profle")
        with pytest.raises(ConsumerInUseError):
            await bus.delete_consumer("profle")
    async with log.bus() as bus:
        assert [consumer.name for consumer in await bus.consumers()] == ["profle"]
        await bus.delete_consumer("profle")
        assert (await bus.consumers(), await bus.dead_letters()) == ([], [])
        with pytest.raises(UnknownConsumerError):
            await bus.delete_consumer("profle")
        handling = FailingHandler()
        bus.consume("profle", "a", handling.handle)
        await settled(bus, "profle")
        assert handling.got == [1, 2], "it is a new one"
    async with log.bus() as bus:
        [one] = await bus.consumers()
        assert (one.checkpoint, one.dead_letters) == (2, 0)


async def test_whoever_takes_the_name_while_it_is_deleted_keeps_what_it_does(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        await parked_events(bus, 2)
    for turns in range(6):
        async with log.bus() as bus:
            deleting = asyncio.create_task(bus.delete_consumer("one"))
            await ticks(turns)
            try:
                bus.consume("one", "a", handling.handle)
            except ConsumerInUseError:
                await deleting
                bus.consume("one", "a", handling.handle)
            else:
                await asyncio.wait([deleting])
                deleting.exception()
            await settled(bus)
            checkpoint = (await bus.consumers())[0].checkpoint
        async with log.bus() as bus:
            assert [one.checkpoint for one in await bus.consumers()] == [checkpoint], f"{turns} turns later"


# -------------------------------------------------------------------------------------------------- they are waited for


async def test_who_waits_reads_its_own_writes(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, concurrency=4)
        for _ in range(20):
            receipt = await bus.publish("a")
            await bus.wait_processed("one", receipt.sequence)
            assert receipt.sequence in handling.done


async def test_parked_and_skipped_ones_count_as_processed_and_so_do_other_types(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        parking = bus.consume("one", "a", handling.handle, retry=ONCE)
        skipping = bus.consume("two", "a", handling.handle, retry=ONCE, on_exhausted="skip")
        await publish_batch(bus, 1)
        for consumer in (parking, skipping):
            await bus.wait_processed(consumer.name, 1)
            assert consumer.checkpoint == 1
        assert (parking.dead_letters, skipping.skipped) == (1, 1)
        last = await publish_batch(bus, 3, type="b")
        for consumer in (parking, skipping):
            await bus.wait_processed(consumer.name, last)
            assert consumer.checkpoint == last
            await bus.wait_processed(consumer.name, 0, timeout=0)
        assert handling.got == [1, 1], "each had its own type, once"


async def test_what_waits_for_its_retry_is_not_processed(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=Retry(backoff=3600, maximum=3600))
        await publish_batch(bus, 2)
        await until(lambda: consumer.waiting_for_retry and handling.done == [2])
        with pytest.raises(TimeoutError):
            await bus.wait_processed("one", 1, timeout=0.02)
        with pytest.raises(TimeoutError):
            await bus.wait_processed("one", 2, timeout=0)
        assert consumer.checkpoint == 0


async def test_one_that_begins_behind_the_place_already_is_not_waited_for(log: Log) -> None:
    async with log.bus() as bus:
        bus.consume("one", "a", FailingHandler().handle)
        await publish_batch(bus, 3)
        await settled(bus)
    async with log.bus() as bus:
        bus.consume("one", "a", FailingHandler().handle)
        await bus.wait_processed("one", 3, timeout=10)
        bus.consume("new", "a", FailingHandler().handle, start="latest")
        await bus.wait_processed("new", 3, timeout=10)


async def test_what_cannot_be_waited_for_is_refused(log: Log) -> None:
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", FailingHandler().handle)
        await publish_batch(bus, 1)
        with pytest.raises(InvalidOptionError, match="at most 1"):
            await bus.wait_processed("one", 2)
        with pytest.raises(InvalidOptionError):
            await bus.wait_processed("one", -1)
        with pytest.raises(InvalidOptionError):
            await bus.wait_processed("one", 1, timeout=-1)
        with pytest.raises(UnknownConsumerError):
            await bus.wait_processed("two", 1)
        await settled(bus)
        await consumer.close()
        with pytest.raises(UnknownConsumerError):
            await bus.wait_processed("one", 1)
    with pytest.raises(BusClosedError):
        await bus.wait_processed("one", 1)


@pytest.mark.parametrize("ends", ["closes", "stops"])
async def test_who_waits_is_told_of_the_end_of_the_consumer(ends: str, log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        retry = Retry(attempts=1 if ends == "stops" else 9, backoff=3600, maximum=3600)
        consumer = bus.consume("one", "a", handling.handle, retry=retry, on_exhausted="stop")
        handling.gate.clear()
        await publish_batch(bus, 1)
        waiting = asyncio.create_task(bus.wait_processed("one", 1))
        await until(lambda: handling.got)
        handling.gate.set()
        if ends == "closes":
            await until(lambda: consumer.waiting_for_retry)
            await consumer.close()
        with pytest.raises(ConsumerClosedError if ends == "closes" else ConsumerStoppedError):
            await waiting


async def test_a_closed_bus_administers_nothing(log: Log) -> None:
    bus = log.bus()
    for is_over in (False, True):
        for refused in (
            bus.consumers(),
            bus.seek("one", start="earliest"),
            bus.pause("one"),
            bus.delete_consumer("one"),
            bus.dead_letters(),
            bus.retry_dead_letters("one"),
            bus.discard_dead_letters("one"),
        ):
            with pytest.raises(BusClosedError):
                await refused
        if not is_over:
            async with bus:
                pass
