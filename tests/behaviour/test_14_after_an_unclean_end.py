"""Durable consumers after an unclean end: what may have caused it runs alone, and nobody pays for another's crash."""

from pathlib import Path
from typing import Any

import pytest

from asyncbus import Consumer, Delivery, EventBus, Retry
from asyncbus.lanes import Order
from asyncbus.store.consumers import Owed
from asyncbus.testing import FakeClock
from tests.behaviour.consuming import FIVE_AT_ONCE, Handler, crashed, failing, keeping, passing, publish_keys, quiet
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]

ONCE = Retry(attempts=1)


async def left_in_flight(log: Log, folder: Path, *keys: str | None, hold: tuple[int, ...], order: Order = "key") -> Log:
    """One event for each key, of which a consumer has these in flight when its process is killed."""
    handler = Handler()
    handler.hold(*hold)
    async with log.bus() as bus:
        await publish_keys(bus, *keys)
        bus.consume("one", "a", handler, concurrency=len(keys), order=order)
        await until(lambda: sorted(handler.running) == sorted(hold))
        await quiet(bus)
        found = crashed(log, folder)
        handler.release()
    return found


def careful(bus: EventBus, handler: Handler, **options: Any) -> Consumer:
    """One that would have ten events in flight, if it might."""
    return bus.consume("one", "a", handler, **{"concurrency": 10, **options})


@pytest.mark.fault(62)
async def test_what_was_in_flight_comes_again_alone_and_then_all_goes_on_at_once(log: Log, tmp_path: Path) -> None:
    found = await left_in_flight(log, tmp_path, *[None] * 6, hold=(1, 2, 4, 5, 6))
    handler = Handler(lambda _: ticks(5))
    async with found.bus() as bus:
        await publish_keys(bus, *[None] * 10)
        consumer = careful(bus, handler)
        await until(lambda: len(handler.done) >= 5)
        assert handler.got[:5] == [(1, 2), (2, 2), (4, 2), (5, 2), (6, 2)]
        assert handler.most == 1
        await passing(consumer, 16)
        assert handler.most > 1
        assert sorted(handler.got[5:]) == [(sequence, 1) for sequence in range(7, 17)]
        assert consumer.statistics().redelivered == 5


@pytest.mark.parametrize("concurrency", [2, 10])
async def test_what_waited_for_another_of_its_key_was_not_in_flight(concurrency: int, log: Log, tmp_path: Path) -> None:
    handler, again = Handler(), Handler()
    handler.hold(1)
    async with log.bus() as bus:
        await publish_keys(bus, *["x"] * 8)
        bus.consume("one", "a", handler, concurrency=concurrency)
        await until(lambda: handler.running)
        await quiet(bus)
        found = crashed(log, tmp_path)
        handler.release()
    async with found.bus() as bus:
        await passing(careful(bus, again), 8)
    assert again.got == [(1, 2)] + [(sequence, 1) for sequence in range(2, 9)]


async def test_an_attempt_is_counted_also_where_the_event_waited_for_another_of_its_key(
    log: Log, tmp_path: Path
) -> None:
    """Or a process that it ends each time would begin anew for ever."""
    found = await left_in_flight(log, tmp_path, "x", "y", "x", hold=(1, 2, 3), order="none")
    handler, again = Handler(failing(1, times=3)), Handler()
    handler.hold(3)
    clock = FakeClock()
    async with found.bus(clock=clock) as bus:
        careful(bus, handler, retry=Retry(backoff=30, jitter=False))
        await until(lambda: handler.done == [2] and clock.sleeps == [30])
        clock.advance(30)
        await until(lambda: clock.sleeps == [30, 30])
        clock.advance(30)
        await until(lambda: 3 in handler.running)
        assert handler.got == [(1, 2), (2, 2), (1, 3), (1, 4), (3, 2)]
        found = crashed(found, tmp_path)
        handler.release()
    async with found.bus() as bus:
        await passing(careful(bus, again), 3)
    assert again.got == [(3, 3)]


async def test_what_was_passed_over_for_its_key_is_new_though_a_later_event_was_in_flight(
    log: Log, tmp_path: Path
) -> None:
    found = await left_in_flight(log, tmp_path, "x", "x", "y", "x", hold=(1, 3))
    again = Handler()
    async with found.bus() as bus:
        await passing(careful(bus, again), 4)
    assert sorted(again.got) == [(1, 2), (2, 1), (3, 2), (4, 1)]


async def test_what_is_new_waits_until_the_last_suspect_has_run(log: Log, tmp_path: Path) -> None:
    """However often another one has failed meanwhile."""
    found = await left_in_flight(log, tmp_path, None, None, None, hold=(1, 2, 3))
    handler = Handler(failing(1, times=3))
    handler.hold(3)
    async with found.bus() as bus:
        await publish_keys(bus, *[None] * 5)
        consumer = careful(bus, handler, retry=FIVE_AT_ONCE)
        await until(lambda: 3 in handler.running)
        await quiet(bus)
        assert (handler.running, handler.most) == ([3], 1)
        handler.release()
        await passing(consumer, 8)


async def test_a_clean_end_in_between_acquits_nobody_and_condemns_nobody(log: Log, tmp_path: Path) -> None:
    """Where one attempt is all there is, none of those that were in flight is parked for a crash and a restart."""
    found = await left_in_flight(log, tmp_path, *[None] * 5, hold=(1, 2, 3, 4, 5))
    handler, again = Handler(), Handler(lambda _: ticks(5))
    handler.hold(2)
    async with found.bus(close_timeout=0) as bus:
        careful(bus, handler, retry=ONCE)
        await until(lambda: handler.running == [2])
    async with found.bus() as bus:
        consumer = careful(bus, again, retry=ONCE)
        await passing(consumer, 5)
        assert again.sequences == [2, 3, 4, 5]
        assert again.most == 1
        assert await bus.dead_letters() == []
        await consumer.close()
        [seen] = await bus.consumers()
        assert seen.active_since is None


async def test_a_consumer_that_stops_at_what_has_ended_its_process_tries_it_once_more_when_it_is_consumed_again(
    log: Log, tmp_path: Path
) -> None:
    """As its error says: mend the cause, then consume it again."""
    found = await left_in_flight(log, tmp_path, None, None, hold=(1,))
    handler = Handler()
    handler.hold(1)
    async with found.bus() as bus:
        careful(bus, handler, retry=Retry(attempts=2), on_exhausted="stop")
        await until(lambda: handler.running == [1])
        found = crashed(found, tmp_path)
        handler.release()
    mended = Handler()
    async with found.bus() as bus:
        stopped = careful(bus, mended, retry=Retry(attempts=2), on_exhausted="stop")
        await until(lambda: stopped.error is not None)
        assert "event 1" in str(stopped.error)
        assert mended.got == []
        await stopped.close()
        consumer = careful(bus, mended, retry=Retry(attempts=2), on_exhausted="stop")
        await passing(consumer, 2)
    assert mended.sequences == [1]


@pytest.mark.fault(61)
async def test_the_attempt_is_stored_before_the_handler_runs(log: Log) -> None:
    stored: list[int] = []

    async def look(delivery: Delivery) -> None:
        [state] = await store.consumers()
        sequence = delivery.event.sequence
        owed = state.owed.get(sequence) or Owed(int(state.settled_to < sequence <= state.begun_to))
        stored.append(owed.attempts)
        if delivery.attempt < 3:
            raise RuntimeError("again")

    handler = Handler(look)
    store = keeping(log)
    async with EventBus(store) as bus:
        await publish_keys(bus, None, None)
        await passing(bus.consume("one", "a", handler, concurrency=2, retry=FIVE_AT_ONCE), 2)
    assert sorted(handler.got) == [(sequence, attempt) for sequence in (1, 2) for attempt in (1, 2, 3)]
    assert stored == [attempt for _, attempt in handler.got]


async def test_a_retry_that_waits_at_the_crash_waits_on_and_counts_no_attempt(log: Log, tmp_path: Path) -> None:
    clock = FakeClock()
    retry = Retry(backoff=30, jitter=False)
    handler, again = Handler(failing(1)), Handler()
    async with log.bus(clock=clock) as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler, retry=retry)
        await until(lambda: handler.done == [2] and consumer.waiting_for_retry)
        await bus.publish("b")
        await bus.flush()
        found = crashed(log, tmp_path)
    async with found.bus(clock=clock) as bus:
        consumer = careful(bus, again, retry=retry)
        await until(lambda: consumer.waiting_for_retry)
        await ticks(50)
        clock.advance(30)
        await passing(consumer, 2)
    assert (1, 2) in again.got
