import asyncio
import inspect
from typing import Any, get_type_hints

import pytest

from asyncbus.bus import EventBus
from asyncbus.connect import BusOptions
from asyncbus.errors import AsyncBusError, BusClosedError, StoreFullError
from asyncbus.events import Event, Receipt
from asyncbus.store.base import Appended, Bounds
from asyncbus.store.memory import MemoryStore
from asyncbus.subscribing import SubscribeOptions
from tests.fakes import GatedStore, ManualClock, until


def options_of(function: Any) -> set[str]:
    return {name for name, parameter in inspect.signature(function).parameters.items() if parameter.kind == 3}


def test_a_decorator_takes_what_subscribe_takes() -> None:
    assert set(get_type_hints(SubscribeOptions)) == options_of(EventBus.subscribe)


def test_connect_passes_on_all_options_of_the_bus_but_the_clock_of_tests() -> None:
    assert set(get_type_hints(BusOptions)) == options_of(EventBus.__init__) - {"clock"}


def test_a_decorated_function_stays_the_function_it_is() -> None:
    def handler(event: Event) -> None: ...

    assert EventBus().on("a")(handler) is handler


def test_a_bus_that_is_not_open_shows_itself_and_has_nothing_to_count() -> None:
    bus = EventBus()

    assert repr(bus) == "<EventBus closed head=0 subscriptions=0>"
    assert (bus.statistics().published, bus.statistics().head, bus.health().status) == (0, 0, "closed")


# --- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_bus_is_opened_once() -> None:
    bus = EventBus()
    async with bus:
        with pytest.raises(BusClosedError, match="opened once"):
            await bus.__aenter__()
    with pytest.raises(BusClosedError, match="opened once"):
        await bus.__aenter__()


@pytest.mark.asyncio
async def test_two_tasks_cannot_both_open_a_bus() -> None:
    """It would have two writers."""

    class SlowStore(MemoryStore):
        async def open(self) -> Bounds:
            await asyncio.sleep(0)
            return await super().open()

    bus = EventBus(SlowStore())
    opened = await asyncio.gather(bus.__aenter__(), bus.__aenter__(), return_exceptions=True)
    writers = [task for task in asyncio.all_tasks() if task.get_name() == "asyncbus writer"]
    await bus.close()
    for writer in writers:
        writer.cancel()
    await asyncio.wait(writers)

    assert [type(outcome) for outcome in opened] == [EventBus, BusClosedError]
    assert len(writers) == 1


@pytest.mark.asyncio
async def test_a_bus_whose_store_could_not_be_opened_may_be_opened_again() -> None:
    class UnluckyStore(MemoryStore):
        attempts = 0

        async def open(self) -> Bounds:
            self.attempts += 1
            if self.attempts == 1:
                raise StoreFullError("no space")
            return await super().open()

    bus = EventBus(UnluckyStore())
    with pytest.raises(StoreFullError):
        await bus.__aenter__()

    async with bus:
        assert await bus.publish("a") == Receipt(1)


@pytest.mark.asyncio
async def test_handlers_registered_before_the_bus_is_opened_start_with_it() -> None:
    bus = EventBus()
    seen: list[int] = []

    @bus.on("a")
    def handler(event: Event) -> None:
        seen.append(event.sequence)

    async with bus:
        await bus.publish("a")
        await bus.drain()

    assert seen == [1]


# --- failing ---------------------------------------------------------------------------------------------------------


class Bug(MemoryStore):
    """Numbers no event: a store that breaks the protocol, and with it the fan-out."""

    async def append(self, records: Any) -> Appended:
        return Appended(1, {99: 1})


@pytest.mark.asyncio
async def test_a_bus_whose_writer_broke_down_answers_everybody_and_says_so() -> None:
    async with EventBus(Bug()) as bus:
        reader = bus.subscribe("a")
        with pytest.raises(AsyncBusError):
            await bus.publish("a")

        assert bus.health().status == "failed"
        with pytest.raises(AsyncBusError):
            await anext(reader)
        with pytest.raises(BusClosedError, match="has failed"):
            await bus.publish("a")


@pytest.mark.asyncio
async def test_nobody_can_wait_for_events_of_a_bus_that_has_failed() -> None:
    async with EventBus(Bug()) as bus:
        with pytest.raises(AsyncBusError):
            await bus.publish("a")

        with pytest.raises(AsyncBusError, match="failed"):
            await asyncio.wait_for(anext(bus.subscribe("a")), 1)


# --- waiting for one event -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_wait_for_looks_from_the_call_on_and_leaves_nothing_behind() -> None:
    async with EventBus() as bus:
        waiting = bus.wait_for("a", lambda event: event.data > 1)
        for number in range(4):
            await bus.publish("a", number)

        assert (await waiting).data == 2
        assert bus.statistics().subscriptions == ()


@pytest.mark.asyncio
async def test_a_wait_that_is_given_up_leaves_nothing_behind() -> None:
    async with EventBus() as bus:
        waiting = asyncio.ensure_future(bus.wait_for("a"))
        assert len(bus.statistics().subscriptions) == 1

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert bus.statistics().subscriptions == ()


@pytest.mark.asyncio
async def test_a_wait_has_an_end() -> None:
    async with EventBus() as bus:
        with pytest.raises(TimeoutError):
            await bus.wait_for("a", timeout=0)

        assert bus.statistics().subscriptions == ()


@pytest.mark.asyncio
async def test_who_waits_for_an_event_hears_that_the_bus_closes() -> None:
    async with EventBus() as bus:
        waiting = asyncio.ensure_future(bus.wait_for("a"))
        await asyncio.sleep(0)

    with pytest.raises(BusClosedError, match="before the event came"):
        await waiting


# --- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_statistics_say_what_waits_and_what_is_done() -> None:
    store, clock = GatedStore(), ManualClock()
    async with EventBus(store, inbox_capacity=3, clock=clock) as bus:
        store.may_append.clear()
        first = bus.publish_nowait("a", b"1")
        await until(lambda: store.appending)
        others = [bus.publish_nowait("a", b"12") for _ in range(3)]
        in_line = asyncio.ensure_future(bus.publish("a"))
        await until(lambda: bus.statistics().waiting_publishers)
        clock.pass_by(2)

        seen = bus.statistics()
        assert (seen.published, seen.stored, seen.batches, seen.head) == (4, 0, 0, 0)
        assert (seen.inbox_depth, seen.inbox_bytes, seen.inbox_high_water, seen.waiting_publishers) == (3, 6, 3, 1)

        store.may_append.set()
        await asyncio.gather(first, *others, in_line)
        seen = bus.statistics()
        assert (seen.published, seen.stored, seen.batches, seen.head) == (5, 5, 3, 5)
        assert (seen.inbox_depth, seen.inbox_bytes, seen.inbox_high_water, seen.waiting_publishers) == (0, 0, 3, 0)
        assert (seen.commit_time, seen.last_commit_time, seen.slowest_commit_time) == (2.0, 0.0, 2.0)


@pytest.mark.asyncio
async def test_the_statistics_name_the_subscriptions_in_the_order_of_offers() -> None:
    async with EventBus() as bus:
        for pattern, priority in (("b", 0), ("c", -1), ("a", 1)):
            bus.subscribe(pattern, priority=priority)

        assert [seen.name for seen in bus.statistics().subscriptions] == ["a", "b", "c"]
