"""Closing (design, 2.9): the inbox refuses, what it holds is committed, live readers finish, all of it in time."""

import asyncio
import logging
import time
from typing import Any, Literal

import pytest

import asyncbus
from asyncbus import BusClosedError, Event, EventBus, Subscription, SubscriptionOverflowError
from tests.behaviour.stage import Log, Reading, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.parametrize("waited_before", [True, False])
async def test_live_iterators_finish_their_queue_and_then_end(waited_before: bool, log: Log) -> None:
    bus = log.bus()
    async with bus:
        reading = Reading(bus.subscribe("a"), turns=20)
        if waited_before:
            await ticks(3)
        await bus.publish_many([("a", None)] * 5)
        await until(lambda: bus.statistics().subscriptions[0].delivered)
    assert reading.got == [1, 2, 3, 4, 5]
    await reading.task
    assert reading.ended


async def test_handlers_finish_their_queue(log: Log) -> None:
    handled: list[int] = []

    async def handle(event: Event) -> None:
        await ticks(20)
        handled.append(event.sequence)

    async with log.bus() as bus:
        bus.subscribe("a", handle)
        await bus.publish_many([("a", None)] * 5)
    assert handled == [1, 2, 3, 4, 5]


async def test_the_event_being_handled_is_finished(log: Log) -> None:
    handled: list[int] = []
    reached = asyncio.Event()

    async def handle(event: Event) -> None:
        reached.set()
        await ticks(100)
        handled.append(event.sequence)

    async with log.bus() as bus:
        bus.subscribe("a", handle)
        await bus.publish("a")
        await reached.wait()
    assert handled == [1]


async def test_what_was_accepted_is_committed_and_delivered(log: Log) -> None:
    handled: list[Any] = []
    store = log.staged()
    bus = EventBus(store)
    async with bus:
        bus.subscribe("a", lambda event: handled.append(event.data))
        reading = Reading(bus.subscribe("a"))
        store.gate.clear()
        pending = [bus.publish_nowait("a", number) for number in range(10)]
        pending += [await asyncio.to_thread(bus.publish_from_thread, "a", number) for number in range(10, 20)]
        asyncio.get_running_loop().call_soon(store.gate.set)
    assert [(await receipt).sequence for receipt in pending] == list(range(1, 21))
    assert handled == list(range(20))
    await reading.task
    assert reading.got == list(range(1, 21))


async def test_a_subscription_that_overflows_while_the_bus_closes_still_gives_what_it_holds(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        events = bus.subscribe("a", capacity=2, when_full="fail")
        store.gate.clear()
        await bus.publish("a", ack="accepted")
        await bus.publish("a", ack="accepted")
        await bus.publish("a", ack="accepted")
        asyncio.get_running_loop().call_soon(store.gate.set)

    assert sequences(await take(events, 2)) == [1, 2]
    with pytest.raises(SubscriptionOverflowError):
        await anext(events)


async def test_readers_that_are_catching_up_stop_where_they_are(log: Log) -> None:
    async with log.bus() as bus:
        for _ in range(3):
            await bus.publish_many([("a", None)] * 2000)
    handled: list[int] = []

    async def handle(event: Event) -> None:
        handled.append(event.sequence)
        await asyncio.sleep(0)

    bus = log.bus()
    async with bus:
        reading = Reading(iterated := bus.subscribe("a", start="earliest"), turns=1)
        handling = bus.subscribe("a", handle, start="earliest")
        await until(lambda: len(handled) > 10 and len(reading.got) > 10)
    await reading.task
    assert reading.ended
    assert 10 < len(handled) < 6000
    assert handled == list(range(1, handling.position + 1))
    assert reading.got == list(range(1, iterated.position + 1))
    assert handling.error is iterated.error is None


async def test_publishers_in_line_get_an_error(log: Log) -> None:
    store = log.staged()
    bus = EventBus(store, inbox_capacity=2)
    async with bus:
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        accepted = [bus.publish_nowait("a", 1), bus.publish_nowait("a", 2)]
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(bus.publish("a", "in line")),
            asyncio.create_task(bus.publish("a", "in line", ack="accepted", timeout=60)),
            asyncio.create_task(bus.publish_many([("a", "in line")])),
            asyncio.create_task(asyncio.to_thread(bus.publish_from_thread, "a", "in line")),
        ]
        await until(lambda: bus.statistics().waiting_publishers == 4)
        asyncio.get_running_loop().call_soon(store.gate.set)
    for publishing in waiting:
        with pytest.raises(BusClosedError):
            await publishing
    assert [(await receipt).sequence for receipt in accepted] == [2, 3]
    async with EventBus(store) as again:
        assert payloads(await again.query()) == ["in flight", 1, 2]


# -------------------------------------------------------------------------------------------------------- close_timeout


class Hanging:
    """Handlers that do not come to an end by themselves."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.cancelled = 0

    async def hang(self, event: Event) -> None:
        self.reached.set()
        await asyncio.Event().wait()

    async def swallow(self, event: Event) -> None:
        self.reached.set()
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.cancelled += 1


@pytest.mark.fault(57)
@pytest.mark.fault(58)
@pytest.mark.parametrize("how", ["hang", "swallow"])
async def test_a_handler_that_never_ends_is_left_behind_by_name(
    how: str, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    hanging = Hanging()
    handled: list[int] = []
    bus = log.bus(close_timeout=0.05)
    async with bus:
        bus.subscribe("a", getattr(hanging, how))
        bus.subscribe("a", lambda event: handled.append(event.sequence))
        await bus.publish_many([("a", None)] * 3)
        await hanging.reached.wait()
        (task,) = [task for task in asyncio.all_tasks() if f"Hanging.{how}" in task.get_name()]
        began = time.monotonic()
    assert time.monotonic() - began < 5, "close_timeout was 0.05 s, and a cancelled handler gets a second to clean up"
    assert handled == [1, 2, 3]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any(f"Hanging.{how}" in message for message in told)
    assert task.done() == (how == "hang")
    hanging.released.set()
    await asyncio.wait([task])


async def test_a_store_that_never_answers_is_not_waited_for(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    store = log.staged()
    bus = EventBus(store, close_timeout=0.05)
    async with bus:
        store.gate.clear()
        taken = asyncio.create_task(bus.publish("a"))
        await store.appending.wait()
        queued = bus.publish_nowait("a")
    with pytest.raises(asyncbus.PublishOutcomeUnknownError):
        await taken
    with pytest.raises(asyncbus.AsyncBusError):
        await queued
    assert any("store" in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


@pytest.mark.parametrize("blocked", ["before", "by what is committed while closing"])
async def test_a_block_that_nobody_will_lift_is_not_waited_for(blocked: str, log: Log) -> None:
    store = log.staged(batch_limit=2)
    bus = EventBus(store, close_timeout=60)
    async with bus:
        bus.subscribe("a", when_full="block", capacity=1)  # and nobody reads it
        if blocked == "before":
            await bus.publish("b")
            accepted = [bus.publish_nowait("a") for _ in range(6)]
            await until(lambda: bus.statistics().blocked_by)
        else:
            store.gate.clear()
            accepted = [bus.publish_nowait("b"), *(bus.publish_nowait("a") for _ in range(6))]
            await store.appending.wait()
            asyncio.get_running_loop().call_later(0.01, store.gate.set)
    assert [(await receipt).sequence for receipt in accepted] == list(range(accepted[0].result().sequence, 8))


async def test_a_block_that_its_reader_does_not_lift_in_time_costs_nothing_that_was_accepted(log: Log) -> None:
    store = log.staged(batch_limit=2)
    bus = EventBus(store, close_timeout=0.05)
    elsewhere = asyncio.Event()

    async def read_one_and_leave_it(events: Subscription) -> None:
        await anext(events)
        await elsewhere.wait()

    async with bus:
        reading = asyncio.create_task(read_one_and_leave_it(bus.subscribe("a", when_full="block", capacity=1)))
        await ticks(2)
        accepted = [bus.publish_nowait("a") for _ in range(7)]
        await until(lambda: bus.statistics().blocked_by)
    assert [(await receipt).sequence for receipt in accepted] == list(range(1, 8))
    elsewhere.set()
    await reading


# --------------------------------------------------------------------------------------- closing from within, and twice


async def test_a_handler_may_close_the_bus(log: Log) -> None:
    after: list[str] = []
    bus = log.bus()

    async def close(event: Event) -> None:
        await bus.close()
        after.append(bus.health().status)

    async with bus:
        bus.subscribe("stop", close)
        reading = Reading(bus.subscribe("*"))
        await bus.publish("a")
        await bus.publish("stop")
        await until(lambda: after)
    assert after == ["closed"]
    await reading.task
    assert reading.got == [1, 2]


@pytest.mark.parametrize("closers", ["two handlers", "a handler while the bus is being left"])
async def test_those_who_close_at_the_same_time_do_not_wait_for_each_other(closers: str, log: Log) -> None:
    bus = log.bus(close_timeout=60)
    going = asyncio.Event()
    closed: list[int] = []

    async def close(event: Event) -> None:
        await going.wait()
        await bus.close()
        closed.append(event.sequence)

    async with bus:
        bus.subscribe("stop", close)
        if closers == "two handlers":
            bus.subscribe("stop", close)
            going.set()
        else:
            asyncio.get_running_loop().call_later(0.01, going.set)
        await bus.publish("stop")
    await until(lambda: len(closed) == (2 if closers == "two handlers" else 1))


async def test_closing_twice_is_closing_once(log: Log) -> None:
    bus = log.bus()
    async with bus:
        await bus.publish("a")
        await asyncio.gather(bus.close(), bus.close())
        await bus.close()
    await bus.close()
    assert bus.health().status == "closed"


async def test_a_bus_is_opened_once(log: Log) -> None:
    bus = log.bus()
    async with bus:
        with pytest.raises(BusClosedError, match="once"):
            await bus.__aenter__()
        await bus.publish("a")
    with pytest.raises(BusClosedError, match="once"):
        await bus.__aenter__()


async def test_a_bus_that_never_opened_closes(log: Log) -> None:
    bus = log.bus()
    events = bus.subscribe("a")
    await bus.close()
    assert [event async for event in events] == []
    with pytest.raises(BusClosedError):
        bus.subscribe("a")


async def test_whoever_cancels_the_closing_does_not_stop_it(log: Log) -> None:
    store = log.staged()
    bus = EventBus(store)
    await bus.__aenter__()
    store.gate.clear()
    accepted = bus.publish_nowait("a")
    await store.appending.wait()
    closing = asyncio.create_task(bus.close())
    await ticks(3)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    store.gate.set()
    await bus.close()
    assert (await accepted).sequence == 1
    assert bus.health().status == "closed"


@pytest.mark.parametrize("tick", range(1, 30))
async def test_a_loop_that_is_shut_down_while_the_bus_closes_releases_the_file(tick: int, file_log: Log) -> None:
    bus = file_log.bus()
    await bus.__aenter__()
    asyncio.create_task(bus.close())  # noqa: RUF006  # it is found among all tasks, as `asyncio.run` does
    await ticks(tick)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with file_log.bus() as again:
        await again.publish("a")


async def test_who_waits_for_an_event_is_told_that_none_will_come(log: Log) -> None:
    async with log.bus() as bus:
        waiting = asyncio.ensure_future(bus.wait_for("a"))
        await ticks(2)
    with pytest.raises(BusClosedError):
        await waiting


@pytest.mark.parametrize("how", ["live", "catching up"])
async def test_a_follower_closes_in_the_same_order(
    how: Literal["live", "catching up"], file_log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[int] = []

    async def handle(event: Event) -> None:
        await ticks(20)
        handled.append(event.sequence)

    async with file_log.bus() as bus:
        await bus.publish_many([("a", None)] * 5)
        follower = asyncbus.connect(file_log.path, read_only=True)
        async with follower:
            start: Any = "latest" if how == "live" else "earliest"
            reading = Reading(iterated := follower.subscribe("a", start=start), turns=5)
            handling = follower.subscribe("a", handle, start=start)
            await bus.publish_many([("a", None)] * 5)
            await until(lambda: follower.statistics().head == 10 and reading.got)
        await reading.task
        assert reading.ended
        assert iterated.error is handling.error is None
        if how == "live":
            assert handled == reading.got == list(range(6, 11))
        assert follower.health().status == "closed"
        with pytest.raises(BusClosedError):
            await follower.query()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
