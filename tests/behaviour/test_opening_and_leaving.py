"""A bus and its subscriptions are left in many ways; each releases what it held and loses nothing it accepted."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from asyncbus import Bounds, EventBus, MemoryStore
from tests.behaviour.stage import Log, Reading, payloads, sequences, take, ticks

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


class TroubleError(Exception):
    """What goes wrong in the body of `async with`."""


@pytest.mark.parametrize("way", ["exception", "cancellation"])
async def test_leaving_by_an_exception_commits_what_was_accepted_and_delivers_no_more(way: str, log: Log) -> None:
    store = log.staged()
    handled: list[int] = []
    bus = EventBus(store)
    readings: list[Reading] = []
    entered = asyncio.Event()

    async def body() -> None:
        async with bus:
            bus.subscribe("a", lambda event: handled.append(event.sequence))
            readings.append(Reading(bus.subscribe("a")))
            await ticks(3)
            store.gate.clear()
            for number in range(5):
                bus.publish_nowait("a", number)
            await store.appending.wait()
            asyncio.get_running_loop().call_later(0.01, store.gate.set)
            entered.set()
            if way == "exception":
                raise TroubleError
            await asyncio.Event().wait()

    running = asyncio.create_task(body())
    await entered.wait()
    if way == "cancellation":
        running.cancel()
    with pytest.raises(TroubleError if way == "exception" else asyncio.CancelledError):
        await running
    await readings[0].task
    assert readings[0].ended
    assert readings[0].got == handled == []
    async with EventBus(store) as again:
        assert payloads(await again.query()) == list(range(5))


async def test_leaving_within_a_timeout_that_is_over_closes_as_well(log: Log) -> None:
    bus = log.bus()

    async def body() -> None:
        async with asyncio.timeout(None) as limit, bus:
            bus.publish_nowait("a")
            limit.reschedule(asyncio.get_running_loop().time())
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await body()
    assert bus.health().status == "closed"
    async with log.bus() as again:
        assert len(await again.query()) == 1


# -------------------------------------------------------------------------------- opened in one task, closed in another


@pytest_asyncio.fixture
async def open_bus(log: Log) -> AsyncIterator[EventBus]:
    async with log.bus() as bus:
        yield bus


async def test_a_bus_may_live_in_a_fixture(open_bus: EventBus) -> None:
    events = open_bus.subscribe("a")
    await open_bus.publish("a")
    assert sequences(await take(events, 1)) == [1]


async def test_a_bus_may_be_opened_and_closed_by_different_tasks(log: Log) -> None:
    bus = log.bus()
    await asyncio.create_task(bus.__aenter__())
    assert (await bus.publish("a")).sequence == 1
    await asyncio.create_task(bus.close())
    assert bus.health().status == "closed"


async def test_a_bus_may_live_in_an_exit_stack(log: Log) -> None:
    async with contextlib.AsyncExitStack() as stack:
        bus = await stack.enter_async_context(log.bus())
        await stack.enter_async_context(bus.subscribe("a"))
        await bus.publish("a")


@pytest.mark.parametrize("tick", [0, 1, 2, 5, 20, 100, 200, 400, 800, 1600])
async def test_opening_may_be_cancelled_at_any_moment(tick: int, log: Log) -> None:
    bus = log.bus()
    opening = asyncio.create_task(bus.__aenter__())
    await ticks(tick)
    opening.cancel()
    await asyncio.wait([opening])
    await bus.close()
    # No thread is left (the leak guard looks), and no lock either.
    async with log.bus() as again:
        assert (await again.publish("a")).sequence == 1


class DoorStore(MemoryStore):
    """Knows whether it is open."""

    is_open = False

    async def open(self) -> Bounds:
        self.is_open = True
        return await super().open()

    async def close(self) -> None:
        self.is_open = False


@pytest.mark.parametrize("until_cancelled", range(5))
@pytest.mark.parametrize("until_shut_down", range(5))
async def test_a_loop_that_is_shut_down_while_an_opening_is_undone_leaves_no_store_open(
    until_cancelled: int, until_shut_down: int
) -> None:
    bus = EventBus(store := DoorStore())
    opening = asyncio.create_task(bus.__aenter__())
    await ticks(until_cancelled)
    opening.cancel()
    await ticks(until_shut_down)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, opening, return_exceptions=True)
    if not opening.cancelled():  # it came too late
        await bus.close()
    assert not store.is_open


# ------------------------------------------------------------------------------------------------------------ leftovers


async def leave_by_break(bus: EventBus) -> None:
    async with bus.subscribe("a", start="earliest") as events:
        async for _ in events:
            break


async def leave_by_an_exception(bus: EventBus) -> None:
    with contextlib.suppress(TroubleError):
        async with bus.subscribe("a", start="earliest") as events:
            async for _ in events:
                raise TroubleError


async def leave_by_closing(bus: EventBus) -> None:
    events = bus.subscribe("a", start="earliest")
    async for _ in events:
        await events.close()


async def wait_for_one(bus: EventBus) -> None:
    await bus.wait_for("a", start="earliest")


async def wait_in_vain(bus: EventBus) -> None:
    with pytest.raises(TimeoutError):
        await bus.wait_for("b", timeout=0)


@pytest.mark.fault(71)
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_an_exception, leave_by_closing, wait_for_one, wait_in_vain])
async def test_a_subscription_that_is_left_is_released_at_once(
    leave: Callable[[EventBus], Awaitable[None]], log: Log
) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 3)
        await leave(bus)
        assert bus.statistics().subscriptions == ()
        assert (await bus.publish("a")).sequence == 4


async def test_a_subscription_closed_while_somebody_waits_ends_for_him(log: Log) -> None:
    async with log.bus() as bus:
        reading = Reading(events := bus.subscribe("a"))
        await ticks(3)
        await events.close()
        await events.close()
        await reading.task
        assert reading.ended
        assert [event async for event in events] == []


async def test_a_subscription_that_was_closed_is_forgotten(log: Log) -> None:
    async with log.bus() as bus:
        many = [bus.subscribe("a", lambda event: None), bus.subscribe("a"), bus.subscribe("a", start="earliest")]
        await bus.publish("a")
        for each in many:
            await each.close()
        left = [weakref.ref(each) for each in many]
        del many, each
        await ticks(2)
        gc.collect()
        assert [reference() for reference in left] == [None] * 3
