import asyncio
from typing import Any

import pytest

from asyncbus.bus import EventBus
from asyncbus.errors import (
    BusClosedError,
    EventsLostError,
    StoreFailedError,
    SubscriptionBusyError,
)
from asyncbus.events import Event
from tests.fakes import Log, next_of, opened, submissions, take, until

pytestmark = pytest.mark.asyncio


def receivers(log: Log) -> tuple[Any, ...]:
    return log.fanout._index.receivers("a")


# --- ending ----------------------------------------------------------------------------------------------------------


async def test_iterating_ends_when_the_subscription_is_closed() -> None:
    log = await opened()
    reader = log.subscription()
    seen: list[int] = []

    async def read() -> None:
        async for event in reader:
            seen.append(event.sequence)  # noqa: PERF401  # the test looks at it meanwhile

    reading = asyncio.create_task(read())
    await log.commit("a")
    await until(lambda: seen)
    await reader.close()

    await reading
    assert seen == [1]


async def test_leaving_the_block_by_a_break_releases_it_at_once() -> None:
    log = await opened()

    async with log.subscription() as events:
        await log.commit("a", "a")
        async for event in events:
            assert event.sequence == 1
            break
        assert receivers(log) == (events,)

    assert receivers(log) == ()
    assert log.ended == [events]


async def test_leaving_the_block_by_an_error_releases_it_as_well() -> None:
    log = await opened()

    with pytest.raises(ZeroDivisionError):
        async with log.subscription():
            raise ZeroDivisionError

    assert receivers(log) == ()


async def test_closing_twice_is_closing_once() -> None:
    log = await opened()
    reader = log.subscription()

    await reader.close()
    await reader.close()

    assert log.ended == [reader]
    assert not reader.open


async def test_what_waits_in_the_queue_of_a_closed_reader_is_not_delivered_and_not_counted_as_delivered() -> None:
    log = await opened("a")
    reader = log.subscription("a")
    await log.commit("a", "b", "a", "a")
    await take(reader, 1)

    await reader.close()

    assert (reader.position, reader.held) == (3, 0)
    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    await log.commit("a")
    assert reader.position == 3
    assert await take(log.subscription("a", start=reader.position + 1), 3) == [4, 5, 6]


async def test_a_reader_that_is_closed_while_catching_up_knows_how_far_it_had_come() -> None:
    log = await opened("a", "a", "a")
    reader = log.subscription(start="earliest")
    await take(reader, 2)

    await reader.close()

    assert (reader.position, reader.backlog) == (2, 1)


async def test_a_live_reader_gets_what_its_queue_holds_when_the_bus_closes() -> None:
    log = await opened()
    reader = log.subscription()
    await log.commit("a", "a", "b")

    reader.finish()
    await log.commit("a")

    assert not reader.open
    assert await take(reader, 3) == [1, 2, 3]
    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    assert reader.position == 3


async def test_a_reader_that_is_catching_up_stops_where_it_is_when_the_bus_closes() -> None:
    log = await opened(*["a"] * 600)
    reader = log.subscription(start="earliest")
    await take(reader, 1)
    assert reader.phase == "catching_up"

    reader.finish()

    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    assert reader.position == 1


async def test_a_waiting_reader_hears_that_the_bus_closes() -> None:
    log = await opened()
    waiting = await next_of(log.subscription())

    for reader in receivers(log):
        reader.finish()

    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_the_error_that_ends_a_reader_comes_each_time_as_a_copy() -> None:
    log = await opened()
    reader = log.subscription()
    failure = StoreFailedError("fsync")
    reader.end(failure)

    for _ in range(2):
        with pytest.raises(StoreFailedError, match="fsync") as raised:
            await anext(reader)
        assert raised.value is not failure

    assert reader.error is failure
    assert failure.__traceback__ is None


async def test_a_live_reader_from_which_something_was_removed_is_told() -> None:
    log = await opened("a")
    waiting = await next_of(log.subscription())
    await log.store.append(submissions("a", "a"))
    await log.store.clear()

    for reader in receivers(log):
        reader.fall_back()
    log.history.clear(3)

    with pytest.raises(EventsLostError) as lost:
        await waiting

    assert (lost.value.first, lost.value.last) == (2, 3)


# --- who may read ----------------------------------------------------------------------------------------------------


async def test_a_second_task_that_waits_is_refused_and_the_first_goes_on() -> None:
    log = await opened()
    reader = log.subscription("a")
    first = await next_of(reader)

    with pytest.raises(SubscriptionBusyError, match="another task"):
        await anext(reader)

    await log.commit("a")
    assert (await first).sequence == 1


async def test_one_task_after_the_other_may_read() -> None:
    log = await opened()
    reader = log.subscription()
    await log.commit("a", "a")

    assert await asyncio.create_task(take(reader, 1)) == [1]
    assert await asyncio.create_task(take(reader, 1)) == [2]


async def test_one_that_has_a_handler_cannot_be_iterated() -> None:
    log = await opened()
    reader = log.subscription(handled=True)

    with pytest.raises(SubscriptionBusyError, match="has a handler"):
        await anext(reader)


async def test_one_whose_bus_is_not_open_yet_cannot_be_iterated() -> None:
    reader = EventBus().subscribe("a")

    with pytest.raises(BusClosedError, match="not open yet"):
        await anext(reader)
    assert (reader.position, reader.backlog, reader.phase) == (0, 0, "catching_up")


# --- where -----------------------------------------------------------------------------------------------------------


async def test_where_is_asked_after_the_pattern_and_when_the_event_is_delivered() -> None:
    log = await opened()
    asked: list[int] = []

    def where(event: Event) -> bool:
        asked.append(event.sequence)
        return bool(event.data % 2)

    reader = log.subscription("a", where=where)
    await log.commit("a", "b", "a", "a")
    await log.commit("a", "a")
    assert asked == []

    assert await take(reader, 2) == [4, 6]
    assert asked == [1, 3, 4, 5, 6]
    assert reader.delivered == 2


async def test_an_event_on_which_where_fails_is_passed_over() -> None:
    log = await opened()
    reader = log.subscription(where=lambda event: 1 / event.data)
    await log.commit("a", "a")

    with pytest.raises(ZeroDivisionError):
        await anext(reader)

    assert await take(reader, 1) == [2]


async def test_a_reader_whose_where_wants_nothing_moves_on_all_the_same() -> None:
    log = await opened("a", "a")
    reader = log.subscription(start="earliest", where=lambda event: False)
    waiting = await next_of(reader)
    await log.commit("a")
    await until(lambda: reader._waiter is not None and not reader.held)

    assert (reader.position, reader.delivered) == (3, 0)
    await reader.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


# --- what it shows ---------------------------------------------------------------------------------------------------


async def test_the_position_is_before_the_next_event_and_moves_over_those_that_do_not_match() -> None:
    log = await opened("b", "a", "b", "a")
    reader = log.subscription("a", start="earliest")
    assert (reader.position, reader.backlog) == (0, 4)

    await take(reader, 1)
    assert (reader.position, reader.backlog) == (3, 1)
    await take(reader, 1)
    assert (reader.position, reader.backlog) == (4, 0)

    await log.commit("b", "b")
    assert (reader.position, reader.backlog) == (6, 0)
    await log.commit("b", "a", "b")
    assert (reader.position, reader.backlog) == (7, 2)


async def test_the_statistics_are_a_snapshot_of_all_of_it() -> None:
    log = await opened()
    reader = log.subscription("a.*", capacity=2, when_full="drop_oldest")
    await log.commit("a.x", "a.y", "a.z", "b")
    await take(reader, 1)
    before = reader.statistics()
    await take(reader, 1)

    assert (before.name, before.pattern, before.phase) == ("a.*", "a.*", "live")
    assert (before.position, before.backlog, before.queued) == (2, 2, 1)
    assert (before.delivered, before.dropped, before.overflows) == (1, 1, 1)
    assert (before.errors, before.handler_time, before.error) == (0, 0.0, None)
    assert reader.statistics().delivered == 2


async def test_it_shows_itself() -> None:
    log = await opened("a")
    reader = log.subscription("a", start="earliest")
    assert repr(reader) == "<Subscription 'a' catching_up position=0 backlog=1>"

    await take(reader, 1)
    assert repr(reader) == "<Subscription 'a' live position=1 backlog=0>"
    await reader.close()
    assert repr(reader) == "<Subscription 'a' closed position=1 backlog=0>"
