"""Promise 13: `clear()` has its place in the order; sequences go on, and whoever was owed what it removed is told."""

import asyncio
import gc
import sqlite3
import weakref
from contextlib import closing

import pytest

from asyncbus import BusClosedError, Event, EventBus, EventsLostError, StoreFullError
from tests.behaviour.stage import Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.fault(36)
async def test_the_log_is_empty_and_sequences_go_on(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 5)
        await bus.clear()
        assert await bus.latest_sequence() == bus.statistics().head == 5
        assert await bus.query() == bus.recent() == [event async for event in bus.replay()] == []
        assert (await bus.publish("a")).sequence == 6
        assert sequences(await bus.query()) == sequences(bus.recent()) == [6]


@pytest.mark.fault(36)
async def test_numbers_are_not_used_twice_after_a_restart_either(log: Log) -> None:
    for first in (1, 6):
        async with log.bus() as bus:
            assert (await bus.publish_many([("a", None)] * 5))[0].sequence == first
            await bus.clear()
    async with log.bus() as bus:
        assert await bus.latest_sequence() == 10
        assert await bus.query() == []
        with pytest.raises(EventsLostError) as caught:
            bus.subscribe("a", start=3)
        assert (caught.value.first, caught.value.last) == (3, 10)
        assert (await bus.publish("a")).sequence == 11


async def test_it_removes_what_was_accepted_before_the_call_and_nothing_after_it(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        events = bus.subscribe("*")
        store.gate.clear()
        before = [bus.publish_nowait("a", "in flight")]
        await store.appending.wait()
        before.append(bus.publish_nowait("a", "in the inbox"))
        clearing = asyncio.create_task(bus.clear())
        await ticks(2)
        assert not clearing.done()
        after = bus.publish_nowait("a", "after")
        store.gate.set()
        await clearing
        assert [(await receipt).sequence for receipt in (*before, after)] == [1, 2, 3]
        assert payloads(await bus.query()) == ["after"]
        # It was live, and all of it was in its queue: nothing of what it is owed is gone.
        assert payloads(await take(events, 3)) == ["in flight", "in the inbox", "after"]


async def test_live_subscriptions_go_on_at_the_next_event(log: Log) -> None:
    seen: list[int] = []
    async with log.bus() as bus:
        bus.subscribe("a", lambda event: seen.append(event.sequence))
        level = bus.subscribe("a", start="earliest")
        await bus.publish_many([("a", None)] * 5)
        assert sequences(await take(level, 5)) == [1, 2, 3, 4, 5]
        await bus.drain()
        await bus.clear()
        await bus.publish("a")
        await bus.drain()
        assert seen == [1, 2, 3, 4, 5, 6]
        assert (await anext(level)).sequence == 6


async def test_whoever_was_owed_cleared_events_is_told(log: Log) -> None:
    async with log.bus() as bus:
        handled = bus.subscribe("never", lambda event: None)
        slow = bus.subscribe("a", capacity=2)
        await bus.publish_many([("a", None)] * 5)
        late = bus.subscribe("a", start="earliest")
        replay = bus.replay()
        await bus.clear()
        await bus.publish("a")
        assert sequences(await take(slow, 2)) == [1, 2]
        for reader, first in ((late, 1), (slow, 3), (replay, 1)):
            with pytest.raises(EventsLostError) as caught:
                await anext(reader)
            assert (caught.value.first, caught.value.last) == (first, 5)
        assert handled.error is None
        assert sequences(await take(bus.subscribe("a", start="earliest"), 1)) == [6]


async def test_a_reader_that_falls_behind_after_a_clear_was_owed_nothing_of_what_was_removed(log: Log) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("a", capacity=2)
        await bus.publish_many([("a", None), ("a", None), ("b", None)])
        await bus.clear()
        await bus.publish("a")
        assert events.phase == "catching_up"
        assert sequences(await take(events, 3)) == [1, 2, 4]


async def test_a_reader_in_the_middle_of_a_page_finishes_it_and_is_told(log: Log) -> None:
    async with log.bus() as bus:
        for _ in range(3):
            await bus.publish_many([("a", None)] * 1000)
    async with log.bus() as bus:
        events = bus.subscribe("a", start="earliest")
        await take(events, 10)
        await bus.clear()
        got = 10

        async def read_on() -> None:
            nonlocal got
            async for event in events:
                got += 1
                assert event.sequence == got

        with pytest.raises(EventsLostError) as caught:
            await read_on()
        assert (caught.value.first, caught.value.last) == (got + 1, 3000)
        assert events.position == got < 3000


async def test_clearing_an_empty_log_is_nothing(log: Log) -> None:
    async with log.bus() as bus:
        await bus.clear()
        await bus.clear()
        assert (await bus.publish("a")).sequence == 1
        await bus.clear()
        await bus.clear()
        assert (await bus.publish("a")).sequence == 2
        assert sequences(await bus.query()) == [2]


async def test_a_clear_cancelled_before_the_writer_came_to_it_removes_nothing(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        bus.publish_nowait("a")
        await store.appending.wait()
        clearing = asyncio.create_task(bus.clear())
        await ticks(2)
        clearing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await clearing
        store.gate.set()
        await bus.flush()
        assert len(await bus.query()) == 1


async def test_a_clear_cancelled_once_it_has_begun_is_done(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        await bus.publish("a")
        begun, going = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            begun.set()
            await going.wait()

        store.pause = wait
        clearing = asyncio.create_task(bus.clear())
        await begun.wait()
        clearing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await clearing
        store.pause = None
        going.set()
        assert (await bus.publish("a", "after")).sequence == 2
        assert payloads(await bus.query()) == ["after"]


async def test_a_handler_may_clear(log: Log) -> None:
    async with log.bus() as bus:

        async def clear(event: Event) -> None:
            if event.data == "clear":
                await bus.clear()

        clearing = bus.subscribe("a", clear)
        await bus.publish_many([("a", None), ("a", "clear"), ("a", None)])
        await bus.drain()
        assert (clearing.statistics().errors, clearing.position) == (0, 3)
        assert await bus.query() == []


async def test_a_closed_bus_is_not_cleared(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a")
    with pytest.raises(BusClosedError):
        await bus.clear()
    async with log.bus() as bus:
        assert len(await bus.query()) == 1


async def test_closing_waits_for_it(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        await bus.publish("a")
        clearing = asyncio.create_task(bus.clear())
        await ticks(1)
    await clearing
    assert store.floor == 1


async def test_a_clear_the_writer_never_came_to_is_an_error(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, close_timeout=0.01) as bus:
        store.gate.clear()
        bus.publish_nowait("a")
        await store.appending.wait()
        clearing = asyncio.create_task(bus.clear())
        await ticks(1)
    with pytest.raises(BusClosedError):
        await clearing


async def test_what_was_removed_is_on_record_in_the_file(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish_many([("a", None)] * 5)
        await bus.clear()
        await bus.clear()
        await bus.publish_many([("a", None)] * 2)
        await bus.clear()
        with closing(sqlite3.connect(file_log.path)) as other:
            removals = other.execute("SELECT first, last, reason FROM removals").fetchall()
    assert removals == [(1, 5, "clear"), (6, 7, "clear")]


async def test_a_catching_up_handler_that_lost_events_ends_with_the_error(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 5)
        clearing = asyncio.create_task(bus.clear())
        await ticks(1)
        events = bus.subscribe("a", lambda event: None, start="earliest")
        await clearing
        await bus.publish("a")
        await bus.drain()
        await until(lambda: events.position == 6 or events.error is not None)
        # Either it was faster than the removal, or it was told.
        assert (events.error is None) == (events.statistics().delivered == 6)


async def test_a_bus_whose_log_could_not_be_cleared_is_forgotten_when_it_is_closed(log: Log) -> None:
    store = log.staged()
    store.clear_faults.append(StoreFullError("no space to note it"))
    async with EventBus(store) as bus:
        bus.publish_nowait("a")  # in the batch after which the log is to be cleared, and in memory from then on
        with pytest.raises(StoreFullError):
            await bus.clear()
    left = weakref.ref(bus)
    del bus
    await ticks(2)
    gc.collect()
    assert left() is None
