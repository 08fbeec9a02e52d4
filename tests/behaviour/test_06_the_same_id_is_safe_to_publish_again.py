"""Promise 6 for ids: publishing again with the same id is safe, and another content under it is a conflict."""

import asyncio
from typing import Any

import pytest

from asyncbus import EventBus, EventIdConflictError, MemoryStore, NewEvent, PendingReceipt, Receipt
from tests.behaviour.stage import Log, payloads, sequences, take, ticks

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.fault(5)
async def test_in_the_same_batch_it_is_stored_once(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        events = bus.subscribe("*")
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        twins = [bus.publish_nowait("a", 1, id="x"), bus.publish_nowait("a", 1, id="x")]
        after = bus.publish_nowait("a", "after")
        store.gate.set()
        assert [await twin for twin in twins] == [Receipt(2), Receipt(2, duplicate=True)]
        assert await after == Receipt(3)
        assert store.batches == [1, 2]
        assert payloads(await take(events, 3)) == ["in flight", 1, "after"]


@pytest.mark.fault(5)
async def test_in_a_later_batch_and_after_a_restart_it_gives_the_first_receipt(log: Log) -> None:
    for duplicate in (False, True):
        async with log.bus() as bus:
            assert await bus.publish("a", {"n": 1}, id="x", key="k", metadata={"m": 1}) == Receipt(1, duplicate)
            assert await bus.publish("a", {"n": 1}, id="x", key="k", metadata={"m": 1}) == Receipt(1, duplicate=True)
            assert bus.statistics().duplicates == 1 + duplicate
            assert await bus.latest_sequence() == 1


async def test_the_time_of_a_second_attempt_may_differ(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", id="x")
        (first,) = await bus.query()
        await bus.publish("a", id="x", time=first.time.replace(year=2001))
        assert await bus.query() == [first]


CONFLICTS: dict[str, dict[str, Any]] = {
    "type": {"type": "b"},
    "data": {"data": 2},
    "key": {"key": "other"},
    "no key": {"key": None},
    "metadata": {"metadata": {"m": 2}},
    "bytes for text": {"data": b"1"},
    "true for 1": {"data": True},
    "1.0 for 1": {"data": 1.0},
}


@pytest.mark.fault(6)
@pytest.mark.parametrize("other", CONFLICTS.values(), ids=CONFLICTS)
async def test_other_content_under_the_same_id_is_a_conflict(other: dict[str, Any], log: Log) -> None:
    first: dict[str, Any] = {"type": "a", "data": 1, "key": "k", "metadata": {"m": 1}}
    async with log.bus() as bus:
        await bus.publish("before")
        await bus.publish(**first, id="x")
        with pytest.raises(EventIdConflictError, match="'x' belongs to event 2") as caught:
            await bus.publish(**(first | other), id="x")
        assert (caught.value.id, caught.value.sequence) == ("x", 2)
        assert await bus.publish(**first, id="x") == Receipt(2, duplicate=True)
        assert await bus.publish("after") == Receipt(3)
        assert len(await bus.query()) == 3


@pytest.mark.fault(7)
async def test_two_publishers_that_race_with_one_id_get_the_same_sequence(log: Log) -> None:
    async with log.bus(inbox_capacity=3) as bus:
        for turn in range(20):
            racing = [bus.publish("a", turn, id=f"turn-{turn}") for _ in range(5)]
            receipts = await asyncio.gather(*racing)
            assert {receipt.sequence for receipt in receipts} == {turn + 1}
            assert [receipt.duplicate for receipt in receipts].count(False) == 1


@pytest.mark.fault(7)
async def test_a_race_with_different_content_has_one_winner(log: Log) -> None:
    async with log.bus(inbox_capacity=3) as bus:
        for turn in range(20):
            racing = [bus.publish("a", number, id=f"turn-{turn}") for number in range(5)]
            results = await asyncio.gather(*racing, return_exceptions=True)
            assert sum(isinstance(result, EventIdConflictError) for result in results) == 4
        assert sequences(await bus.query()) == list(range(1, 21))


@pytest.mark.fault(28)
async def test_a_conflict_harms_no_other_event_of_its_batch(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        await bus.publish("a", 1, id="x")
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        accepted: list[PendingReceipt] = [
            bus.publish_nowait("a", "before"),
            bus.publish_nowait("a", 2, id="x"),
            bus.publish_nowait("a", 1, id="x"),
            bus.publish_nowait("a", "after"),
        ]
        store.gate.set()
        results = await asyncio.gather(*(_outcome(receipt) for receipt in accepted))
        assert results == [Receipt(3), "conflict", Receipt(1, duplicate=True), Receipt(4)]
        assert payloads(await bus.query()) == [1, "in flight", "before", "after"]


@pytest.mark.fault(28)
async def test_a_conflict_refuses_the_whole_group_and_nobody_else(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        await bus.publish("a", 1, id="x")
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        before = bus.publish_nowait("a", "before")
        refused = asyncio.create_task(
            bus.publish_many([NewEvent("a", 10, id="y"), NewEvent("a", 2, id="x"), NewEvent("a", 30)])
        )
        await ticks(2)
        stored = asyncio.create_task(bus.publish_many([NewEvent("a", 1, id="x"), NewEvent("a", "new", id="z")]))
        await ticks(2)
        store.gate.set()
        with pytest.raises(EventIdConflictError):
            await refused
        assert await before == Receipt(3)
        assert await stored == [Receipt(1, duplicate=True), Receipt(4)]
        # What was refused has not taken its ids either.
        assert await bus.publish("a", 11, id="y") == Receipt(5)
        assert payloads(await bus.query()) == [1, "in flight", "before", "new", 11]


async def test_an_id_that_only_a_refused_group_had_is_free(log: Log) -> None:
    """Also for an event that stands in the same batch."""
    store = log.staged()
    async with EventBus(store) as bus:
        await bus.publish("a", 1, id="x")
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        refused = asyncio.create_task(bus.publish_many([NewEvent("a", 10, id="y"), NewEvent("a", 2, id="x")]))
        await ticks(2)
        single = bus.publish_nowait("a", 11, id="y")
        store.gate.set()
        with pytest.raises(EventIdConflictError):
            await refused
        assert await single == Receipt(3)


async def test_a_group_published_again_is_all_duplicates(log: Log) -> None:
    events = [NewEvent("a", number, id=f"{number}") for number in range(5)]
    async with log.bus() as bus:
        first = await bus.publish_many(events)
        again = await bus.publish_many([*events, NewEvent("a", 5, id="5")])
        assert [receipt.sequence for receipt in first] == [1, 2, 3, 4, 5]
        assert again == [*(Receipt(number, duplicate=True) for number in range(1, 6)), Receipt(6)]


async def test_duplicates_are_not_delivered_and_burn_no_sequence(log: Log) -> None:
    seen: list[int] = []
    async with log.bus() as bus:
        bus.subscribe("*", lambda event: seen.append(event.sequence))
        for _ in range(3):
            await bus.publish("a", id="x")
        await bus.publish("a")
        await bus.drain()
        assert seen == [1, 2]


async def test_an_id_is_known_for_as_long_as_its_event_is_retained() -> None:
    async with EventBus(MemoryStore(max_events=2)) as bus:
        assert await bus.publish("a", 1, id="x") == Receipt(1)
        await bus.publish("a")
        assert await bus.publish("a", 1, id="x") == Receipt(1, duplicate=True)
        await bus.publish("a")
        assert await bus.publish("a", 2, id="x") == Receipt(4)


async def test_a_cleared_id_is_free_again(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", 1, id="x")
        await bus.clear()
        assert await bus.publish("a", 2, id="x") == Receipt(2)


async def _outcome(receipt: PendingReceipt) -> Receipt | str:
    try:
        return await receipt
    except EventIdConflictError:
        return "conflict"
