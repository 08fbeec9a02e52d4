"""Dead letters are listed, found again and discarded, and outlive the bus and the events themselves."""

from datetime import UTC, datetime
from typing import Any

import pytest

from asyncbus import Event, InvalidOptionError, UnknownConsumerError
from tests.behaviour.consuming import ONCE, FailingHandler, parked, parked_events, publish_batch, settled
from tests.behaviour.stage import HandClock, Log, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


# -------------------------------------------------------------------------------------------------------- finding them


async def test_they_are_listed_in_the_order_of_parking_and_filtered(log: Log) -> None:
    clock = HandClock()
    moments: list[datetime] = []

    def handle(event: Event) -> None:
        clock.advance(1)
        moments.append(datetime.fromtimestamp(clock.now() / 1e6, UTC))
        raise ValueError

    async with log.bus(clock=clock) as bus:
        bus.consume("one", "*", handle, retry=ONCE, order="strict")
        await bus.publish_many([("a", 1), ("a.b", 2), ("c", 3), ("a.c", 4)])
        await settled(bus, "one")
        bus.consume("two", "c", handle, retry=ONCE)
        await settled(bus, "two")

        assert parked(await bus.dead_letters()) == [1, 2, 3, 4, 3]
        assert parked(await bus.dead_letters("two")) == [3]
        assert parked(await bus.dead_letters("three")) == []
        assert parked(await bus.dead_letters(pattern="a.*")) == [2, 4]
        assert parked(await bus.dead_letters("one", start=2, stop=4)) == [2, 3]
        assert parked(await bus.dead_letters("one", start=moments[1], stop=moments[3])) == [2, 3]
        assert parked(await bus.dead_letters("one", ["a", "c"], start=2)) == [3]
        assert parked(await bus.dead_letters(limit=2)) == [1, 2]


async def test_pages_go_on_after_the_last_number(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 25)
        found: list[int] = []
        after = 0
        while page := await bus.dead_letters("one", after=after, limit=10):
            assert len(page) <= 10
            found += parked(page)
            after = page[-1].number
        assert found == list(range(1, 26))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"after": -1}, "after"),
        ({"start": "yesterday"}, "start"),
        ({"stop": 0}, "stop"),
        ({"consumer": 5}, "consumer"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(options: dict[str, Any], named: str, log: Log) -> None:
    async with log.bus() as bus:
        with pytest.raises(InvalidOptionError) as refused:
            await bus.dead_letters(**options)
        assert refused.value.option == named


# --------------------------------------------------------------------------------------------------- how long they live


async def test_they_outlive_the_bus_and_the_events_themselves(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 3)
        await bus.clear()
        assert await bus.query() == []
        assert [letter.event.data for letter in await bus.dead_letters()] == [1, 2, 3]
    async with log.bus() as bus:
        letters = await bus.dead_letters()
        assert [letter.event.data for letter in letters] == [1, 2, 3]

        handling = FailingHandler()
        bus.consume("one", "a", handling.handle)
        assert (await bus.retry_dead_letters("one")).done == 3
        assert handling.done == [1, 2, 3]


async def test_discarded_ones_are_gone_for_good(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 6)
        assert await bus.discard_dead_letters("one", start=2, stop=4) == 2
        assert await bus.discard_dead_letters("one", limit=1) == 1
        assert parked(await bus.dead_letters()) == [4, 5, 6]
        assert bus.statistics().consumers[0].dead_letters == 3
    async with log.bus() as bus:
        assert await bus.discard_dead_letters("one") == 3, "it need not be active"
        assert await bus.dead_letters() == []
        handling = FailingHandler()
        bus.consume("one", "a", handling.handle)
        await settled(bus)
        assert handling.got == []


async def test_a_mistyped_name_is_told_where_there_is_nothing_to_discard(log: Log) -> None:
    async with log.bus() as bus:
        handling = FailingHandler()
        consumer = bus.consume("one", "a", handling.handle)
        assert await bus.discard_dead_letters("one") == 0, "it is active, and may not be stored yet"
        await consumer.close()
        assert await bus.discard_dead_letters("one") == 0, "it is stored"
        with pytest.raises(UnknownConsumerError, match="consumer 'onne' is not known to this store"):
            await bus.discard_dead_letters("onne")


async def test_more_than_a_page_of_them_is_discarded(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 600)
        assert await bus.discard_dead_letters("one", limit=550) == 550
        assert parked(await bus.dead_letters()) == list(range(551, 601))


async def test_a_consumer_counts_those_of_earlier_lives(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 2)
    handling = FailingHandler(failing=[3])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=ONCE)
        await publish_batch(bus, 1)
        await until(lambda: consumer.checkpoint == 3)
        assert consumer.statistics().dead_letters == 3
