"""Promise 2: every subscriber sees its matching events in ascending sequence, each exactly once."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncbus import Event, EventBus, MemoryStore, SubscriptionBusyError
from tests.behaviour.stage import HandClock, Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.fault(34)
async def test_nothing_is_delivered_before_it_is_committed(log: Log) -> None:
    store = log.staged()
    handled: list[Event] = []
    async with EventBus(store) as bus:
        bus.subscribe("*", handled.append)
        live, late = bus.subscribe("*"), bus.subscribe("*", start="earliest")
        store.gate.clear()
        publishing = asyncio.create_task(bus.publish("a"))
        await store.appending.wait()
        await ticks(20)
        assert (handled, live.position, late.position, bus.recent()) == ([], 0, 0, [])
        store.gate.set()
        await publishing
        await bus.drain()
        assert sequences(handled) == sequences(await take(live, 1)) == sequences(await take(late, 1)) == [1]


async def test_history_is_followed_by_live_events_without_a_gap(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", number) for number in range(1000)])
        events = bus.subscribe("a", start="earliest")
        assert events.statistics().phase == "catching_up"
        first = await take(events, 500)
        await bus.publish_many([("a", number) for number in range(1000, 1500)])
        rest = await take(events, 1000)
        assert events.phase == "live"
        await bus.publish("a", 1500)
        assert payloads([*first, *rest, await anext(events)]) == list(range(1501))


async def test_all_four_ways_to_start(log: Log) -> None:
    clock = HandClock()
    async with log.bus(clock=clock) as bus:
        for _ in range(4):
            clock.advance(1)
            await bus.publish("a")
        second = datetime.fromtimestamp(clock.now() / 1e6 - 2, UTC)
        expected: dict[Any, list[int]] = {
            "earliest": [1, 2, 3, 4, 5],
            "latest": [5],
            3: [3, 4, 5],
            5: [5],
            second: [2, 3, 4, 5],
            second + timedelta(milliseconds=1): [3, 4, 5],
            datetime(1970, 1, 1, tzinfo=UTC): [1, 2, 3, 4, 5],
            second.replace(year=1960): [1, 2, 3, 4, 5],
        }
        readers = {start: bus.subscribe("*", start=start) for start in expected}
        await bus.publish("a")
        assert {start: sequences(await take(events, len(expected[start]))) for start, events in readers.items()} == (
            expected
        )


async def test_a_start_in_the_future_begins_then(log: Log) -> None:
    clock = HandClock()
    seen: list[int] = []
    async with log.bus(clock=clock) as bus:
        await bus.publish("a")
        then = datetime.fromtimestamp(clock.now() / 1e6 + 2, UTC)
        bus.subscribe("*", lambda event: seen.append(event.sequence), start=then)
        late = bus.subscribe("*", start=then)
        for _ in range(4):
            await bus.publish("a")
            clock.advance(1)
        await bus.drain()
        assert seen == sequences(await take(late, 2)) == [4, 5]


async def test_latest_sees_what_waits_in_the_inbox(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", "committed")
        bus.publish_nowait("a", "waiting")
        events = bus.subscribe("a")
        assert (await anext(events)).data == "waiting"


@pytest.mark.fault(70)
async def test_a_slow_reader_goes_back_to_catching_up_and_becomes_live_again(log: Log) -> None:
    async with log.bus(recent_capacity=1, inbox_capacity=20) as bus:
        events = bus.subscribe("a", capacity=5)
        assert events.phase == "live"
        for turn in range(1, 4):
            await bus.publish_many([("a", number) for number in range(20)])
            assert (events.phase, events.statistics().queued) == ("catching_up", 5)
            assert events.backlog == 20
            assert payloads(await take(events, 20)) == list(range(20))
            await bus.publish("b")
            waiting = asyncio.ensure_future(anext(events))
            await until(lambda: events.phase == "live")
            assert events.statistics().overflows == turn
            await bus.publish("a", "live")
            assert (await waiting).data == "live"


async def test_events_that_do_not_match_move_the_position(log: Log) -> None:
    async with log.bus() as bus:
        live, late = bus.subscribe("a"), bus.subscribe("a", start="earliest")
        await bus.publish_many([("b", None)] * 5)
        assert (live.position, live.backlog) == (5, 0)
        waiting = asyncio.ensure_future(anext(late))
        await until(lambda: late.phase == "live")
        assert (late.position, late.backlog) == (5, 0)
        await bus.publish("a")
        assert (await waiting).sequence == 6


async def test_closing_does_not_count_what_the_queue_held_as_delivered(log: Log) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("*")
        await bus.publish_many([("a", number) for number in range(5)])
        await take(events, 2)
        await events.close()
        assert events.position == 2
        again = bus.subscribe("*", start=events.position + 1)
        assert sequences(await take(again, 3)) == [3, 4, 5]


@pytest.mark.fault(72)
@pytest.mark.parametrize("start", ["latest", "earliest"])
@pytest.mark.parametrize("tick", range(16))
async def test_a_waiting_reader_cancelled_at_any_tick_loses_nothing(tick: int, start: Any, log: Log) -> None:
    async with log.bus(recent_capacity=1, inbox_capacity=1) as bus:
        events = bus.subscribe("a", start=start, capacity=1)
        got: list[int] = []
        waiting = asyncio.ensure_future(anext(events))
        publishing = [asyncio.create_task(bus.publish("a")) for _ in range(3)]
        await ticks(tick)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            got.append((await waiting).sequence)
        await asyncio.gather(*publishing)
        got += sequences(await take(events, 3 - len(got)))
        assert got == [1, 2, 3]


@pytest.mark.parametrize("tick", range(16))
async def test_a_handler_closed_at_any_tick_saw_all_up_to_its_position(tick: int, log: Log) -> None:
    seen: list[int] = []

    async def handle(event: Event) -> None:
        await ticks(1)
        seen.append(event.sequence)

    async with log.bus() as bus:
        events = bus.subscribe("*", handle, start="earliest")
        publishing = [asyncio.create_task(bus.publish("a")) for _ in range(3)]
        await ticks(tick)
        await events.close()
        handled = list(seen)
        await asyncio.gather(*publishing)
        await bus.drain()
        assert seen == handled == list(range(1, events.position + 1))


async def test_higher_priority_comes_first_then_the_order_of_subscribing(log: Log) -> None:
    order: list[str] = []

    def note(name: str) -> Callable[[Event], None]:
        return lambda event: order.append(name)

    async with log.bus() as bus:
        for name, priority in (("first", 0), ("low", -1), ("second", 0), ("high", 5)):
            bus.subscribe("a", note(name), priority=priority)
        await ticks(5)
        await bus.publish("a")
        await bus.drain()
    assert order == ["high", "first", "second", "low"]


async def test_priority_goes_for_all_that_one_commit_brings(log: Log) -> None:
    order: list[tuple[str, str]] = []
    async with log.bus() as bus:
        bus.subscribe("*", lambda event: order.append(("low", event.type)))
        bus.subscribe("b", lambda event: order.append(("high", event.type)), priority=1)
        await ticks(5)
        await bus.publish_many([("a", None), ("b", None)])
        await bus.drain()
    assert order == [("high", "b"), ("low", "a"), ("low", "b")]


async def test_two_tasks_cannot_wait_on_one_subscription(log: Log) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("a")
        waiting = asyncio.ensure_future(anext(events))
        await ticks(1)
        with pytest.raises(SubscriptionBusyError, match="another task"):
            await anext(events)
        handled = bus.subscribe("a", lambda event: None)
        with pytest.raises(SubscriptionBusyError, match="handler"):
            await anext(handled)
        await bus.publish("a")
        assert (await waiting).sequence == 1


@pytest.mark.fault(55)
async def test_times_are_aware_and_recording_never_goes_back() -> None:
    clock = HandClock()
    store = MemoryStore()
    async with EventBus(store, clock=clock) as bus:
        await bus.publish("a")
        clock.advance(-3600)
        await bus.publish("a")
    clock.advance(-3600)
    async with EventBus(store, clock=clock) as bus:
        await bus.publish("a", time=datetime(2000, 1, 1, tzinfo=UTC))
        events = await bus.query()
    assert [event.recorded_at for event in events] == [events[0].recorded_at] * 3
    assert [event.time - events[0].time for event in events[:2]] == [timedelta(0), timedelta(hours=-1)]
    assert events[2].time == datetime(2000, 1, 1, tzinfo=UTC)
    assert all(moment.tzinfo is UTC for event in events for moment in (event.time, event.recorded_at))
