"""Promise 6: a publish was stored, was not stored, or nobody knows; and an event, or a group, is whole or not there."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from asyncbus import (
    BusClosedError,
    Event,
    EventBus,
    InboxFullError,
    NewEvent,
    PayloadError,
    PublishOutcomeUnknownError,
    Receipt,
    StoreFailedError,
)
from tests.behaviour.stage import Log, StagedStore, payloads, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

Publish = Callable[..., Coroutine[Any, Any, Any]]


async def single(bus: EventBus) -> Receipt:
    return await bus.publish("a", "mine")


async def group(bus: EventBus) -> list[Receipt]:
    return await bus.publish_many([("a", "mine"), ("a", "mine")])


@pytest.fixture
def store(log: Log) -> StagedStore:
    return log.staged()


async def a_commit_in_flight(bus: EventBus, store: StagedStore) -> None:
    store.gate.clear()
    bus.publish_nowait("a", "in flight")
    await store.appending.wait()


@pytest.mark.fault(2)
@pytest.mark.parametrize("publish", [single, group])
async def test_cancelled_while_it_waits_in_the_inbox_it_is_not_stored(publish: Publish, store: StagedStore) -> None:
    async with EventBus(store) as bus:
        await a_commit_in_flight(bus, store)
        publishing = asyncio.create_task(publish(bus))
        await until(lambda: bus.statistics().inbox_depth)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        store.gate.set()
        await bus.publish("a", "next")
        assert payloads(await bus.query()) == ["in flight", "next"]


@pytest.mark.fault(2)
@pytest.mark.parametrize("publish", [single, group])
async def test_cancelled_while_it_stands_in_line_it_is_not_stored(publish: Publish, store: StagedStore) -> None:
    async with EventBus(store, inbox_capacity=2) as bus:
        await a_commit_in_flight(bus, store)
        bus.publish_nowait("a", "first")
        bus.publish_nowait("a", "second")
        publishing = asyncio.create_task(publish(bus))
        await until(lambda: bus.statistics().waiting_publishers)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        assert bus.statistics().waiting_publishers == 0
        store.gate.set()
        await bus.publish("a", "next")
        assert payloads(await bus.query()) == ["in flight", "first", "second", "next"]


@pytest.mark.fault(3)
@pytest.mark.parametrize("publish", [single, group])
async def test_cancelled_after_the_writer_took_it_raises_all_the_same(publish: Publish, store: StagedStore) -> None:
    async with EventBus(store) as bus:
        store.gate.clear()
        publishing = asyncio.create_task(publish(bus))
        await store.appending.wait()
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        store.gate.set()
        await bus.flush()
        # The caller cannot know; this time it was stored, and whole.
        assert set(payloads(await bus.query())) == {"mine"}
        assert len(await bus.query()) == (1 if publish is single else 2)


@pytest.mark.parametrize("tick", range(14))
@pytest.mark.parametrize("publish", [single, group])
async def test_cancelled_at_any_tick_it_is_stored_whole_or_not_at_all(tick: int, publish: Publish, log: Log) -> None:
    async with log.bus(inbox_capacity=2) as bus:
        for _ in range(3):
            before = len(await bus.query())
            publishing = asyncio.create_task(publish(bus))
            await ticks(tick)
            publishing.cancel()
            told = False
            with suppress(asyncio.CancelledError):
                await publishing
                told = True
            await bus.flush()
            stored = len(await bus.query()) - before
            whole = 1 if publish is single else 2
            assert stored == whole if told else stored in {0, whole}


async def test_a_timeout_before_the_writer_took_it_means_not_stored(store: StagedStore) -> None:
    async with EventBus(store, inbox_capacity=1) as bus:
        await a_commit_in_flight(bus, store)
        with pytest.raises(TimeoutError, match="withdrawn") as in_the_inbox:
            await bus.publish("a", "too late", timeout=0.01)
        with suppress(InboxFullError):
            while True:
                bus.publish_nowait("a", "fills the inbox")
        for ack in ("stored", "accepted"):
            with pytest.raises(TimeoutError):
                await bus.publish("a", "too late", ack=ack, timeout=0.01)
        assert not isinstance(in_the_inbox.value, PublishOutcomeUnknownError)
        assert bus.statistics().waiting_publishers == 0
        store.gate.set()
        await bus.flush()
        assert "too late" not in payloads(await bus.query())


@pytest.mark.fault(4)
async def test_a_timeout_after_the_writer_took_it_means_unknown(store: StagedStore) -> None:
    async with EventBus(store) as bus:
        store.gate.clear()
        with pytest.raises(PublishOutcomeUnknownError, match="mine") as caught:
            await bus.publish("a", "data", id="mine", timeout=0.01)
        assert caught.value.id == "mine"
        assert not isinstance(caught.value, TimeoutError)
        again = asyncio.create_task(bus.publish("a", "data", id="mine"))
        await ticks(3)
        store.gate.set()
        assert await again == Receipt(1, duplicate=True)


async def test_a_timeout_that_is_not_reached_changes_nothing(log: Log) -> None:
    async with log.bus(inbox_capacity=1) as bus:
        receipts = await asyncio.gather(*(bus.publish("a", timeout=60) for _ in range(5)))
        assert [receipt.sequence for receipt in receipts] == [1, 2, 3, 4, 5]
        pending = await bus.publish("a", ack="accepted", timeout=60)
        assert (await pending).sequence == 6


@pytest.mark.parametrize("timeout", [0, 1e-9])
async def test_no_time_at_all_still_has_one_of_the_outcomes(timeout: float, log: Log) -> None:
    async with log.bus(inbox_capacity=2) as bus:
        for number in range(20):
            stored = unknown = False
            try:
                await bus.publish("a", number, timeout=timeout)
                stored = True
            except PublishOutcomeUnknownError:
                unknown = True
            except TimeoutError:
                pass
            await bus.flush()
            found = payloads(await bus.query(limit=1, newest_first=True)) == [number]
            assert unknown or found == stored


async def test_an_unknown_failure_of_the_commit_means_unknown(store: StagedStore) -> None:
    cause = StoreFailedError("fsync failed", outcome_unknown=True)
    store.append_faults.append(cause)
    async with EventBus(store) as bus:
        with pytest.raises(PublishOutcomeUnknownError, match="fsync failed") as caught:
            await bus.publish("a", id="x")
        assert (caught.value.id, caught.value.__cause__) == ("x", cause)


@pytest.mark.fault(12)
async def test_a_group_with_one_bad_event_queues_none(log: Log) -> None:
    async with log.bus() as bus:
        with pytest.raises(PayloadError):
            await bus.publish_many([("a", 1), ("a", object()), ("a", 3)])
        assert bus.statistics().published == 0
        assert await bus.publish_many([]) == []
        assert (await bus.publish("a")).sequence == 1


async def test_a_group_has_consecutive_sequences_whatever_is_published_beside_it(log: Log) -> None:
    async with log.bus(inbox_capacity=8) as bus:
        publishing = [
            bus.publish_many([NewEvent("a", (number, member)) for member in range(5)])
            if number % 2
            else bus.publish("b", number)
            for number in range(40)
        ]
        for result in await asyncio.gather(*publishing):
            if isinstance(result, list):
                first = result[0].sequence
                assert [receipt.sequence for receipt in result] == list(range(first, first + 5))


@pytest.mark.fault(11)
async def test_an_accepted_event_is_stored_though_nobody_awaits_its_receipt(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", 1, ack="accepted")
        bus.publish_nowait("a", 2)
    async with log.bus() as bus:
        assert payloads(await bus.query()) == [1, 2]


@pytest.mark.fault(11)
async def test_publishing_tasks_that_nobody_holds_are_not_collected(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=10) as bus:
        store.gate.clear()
        for number in range(20):
            asyncio.get_running_loop().create_task(bus.publish("a", number))
        await until(lambda: bus.statistics().waiting_publishers)
        gc.collect()
        store.gate.set()
        await until(lambda: bus.statistics().stored == 20)
        assert payloads(await bus.query()) == list(range(20))


async def test_a_pending_receipt_can_be_awaited_again_and_by_many(log: Log) -> None:
    async with log.bus() as bus:
        pending = bus.publish_nowait("a")
        assert await asyncio.gather(*(_await(pending) for _ in range(3))) == [Receipt(1)] * 3
        assert pending.done
        assert await pending == pending.result() == Receipt(1)


async def test_cancelling_who_awaits_a_pending_receipt_withdraws_nothing(store: StagedStore) -> None:
    async with EventBus(store) as bus:
        await a_commit_in_flight(bus, store)
        pending = bus.publish_nowait("a", "accepted")
        waiting = asyncio.create_task(_await(pending))
        await ticks(2)
        waiting.cancel()
        await asyncio.wait([waiting])
        store.gate.set()
        assert (await pending).sequence == 2


async def test_a_closed_bus_stored_nothing_of_what_it_refused(store: StagedStore) -> None:
    bus = EventBus(store, inbox_capacity=1)
    async with bus:
        await a_commit_in_flight(bus, store)
        bus.publish_nowait("a", "accepted")
        waiting = asyncio.create_task(bus.publish("a", "in line"))
        await until(lambda: bus.statistics().waiting_publishers)
        asyncio.get_running_loop().call_soon(store.gate.set)
    with pytest.raises(BusClosedError):
        await waiting
    with pytest.raises(BusClosedError):
        await bus.publish("a", "after")
    async with EventBus(store) as again:
        assert payloads(await again.query()) == ["in flight", "accepted"]


async def test_a_handler_may_await_what_it_publishes(log: Log) -> None:
    async with log.bus(inbox_capacity=1) as bus:

        async def answer(event: Event) -> None:
            receipt = await bus.publish("answer", event.data)
            assert receipt.sequence > event.sequence

        answering = bus.subscribe("question", answer, capacity=1)
        await asyncio.gather(*(bus.publish("question", number) for number in range(10)))
        await bus.drain()
        assert answering.statistics().errors == 0
        assert sorted(payloads(await bus.query("answer"))) == list(range(10))


async def _await(pending: Any) -> Receipt:
    receipt: Receipt = await pending
    return receipt
