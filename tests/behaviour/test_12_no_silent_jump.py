"""Promise 12: a start nobody has published yet, or that is gone, is an error with the facts: no silent jump."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncbus import Event, EventBus, EventsLostError, MemoryStore, StartBeyondHeadError, Subscription
from tests.behaviour.stage import HandClock, Log, sequences, take, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.parametrize("head", [0, 3])
async def test_head_plus_one_is_the_next_event_and_more_is_an_error(head: int, log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * head)
        events = bus.subscribe("a", start=head + 1)
        assert events.phase == "live"
        for start in (head + 2, 2**63 - 1):
            for begin in (bus.subscribe, bus.replay, bus.wait_for):
                with pytest.raises(StartBeyondHeadError, match=f"next sequence, {head + 1}") as caught:
                    begin("a", start=start)
                assert (caught.value.start, caught.value.head) == (start, head)
        assert len(bus.statistics().subscriptions) == 1
        await bus.publish("a")
        assert (await anext(events)).sequence == head + 1


async def test_an_event_that_only_waits_in_the_inbox_is_beyond_the_head(log: Log) -> None:
    async with log.bus() as bus:
        waiting = [bus.publish_nowait("a"), bus.publish_nowait("a")]
        with pytest.raises(StartBeyondHeadError):
            bus.subscribe("a", start=2)
        await asyncio.gather(*(_await(receipt) for receipt in waiting))
        assert (await anext(bus.subscribe("a", start=2))).sequence == 2


async def test_a_start_that_a_bounded_log_has_passed_is_lost_at_the_call() -> None:
    async with EventBus(MemoryStore(max_events=3)) as bus:
        await bus.publish_many([("a", None)] * 10)
        for start in (1, 7):
            with pytest.raises(EventsLostError, match=f"{start} to 7") as caught:
                bus.subscribe("a", start=start)
            assert (caught.value.first, caught.value.last) == (start, 7)
            with pytest.raises(EventsLostError):
                bus.replay("a", start=start)
        assert sequences(await take(bus.subscribe("a", start=8), 3)) == [8, 9, 10]
        assert sequences(await take(bus.subscribe("a", start="earliest"), 3)) == [8, 9, 10]
        assert sequences([event async for event in bus.replay()]) == [8, 9, 10]
        assert bus.statistics().subscriptions[0].position == 10


async def test_a_moment_that_is_gone_begins_with_what_is_retained() -> None:
    clock = HandClock()
    async with EventBus(MemoryStore(max_events=3), clock=clock) as bus:
        await bus.publish_many([("a", None)] * 10)
        for moment in (datetime(1970, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)):
            assert sequences(await take(bus.subscribe("a", start=moment), 3)) == [8, 9, 10]
            assert sequences([event async for event in bus.replay(start=moment)]) == [8, 9, 10]


async def test_a_moment_nothing_was_recorded_after_begins_with_the_next_event(log: Log) -> None:
    clock = HandClock()
    async with log.bus(clock=clock) as bus:
        await bus.publish_many([("a", None)] * 3)
        clock.advance(1)
        now = datetime.fromtimestamp(clock.now() / 1e6, UTC)
        assert [event async for event in bus.replay(start=now)] == []
        events = bus.subscribe("a", start=now)
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: events.phase == "live")
        await bus.publish("a")
        assert (await waiting).sequence == 4


async def fall_behind(bus: EventBus, events: Subscription) -> None:
    """Until not even memory holds what it is owed."""
    while bus.statistics().head < 2000:
        await bus.publish_many([("a", None)] * 500)


async def test_a_reader_that_a_bounded_log_overtakes_is_told_what_it_lost() -> None:
    async with EventBus(MemoryStore(max_events=5), inbox_capacity=500, recent_capacity=500) as bus:
        events = bus.subscribe("a", capacity=10)
        await fall_behind(bus, events)
        assert sequences(await take(events, 10)) == list(range(1, 11))
        for _ in range(2):
            with pytest.raises(EventsLostError) as caught:
                await anext(events)
            assert (caught.value.first, caught.value.last) == (11, 1995)
        assert isinstance(events.error, EventsLostError)
        assert (events.error.first, events.error.last) == (11, 1995)
        assert events.position == 10
        again = bus.subscribe("a", start=caught.value.last + 1)
        assert sequences(await take(again, 5)) == list(range(1996, 2001))


async def test_a_handler_that_a_bounded_log_overtakes_ends_with_the_error(caplog: pytest.LogCaptureFixture) -> None:
    going = asyncio.Event()
    seen: list[int] = []

    async def wait(event: Event) -> None:
        seen.append(event.sequence)
        await going.wait()

    async with EventBus(MemoryStore(max_events=5), inbox_capacity=500, recent_capacity=500) as bus:
        events = bus.subscribe("a", wait, capacity=10)
        await fall_behind(bus, events)
        going.set()
        await until(lambda: events.error is not None)
        assert seen == list(range(1, 11))
        assert isinstance(events.error, EventsLostError)
        assert (events.error.first, events.error.last) == (11, 1995)
        await bus.drain()
    ended = [record for record in caplog.records if "11 to 1995" in record.getMessage()]
    assert [record.levelno for record in ended] == [logging.ERROR]


async def test_a_replay_that_a_bounded_log_overtakes_is_told_as_well() -> None:
    async with EventBus(MemoryStore(max_events=5), inbox_capacity=500, recent_capacity=500) as bus:
        await bus.publish_many([("a", None)] * 5)
        replay = bus.replay()
        await fall_behind(bus, bus.subscribe("nothing"))
        with pytest.raises(EventsLostError) as caught:
            await anext(replay)
        assert (caught.value.first, caught.value.last) == (1, bus.statistics().head - 5)


async def test_what_memory_still_holds_is_not_lost() -> None:
    async with EventBus(MemoryStore(max_events=1)) as bus:
        events = bus.subscribe("a", capacity=1)
        await bus.publish_many([("a", None)] * 1000)
        assert sequences(await take(events, 1000)) == list(range(1, 1001))


async def test_what_was_registered_before_the_bus_opened_learns_it_there(log: Log) -> None:
    bus = log.bus()
    iterated, handled = bus.subscribe("a", start=5), bus.subscribe("a", lambda event: None, start=5)
    async with bus:
        with pytest.raises(StartBeyondHeadError):
            await anext(iterated)
        assert isinstance(handled.error, StartBeyondHeadError)
        assert bus.statistics().subscriptions == ()


async def _await(receipt: Any) -> Any:
    return await receipt
