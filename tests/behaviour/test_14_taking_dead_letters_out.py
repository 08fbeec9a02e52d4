"""Dead letters that several calls take out at the same time: none comes twice for that, each is counted off once."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from asyncbus import EventBus, RetriedLetters, StaleAckError, StoreFullError
from asyncbus.testing import FaultyStore
from tests.behaviour.consuming import ONCE, FailingHandler, parked, parked_events, publish_batch, settled
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.parametrize(("start", "retried", "left"), [("earliest", 0, []), (2, 1, [1])])
async def test_what_a_seek_lets_come_again_is_no_letter_that_has_failed(
    start: Any, retried: int, left: list[int], log: Log
) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 2)
    async with log.bus() as bus, bus.consume("one", "a", ack="manual") as deliveries:
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await anext(deliveries)
        await bus.seek("one", start=start)
        assert await retrying == RetriedLetters(failed=retried)
        assert parked(await bus.dead_letters()) == left
        assert deliveries.statistics().dead_letters == len(left)


@pytest.mark.fault(67)
async def test_wherever_letters_are_tried_again_during_a_seek_each_event_comes_once(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 5)
        for turns in range(20):
            handling.failing = set(range(1, 6))
            await bus.seek("one", start="earliest")
            await settled(bus)
            handling.failing.clear()
            handling.got.clear()

            seeking = asyncio.create_task(bus.seek("one", start="earliest"))
            await ticks(turns)
            assert await bus.retry_dead_letters("one") == RetriedLetters()
            await seeking
            await settled(bus)
            assert handling.got == [1, 2, 3, 4, 5], f"{turns} turns later"
            assert await bus.dead_letters() == []
            assert bus.statistics().consumers[0].dead_letters == 0


@pytest.mark.fault(67)
async def test_wherever_a_seek_comes_while_letters_are_tried_again_each_event_comes_once_more(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 5)
        for turns in range(20):
            handling.failing = set(range(1, 6))
            await bus.seek("one", start="earliest")
            await settled(bus)
            handling.failing.clear()
            handling.got.clear()

            retrying = asyncio.create_task(bus.retry_dead_letters("one"))
            await ticks(turns)
            await bus.seek("one", start="earliest")
            retried = await retrying
            await settled(bus)
            assert retried.failed == 0
            assert len(handling.got) == 5 + retried.done, f"{turns} turns later"
            assert await bus.dead_letters() == []
            assert bus.statistics().consumers[0].dead_letters == 0


async def test_wherever_a_delivery_is_rejected_during_a_seek_its_event_is_no_dead_letter_when_it_comes_again(
    log: Log,
) -> None:
    async with log.bus() as bus, bus.consume("one", "a", ack="manual") as deliveries:
        await publish_batch(bus, 1)
        for turns in range(20):
            delivery = await anext(deliveries)
            seeking = asyncio.create_task(bus.seek("one", start="earliest"))
            await ticks(turns)
            with suppress(StaleAckError):
                await delivery.reject()
            await seeking
            assert await bus.dead_letters() == [], f"{turns} turns later"
            assert deliveries.statistics().dead_letters == 0


# ------------------------------------------------------------------------------------------- each is counted off once


@pytest.mark.parametrize("is_active", [True, False])
async def test_two_that_discard_at_the_same_time_remove_each_once(is_active: bool, log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 300)
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", FailingHandler().handle) if is_active else None
        first, second = await asyncio.gather(*(bus.discard_dead_letters("one") for _ in range(2)))
        assert first + second == 300
        if consumer is not None:
            assert consumer.statistics().dead_letters == 0


async def test_wherever_letters_are_discarded_while_they_are_tried_again_each_is_counted_off_once(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=ONCE)
        for turns in range(20):
            handling.failing = set(range(10 * turns + 1, 10 * turns + 11))
            await publish_batch(bus, 10)
            await settled(bus)
            handling.failing.clear()
            retrying = asyncio.create_task(bus.retry_dead_letters("one"))
            await ticks(turns)
            await bus.discard_dead_letters("one", limit=5)
            await retrying
            assert await bus.dead_letters() == []
            assert consumer.statistics().dead_letters == 0, f"{turns} turns later"


async def test_wherever_letters_are_discarded_during_a_seek_each_is_counted_off_once(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 5)
        for turns in range(20):
            handling.failing = set(range(1, 6))
            await bus.seek("one", start="earliest")
            await settled(bus)
            handling.failing.clear()
            seeking = asyncio.create_task(bus.seek("one", start="earliest"))
            await ticks(turns)
            await bus.discard_dead_letters("one", limit=2)
            await seeking
            await settled(bus)
            assert await bus.dead_letters() == []
            assert bus.statistics().consumers[0].dead_letters == 0, f"{turns} turns later"


async def test_what_is_done_is_not_found_again_while_there_is_no_room_to_remove_it(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        handling = await parked_events(bus, 2)
        handling.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one", limit=1))
        await until(lambda: handling.got == [1])
        store.fail("commit", StoreFullError("no space is left"), times=None)
        handling.gate.set()
        for refused in (retrying, bus.retry_dead_letters("one", limit=1), bus.discard_dead_letters("one", limit=1)):
            with pytest.raises(StoreFullError):
                await refused
        store.heal()
        await bus.publish("b")
        assert parked(await bus.dead_letters()) == [2]
        assert bus.statistics().consumers[0].dead_letters == 1
        assert handling.got == [1]


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_wherever_a_consumer_begins_while_its_letters_are_discarded_it_counts_those_that_are_left(
    is_cancelled: bool, log: Log
) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 80)
    async with log.bus() as bus:
        for turns in range(40):
            other = bus.consume("other", "b", FailingHandler().handle)  # letters are counted for both at once
            discarding = [asyncio.create_task(bus.discard_dead_letters("one", limit=1)) for _ in range(2)]
            await ticks(turns)
            if is_cancelled:
                discarding[0].cancel()
            consumer = bus.consume("one", "a", FailingHandler().handle)
            await settled(bus)
            await asyncio.wait(discarding)
            left = len(await bus.dead_letters())
            assert consumer.statistics().dead_letters == left, f"{turns} turns later"
            await asyncio.gather(consumer.close(), other.close())


async def test_wherever_a_consumer_ends_while_its_letters_are_discarded_they_are_removed(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 40)
    async with log.bus() as bus:
        for turns in range(20):
            consumer = bus.consume("one", "a", FailingHandler().handle)
            await settled(bus)
            closing = asyncio.create_task(consumer.close())
            await ticks(turns)
            assert await bus.discard_dead_letters("one", limit=1) == 1
            assert len(await bus.dead_letters()) == 39 - turns, f"{turns} turns later"
            await closing


async def test_wherever_discarding_is_cancelled_those_that_are_left_are_counted(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 20)
        for turns in (number**2 for number in range(20)):  # a file takes its time
            discarding = asyncio.create_task(bus.discard_dead_letters("one", limit=1))
            await ticks(turns)
            discarding.cancel()
            await asyncio.wait([discarding])
            await bus.publish("b")  # by then what it had decided is stored
            left = len(await bus.dead_letters())
            assert bus.statistics().consumers[0].dead_letters == left, f"{turns} turns later"
        assert left < 20
