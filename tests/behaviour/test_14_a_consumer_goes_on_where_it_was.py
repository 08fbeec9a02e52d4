"""Durable consumers: the name is what is remembered; who takes it again is owed what is not done, and nothing else."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

import asyncbus
from asyncbus import Consumer, EventBus, NewEvent, Retry
from asyncbus.testing import FakeClock
from tests.behaviour.consuming import FIVE_AT_ONCE, Handler, failing, passing, publish_keys
from tests.behaviour.stage import HandClock, Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "first"),
    [("earliest", 1), ("latest", 4), (3, 3), (4, 4), (LONG_AGO, 1), (NEVER, 4)],
)
async def test_start_counts_the_first_time_a_name_is_seen_and_never_again(start: Any, first: int, log: Log) -> None:
    handler, again = Handler(), Handler()
    async with log.bus() as bus:
        await publish_keys(bus, *[None] * 3)
        consumer = bus.consume("one", "a", handler, start=start)
        await passing(consumer, 3)
        await publish_keys(bus, *[None] * 2)
        await passing(consumer, 5)
    assert handler.got == [(sequence, 1) for sequence in range(first, 6)]
    async with log.bus() as bus:
        await publish_keys(bus, None)
        await passing(bus.consume("one", "a", again, start="earliest"), 6)
    assert again.got == [(6, 1)]


async def test_latest_is_what_is_latest_when_the_bus_opens_or_the_consumer_is_made(log: Log) -> None:
    early, late = Handler(), Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None)
    bus = log.bus()
    waiting = bus.consume("early", "a", early, start="latest")
    async with bus:
        await publish_keys(bus, None)
        made = bus.consume("late", "a", late, start="latest")
        bus.publish_nowait("a")
        await passing(waiting, 3)
        await passing(made, 3)
    assert (early.sequences, late.sequences) == ([2, 3], [3])


async def test_a_consumer_that_is_closed_at_once_is_owed_what_comes_after_its_start(log: Log) -> None:
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None)
        await bus.consume("one", "a", Handler(), start="latest").close()
        await publish_keys(bus, None)
        await passing(bus.consume("one", "a", handler, start="latest"), 2)
    assert handler.sequences == [2]


async def test_a_bus_that_is_closed_at_once_has_stored_the_names_of_its_consumers(log: Log) -> None:
    handler = Handler()
    bus = log.bus()
    bus.consume("one", "a", Handler(), start="latest")
    async with bus:
        pass
    async with log.bus() as bus:
        await publish_keys(bus, None)
        await passing(bus.consume("one", "a", handler, start="latest"), 1)
    assert handler.sequences == [1]


async def test_who_has_entered_a_consumer_has_its_name_stored(file_log: Log) -> None:
    async with file_log.bus() as bus, bus.consume("one", "a", start="latest"):
        with closing(sqlite3.connect(file_log.path)) as beside:
            assert beside.execute("SELECT name FROM consumers").fetchall() == [("one",)]


async def test_a_name_goes_on_after_its_checkpoint_as_often_as_it_is_taken(log: Log) -> None:
    handler = Handler()
    for life in range(1, 5):
        async with log.bus() as bus:
            consumer = bus.consume("one", "a", handler)
            await publish_keys(bus, None, None)
            await passing(consumer, 2 * life)
    assert handler.got == [(sequence, 1) for sequence in range(1, 9)]


async def test_what_was_acknowledged_out_of_order_does_not_come_again(log: Log) -> None:
    async with log.bus() as bus:
        await publish_keys(bus, *[None] * 5)
        async with bus.consume("one", "a", ack="manual") as consumer:
            deliveries = [await anext(consumer) for _ in range(5)]
            for place in (3, 1, 4):
                await deliveries[place].ack()
            assert consumer.checkpoint == 0
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None)
        await passing(bus.consume("one", "a", handler), 6)
    assert handler.got == [(1, 2), (3, 2), (6, 1)], "the two that were in flight, one attempt higher, and what is new"


async def test_the_checkpoint_moves_over_what_is_done_without_a_gap(log: Log) -> None:
    handler = Handler()
    handler.hold(1, 4)
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handler, concurrency=5)
        await publish_keys(bus, *[None] * 5)
        await until(lambda: handler.done == [2, 3, 5])
        assert (consumer.checkpoint, consumer.backlog) == (0, 5)
        handler.release(1)
        await passing(consumer, 3)
        assert (consumer.checkpoint, consumer.backlog) == (3, 2)
        handler.release(4)
        await passing(consumer, 5)


async def test_a_clean_end_counts_no_attempt_for_a_handler_that_was_cancelled(log: Log) -> None:
    handler, again = Handler(), Handler()
    handler.hold(1, 2, 3)
    async with log.bus() as bus:
        await publish_keys(bus, *[None] * 5)
        consumer = bus.consume("one", "a", handler, concurrency=3)
        await until(lambda: len(handler.running) == 3)
        handler.release(2)
        await until(lambda: handler.running == [1, 3, 4] or handler.done == [2, 4, 5])
        assert await consumer.drain(timeout=0) >= 1
    async with log.bus() as bus:
        await passing(bus.consume("one", "a", again), 5)
    assert again.got == [(sequence, 1) for sequence in range(1, 6) if sequence not in handler.done]


async def test_a_clean_end_counts_no_attempt_for_what_waited_for_another_of_its_key(log: Log) -> None:
    """Nor is it given up for it, where one attempt is all there is."""
    handler, again = Handler(), Handler()
    handler.hold(1)
    async with log.bus() as bus:
        await bus.publish_many([NewEvent("a", key=key) for key in ("x", "x", "y")])
        consumer = bus.consume("one", "a", handler, concurrency=2, retry=Retry(attempts=1))
        await until(lambda: handler.done == [3])
        closing = asyncio.create_task(consumer.close())
        await until(lambda: not consumer.is_open)
        handler.release()
        await closing
        await passing(bus.consume("one", "a", again, retry=Retry(attempts=1)), 3)
        assert await bus.dead_letters() == []
    assert (handler.got, again.got) == ([(1, 1), (3, 1)], [(2, 1)])


async def test_what_was_begun_ahead_and_not_handed_out_is_new_after_a_clean_end(log: Log) -> None:
    handler, again = Handler(), Handler()
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 1000)
        consumer = bus.consume("one", "a", handler)
        await until(lambda: len(handler.done) > 300)
        await consumer.close()
    async with log.bus() as bus:
        await passing(bus.consume("one", "a", again), 1000)
    assert len(handler.got) < 1000, "it was closed on its way"
    assert handler.got + again.got == [(sequence, 1) for sequence in range(1, 1001)]


async def test_what_waits_for_its_retry_waits_on_in_the_next_life(log: Log) -> None:
    clock = FakeClock()
    handler = Handler(failing(1))
    retry = Retry(backoff=30, jitter=False)
    async with log.bus(clock=clock) as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler, retry=retry)
        await until(lambda: handler.done == [2] and consumer.waiting_for_retry)
    clock.advance(10)
    async with log.bus(clock=clock) as bus:
        consumer = bus.consume("one", "a", handler, retry=retry)
        await until(lambda: consumer.waiting_for_retry)
        await until(lambda: clock.sleeps[-1:] == [20])
        assert (consumer.checkpoint, handler.got) == (0, [(1, 1), (2, 1)])
        clock.advance(20)
        await passing(consumer, 2)
    assert handler.got == [(1, 1), (2, 1), (1, 2)]


async def test_another_order_than_in_the_last_life_holds_for_what_is_owed_too(log: Log) -> None:
    handler, again = Handler(failing(1, 2)), Handler()
    retry = Retry(backoff=0.01)
    async with log.bus() as bus:
        await publish_keys(bus, "x", "x", "x")
        consumer = bus.consume("one", "a", handler, order="none", retry=Retry(backoff=30))
        await until(lambda: handler.done == [3] and consumer.waiting_for_retry == 2)
        await consumer.close()
        clock = HandClock(bus._clock.now())
    async with log.bus(clock=clock) as bus:
        consumer = bus.consume("one", "a", again, order="strict", concurrency=3, retry=retry)
        await passing(consumer, 3)
    assert again.got == [(1, 2), (2, 2)]


# --------------------------------------------------------------------------------------- events that do not match


async def looked_up(bus: EventBus, name: str = "rare") -> int:
    """The checkpoint as it is stored."""
    assert bus._consumers is not None
    [state] = [state for state in await bus._consumers._store.consumers() if state.name == name]
    return state.checkpoint


async def test_the_checkpoint_of_a_rare_type_passes_what_does_not_match_with_the_next_commit(file_log: Log) -> None:
    handler = Handler()
    async with file_log.bus() as bus, asyncbus.connect(file_log.path, read_only=True) as reading:
        consumer = bus.consume("rare", "rare", handler)
        await publish_keys(bus, None, type="rare")
        await passing(consumer, 1)
        for last in (100, 101, 102):
            while await bus.latest_sequence() < last:
                await bus.publish("common")
            assert consumer.checkpoint == last
            [seen] = await reading.consumers()
            assert seen.checkpoint == last - 1, "it was stored with the last event, which it has passed since"
        assert bus.statistics().batches <= 102 + 4, "passing costs no commit of its own"
    async with asyncbus.connect(file_log.path, read_only=True) as reading:
        [seen] = await reading.consumers()
        assert (seen.checkpoint, seen.backlog) == (102, 0), "closing has stored the rest"


async def test_a_closed_consumer_of_a_rare_type_is_not_behind(log: Log) -> None:
    async with log.bus() as bus:
        consumer = bus.consume("rare", "rare", Handler())
        await bus.publish_many([("common", None)] * 500)
        await passing(consumer, 500)
        await consumer.close()
        assert await looked_up(bus) == 500


# ----------------------------------------------------------------------------------------------- what it costs


async def test_checkpoints_are_stored_with_the_commits_there_are(log: Log) -> None:
    handlers = [Handler() for _ in range(5)]
    async with log.bus() as bus:
        consumers = [bus.consume(f"c{place}", "a", handler) for place, handler in enumerate(handlers)]
        await bus.publish_many([("a", None)] * 2000)
        for consumer in consumers:
            await passing(consumer, 2000)
        assert bus.statistics().batches < 200, "not one for each event, nor for each consumer"
    assert [handler.sequences for handler in handlers] == [list(range(1, 2001))] * 5


async def test_consumers_without_work_store_nothing(log: Log) -> None:
    async with log.bus() as bus:
        consumers: list[Consumer] = [bus.consume(f"c{place}", "a", Handler()) for place in range(20)]
        await publish_keys(bus, None)
        for consumer in consumers:
            await passing(consumer, 1)
        for consumer in consumers:
            await consumer.saved()
        before = bus.statistics().batches
        await ticks(500)
        assert bus.statistics().batches == before


async def test_a_pattern_of_several_parts_is_one_consumer(log: Log) -> None:
    handler = Handler()
    async with log.bus() as bus:
        consumer = bus.consume("one", ["a", "b.*"], handler, retry=FIVE_AT_ONCE)
        await bus.publish_many([(type, None) for type in ("a", "c", "b.x", "b", "b.y")])
        await passing(consumer, 5)
    assert handler.sequences == [1, 3, 5]
