"""What a handler publishes follows from the event it handles; `history_of` goes along that, up and down."""

import asyncio
import threading
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from asyncbus import (
    BusClosedError,
    Delivery,
    Event,
    EventBus,
    EventsLostError,
    InvalidOptionError,
    NewEvent,
    StartBeyondHeadError,
    UnsupportedFeatureError,
)
from tests.behaviour.stage import Log, StagedStore

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def causes(bus: EventBus, pattern: str = "followed") -> list[tuple[int | None, str | None]]:
    return [(event.causation_id, event.correlation_id) for event in await bus.query(pattern)]


async def test_what_a_handler_publishes_follows_from_the_event_it_handles(log: Log) -> None:
    async with log.bus() as bus:

        @bus.on("cause")
        async def handle(event: Event) -> None:
            await bus.publish("followed", event.sequence)

        @bus.on("cause")
        def handle_plainly(event: Event) -> None:
            bus.publish_nowait("plain", event.sequence)

        await bus.publish("cause", correlation_id="order 7")
        await bus.publish("cause")
        await bus.drain()
        for pattern in ("followed", "plain"):
            found = await bus.query(pattern)
            assert [event.causation_id for event in found] == [event.data for event in found]
            assert sorted(str(event.correlation_id) for event in found) == ["None", "order 7"]
        assert await causes(bus, "cause") == [(None, "order 7"), (None, None)]


async def test_so_does_what_tasks_and_threads_of_a_handler_publish_even_when_it_has_returned(log: Log) -> None:
    async with log.bus() as bus:
        tasks = []
        goes_on = asyncio.Event()

        async def later(event: Event) -> None:
            await goes_on.wait()
            await bus.publish("followed", event.sequence)

        @bus.on("cause")
        async def handle(event: Event) -> None:
            tasks.append(asyncio.create_task(later(event)))
            await asyncio.to_thread(lambda: bus.publish_from_thread("followed", event.sequence).result())
            await anyio.to_thread.run_sync(lambda: bus.publish_from_thread("followed", event.sequence).result())
            async with anyio.create_task_group() as group:
                group.start_soon(bus.publish, "followed", event.sequence)

        await bus.publish_many([("cause", None), ("cause", None)])
        await bus.drain()
        goes_on.set()
        await asyncio.gather(*tasks)
        found = await bus.query("followed")
        assert len(found) == 8
        assert all(event.causation_id == event.data for event in found)


async def test_a_thread_that_inherits_nothing_and_who_handles_nothing_have_no_cause(log: Log) -> None:
    async with log.bus() as bus:

        @bus.on("cause")
        async def handle(event: Event) -> None:
            thread = threading.Thread(target=lambda: bus.publish_from_thread("followed").result())
            thread.start()
            await asyncio.to_thread(thread.join)

        async with bus.subscribe("cause") as events:
            await bus.publish("cause", correlation_id="c")
            await anext(events)
            await bus.publish("followed")
        await bus.drain()
        assert await causes(bus) == [(None, None), (None, None)]


async def test_both_can_be_said_by_hand_and_0_is_no_cause(log: Log) -> None:
    async with log.bus() as bus:

        @bus.on("cause")
        async def handle(event: Event) -> None:
            await bus.publish("followed", causation_id=1)
            await bus.publish("followed", correlation_id="other")
            await bus.publish("followed", causation_id=0)
            await bus.publish("followed", causation_id=0, correlation_id="other")

        await bus.publish("first")
        await bus.publish("cause", correlation_id="c")
        await bus.drain()
        assert await causes(bus) == [(1, "c"), (2, "other"), (None, None), (None, "other")]


@pytest.mark.parametrize(
    "options",
    [{"causation_id": value} for value in (-1, 1.5, "1", True, 2**63)]
    + [{"correlation_id": v} for v in (5, "", "x\n")],
)
async def test_what_is_neither_is_refused(options: dict[str, Any], bus: EventBus) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        await bus.publish("a", **options)
    assert await bus.latest_sequence() == 1


async def test_the_event_of_another_bus_is_no_cause(log: Log) -> None:
    async with log.bus() as bus, EventBus() as other:

        @bus.on("cause")
        async def handle(event: Event) -> None:
            await other.publish("followed")

        await bus.publish("cause", correlation_id="c")
        await bus.drain()
        assert await causes(other) == [(None, None)]


@pytest.mark.parametrize("options", [{}, {"concurrency": 3}, {"timeout": 10.0}, {"ack": "manual"}])
async def test_a_consumers_handler_and_its_delivery_publish_what_follows(options: dict[str, Any], log: Log) -> None:
    async with log.bus() as bus:

        async def handle(event: Event, delivery: Delivery) -> None:
            await bus.publish("followed", event.sequence)
            await delivery.publish("followed", event.sequence)
            if options.get("ack") == "manual":
                await delivery.ack()

        bus.consume("one", "cause", handle, **options)
        bus.consume("two", "cause", lambda event: bus.publish_nowait("followed", event.sequence))
        await bus.publish_many([("cause", None)] * 3)
        for name in ("one", "two"):
            await bus.wait_processed(name, 3)
        found = await bus.query("followed")
        assert len(found) == 9
        assert all(event.causation_id == event.data for event in found)


async def test_an_iterating_consumer_says_by_its_delivery_what_follows(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "cause") as deliveries:
        await bus.publish("cause", correlation_id="c")
        delivery = await anext(deliveries)
        await delivery.publish("followed")
        await bus.publish("followed")
        assert await causes(bus) == [(1, "c"), (None, None)]


async def test_the_history_of_an_event_is_the_chain_to_the_root_and_the_tree_below(log: Log) -> None:
    async with log.bus() as bus:
        # 1 → 2 → 3 → 5, 6;  2 → 4;  7 → 8
        for cause in (0, 1, 2, 2, 3, 3, 0, 7):
            await bus.publish("a", causation_id=cause)
        found = await bus.history_of(3)
        assert found.event.sequence == 3
        assert [event.sequence for event in found.causes] == [1, 2]
        assert [event.sequence for event in found.consequences] == [5, 6]
        assert [event.sequence for event in found] == [1, 2, 3, 5, 6]
        assert len(found) == 5
        assert found.is_whole
        assert [event.sequence for event in await bus.history_of(1)] == [1, 2, 3, 4, 5, 6]
        assert [event.sequence for event in await bus.history_of(8)] == [7, 8]
        assert [event.sequence for event in (await bus.history_of(7)).consequences] == [8]


async def test_the_history_is_cut_off_where_it_is_larger_than_asked_for_and_says_so(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("root")
        await bus.publish_many([NewEvent("a", causation_id=1)] * 2500)
        await bus.publish("b", causation_id=2501)
        found = await bus.history_of(1)
        assert (len(found.consequences), found.is_whole) == (1000, False)
        found = await bus.history_of(1, limit=5000)
        assert (len(found.consequences), found.is_whole) == (2501, True)
        assert [event.sequence for event in (await bus.history_of(2502)).causes] == [1, 2501]


async def test_causes_that_lead_in_a_circle_or_nowhere_end_the_chain(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", causation_id=2)
        await bus.publish("a", causation_id=1)
        await bus.publish("a", causation_id=3)
        await bus.publish("a", causation_id=99)
        assert [event.sequence for event in await bus.history_of(1)] == [1, 2]
        assert [event.sequence for event in await bus.history_of(3)] == [3]
        assert [event.sequence for event in await bus.history_of(4)] == [4]


async def test_what_is_not_there_has_no_history(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 3)
        await bus.clear()
        await bus.publish("b", causation_id=2)
        assert [event.sequence for event in await bus.history_of(4)] == [4]
        with pytest.raises(EventsLostError):
            await bus.history_of(2)
        with pytest.raises(StartBeyondHeadError):
            await bus.history_of(5)
        for wrong in (0, -1, "1", True, None):
            with pytest.raises(InvalidOptionError):
                await bus.history_of(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidOptionError):
            await bus.history_of(4, limit=0)
    with pytest.raises(BusClosedError):
        await bus.history_of(4)


async def test_it_asks_only_for_what_it_finds_however_long_the_log_is(log: Log) -> None:
    class Counting(StagedStore):
        asked = 0
        given = 0

        async def query(self, wanted: Any) -> Any:
            found = await super().query(wanted)
            self.asked += 1
            self.given += len(found)
            return found

    store = Counting(log.store())
    async with EventBus(store) as bus:
        await bus.publish_many([("a", None)] * 5000)
        for cause in (2500, 5001, 5002):
            await bus.publish("a", causation_id=cause)
        store.asked = store.given = 0
        assert len(await bus.history_of(5001)) == 4
        assert (store.asked, store.given) == (5, 4)


async def test_a_store_that_does_not_find_events_by_their_cause_says_so(memory_log: Log) -> None:
    async with EventBus(_Forgetful(memory_log.store())) as bus:
        await bus.publish("a")
        with pytest.raises(UnsupportedFeatureError, match="causes"):
            await bus.history_of(1)
        with pytest.raises(UnsupportedFeatureError, match="expected_sequence"):
            await bus.publish("a", key="k", expected_sequence=0)
        assert await bus.latest_sequence() == 1


class _Forgetful(StagedStore):
    @property
    def features(self) -> Any:
        return replace(super().features, causes=False, keyed=False, consumers=False)
