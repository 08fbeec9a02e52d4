"""What a handler publishes through its delivery is stored at most once, however often the event is handed out."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncbus import Delivery, Event, EventBus, PayloadError, Receipt, RetriedLetters
from tests.behaviour.consuming import ONCE, THREE_AT_ONCE, publish_batch, settled
from tests.behaviour.stage import Log, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def followed(bus: EventBus) -> list[Any]:
    return [event.data async for event in bus.replay("followed")]


async def test_a_rerun_publishes_nothing_anew_and_gets_the_first_receipt_whatever_its_body(log: Log) -> None:
    receipts: list[Receipt] = []

    async def handle(event: Event, delivery: Delivery) -> None:
        receipts.append(await delivery.publish("followed", {"attempt": delivery.attempt}))
        if delivery.attempt < 3:
            raise ValueError

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=THREE_AT_ONCE)
        await publish_batch(bus, 1)
        await settled(bus)

        assert await followed(bus) == [{"attempt": 1}]
        assert receipts == [Receipt(2), Receipt(2, duplicate=True), Receipt(2, duplicate=True)]


async def test_each_place_in_the_order_is_an_event_of_its_own(log: Log) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        for place in range(delivery.attempt):
            await delivery.publish("followed", (event.sequence, place))
        if delivery.attempt < 3:
            raise ValueError

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=THREE_AT_ONCE, concurrency=2)
        await publish_batch(bus, 2)
        await settled(bus)
        await settled(bus)
        assert sorted(await followed(bus)) == [[1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]


async def test_it_may_have_what_every_event_may_have(log: Log) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    async def handle(event: Event, delivery: Delivery) -> None:
        await delivery.publish("followed", b"bytes", key="vm-1", metadata={"cpu": 1}, time=moment)
        with pytest.raises(PayloadError):
            await delivery.publish("followed", float("nan"))

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        [event] = await bus.query("followed")
        assert (event.data, event.key, event.metadata, event.time) == (b"bytes", "vm-1", {"cpu": 1}, moment)
        assert event.id == "one/1/0", "by the consumer, the sequence and the place, so that it can be looked for"
        assert await bus.dead_letters() == []


async def test_two_consumers_of_one_event_publish_each_their_own(log: Log) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        await delivery.publish("followed", delivery.consumer)

    async with log.bus() as bus:
        bus.consume("one", "a", handle)
        bus.consume("two", "a", handle)
        await publish_batch(bus, 1)
        await settled(bus, "one")
        await settled(bus, "two")
        assert sorted(await followed(bus)) == ["one", "two"]


@pytest.mark.fault(66)
async def test_a_dead_letter_that_is_tried_again_follows_from_the_same_event(log: Log) -> None:
    broken = True

    async def handle(event: Event, delivery: Delivery) -> None:
        await delivery.publish("followed", "before")
        if broken:
            raise ValueError
        await delivery.publish("followed", "after")

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=THREE_AT_ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        assert await followed(bus) == ["before"]
    broken = False
    async with log.bus() as bus:
        bus.consume("one", "a", handle)
        assert await bus.retry_dead_letters("one") == RetriedLetters(done=1)
        assert await followed(bus) == ["before", "after"]
        assert [event.id for event in await bus.query("followed")] == ["one/1/0", "one/1/1"]


async def test_a_restart_and_a_seek_publish_nothing_anew(log: Log) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        await delivery.publish("followed", event.sequence)

    for _ in range(2):
        async with log.bus() as bus:
            bus.consume("one", "a", handle)
            if not await bus.query("a"):
                await publish_batch(bus, 3)
            await settled(bus)
            await bus.seek("one", start="earliest")
            await settled(bus)
            assert sorted(await followed(bus)) == [1, 2, 3]


async def test_once_the_first_was_removed_a_rerun_stores_it_anew(log: Log) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        await delivery.publish("followed", delivery.attempt)
        if delivery.attempt == 1:
            raise ValueError

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        await settled(bus)
        await bus.clear()
        assert await bus.retry_dead_letters("one") == RetriedLetters(done=1)
        assert await followed(bus) == [2]


async def test_a_handler_that_was_given_up_and_its_successor_publish_one_event(log: Log) -> None:
    """The first attempt ignores the end of its time and publishes beside the second."""
    may_publish, receipts = asyncio.Event(), []

    async def handle(event: Event, delivery: Delivery) -> None:
        if delivery.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await may_publish.wait()
        else:
            may_publish.set()
        receipts.append(await delivery.publish("followed", delivery.attempt))

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=THREE_AT_ONCE, timeout=0.05)
        await publish_batch(bus, 1)
        await settled(bus)
        [event] = await bus.query("followed")
        await until(lambda: len(receipts) == 2)
        assert {receipt.sequence for receipt in receipts} == {event.sequence}


async def test_plain_functions_get_a_delivery_as_well(log: Log) -> None:
    got: list[tuple[int, int, str, bool]] = []

    def handle(event: Event, delivery: Delivery) -> None:
        assert delivery.event is event
        got.append((event.sequence, delivery.attempt, delivery.consumer, delivery.redelivered))
        if delivery.attempt == 1:
            raise ValueError

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=THREE_AT_ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
    assert got == [(1, 1, "one", False), (1, 2, "one", True)]
