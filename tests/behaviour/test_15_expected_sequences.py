"""Optimistic concurrency: stored only if the last event with its key is the expected one."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from asyncbus import (
    ConcurrencyError,
    EventBus,
    EventIdConflictError,
    InvalidOptionError,
    NewEvent,
    Receipt,
    StoreFailedError,
)
from asyncbus.testing import FaultyStore
from tests.behaviour.stage import Log

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


async def test_it_is_stored_if_the_last_event_of_its_key_is_the_expected_one(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a")
        assert await bus.publish("a", key="k", expected_sequence=0) == Receipt(2)
        assert await bus.publish("b", key="other", expected_sequence=0) == Receipt(3)
        assert await bus.publish("c", key="k", expected_sequence=2) == Receipt(4)
        assert await bus.publish("c", key="k") == Receipt(5)
        assert await bus.publish_nowait("c", key="k", expected_sequence=5) == Receipt(6)
        pending = await asyncio.to_thread(bus.publish_from_thread, "c", key="k", expected_sequence=6)
        assert await pending == Receipt(7)
    async with log.bus() as bus:
        assert await bus.publish("c", key="k", expected_sequence=7) == Receipt(8)


@pytest.mark.parametrize(("expected", "found"), [(0, 2), (1, 2), (3, 2)])
async def test_else_it_is_not_and_the_error_has_both_figures(expected: int, found: int, log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", key="other")
        await bus.publish("a", key="k")
        with pytest.raises(ConcurrencyError) as refused:
            await bus.publish("a", key="k", expected_sequence=expected)
        assert (refused.value.key, refused.value.expected, refused.value.found) == ("k", expected, found)
        with pytest.raises(ConcurrencyError) as refused:
            await bus.publish("a", key="new", expected_sequence=1)
        assert (refused.value.expected, refused.value.found) == (1, 0)
        assert await bus.publish("after") == Receipt(3), "no sequence is burnt"
        assert bus.statistics().failed == 2
        assert bus.health().status == "ok"


async def test_those_beside_it_in_a_batch_are_stored_and_it_sees_those_before_it(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        bus.publish_nowait("first", key="k")
        await store.appending.wait()
        receipts = [
            bus.publish_nowait("a", "refused", key="k", expected_sequence=0),
            bus.publish_nowait("a", "stored", key="k", expected_sequence=1),
            bus.publish_nowait("a", "too late", key="k", expected_sequence=1),
            bus.publish_nowait("a", "sees it", key="k", expected_sequence=2),
            bus.publish_nowait("a", "plain"),
        ]
        store.gate.set()
        outcomes = await asyncio.gather(*(_outcome(receipt) for receipt in receipts))
        assert outcomes == [(0, 1), 2, (1, 2), 3, 4]
        assert [event.data for event in await bus.query("a")] == ["stored", "sees it", "plain"]


async def _outcome(receipt: Any) -> Any:
    try:
        return (await receipt).sequence
    except ConcurrencyError as error:
        return error.expected, error.found


async def test_of_a_publish_many_each_compares_with_what_was_before_it_and_all_or_none_is_stored(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", key="k")
        events = [NewEvent("a", key="k", expected_sequence=1), NewEvent("a", key="k", expected_sequence=1), ("a", None)]
        receipts = await bus.publish_many([*events, NewEvent("a", key="l", expected_sequence=0)])
        assert receipts == [Receipt(sequence) for sequence in (2, 3, 4, 5)]
        for wrong in (
            [NewEvent("a", key="k", expected_sequence=3), NewEvent("a", key="l", expected_sequence=0)],
            [NewEvent("a", key="l", expected_sequence=0), NewEvent("a", key="k", expected_sequence=3)],
        ):
            with pytest.raises(ConcurrencyError, match="'l'"):
                await bus.publish_many(wrong)
        assert await bus.latest_sequence() == 5


async def test_publishing_it_again_with_its_id_is_safe_whatever_it_expects(log: Log) -> None:
    async with log.bus() as bus:
        assert await bus.publish("a", 1, id="x", key="k", expected_sequence=0) == Receipt(1)
        assert await bus.publish("a", 1, id="x", key="k", expected_sequence=0) == Receipt(1, duplicate=True)
        assert await bus.publish("a", 2, id="y", key="k", expected_sequence=1) == Receipt(2)
        assert await bus.publish("a", 1, id="x", key="k", expected_sequence=0) == Receipt(1, duplicate=True)
        with pytest.raises(EventIdConflictError):
            await bus.publish("a", 3, id="x", key="k", expected_sequence=2)
        twins = [bus.publish_nowait("a", 4, id="z", key="k", expected_sequence=2) for _ in range(2)]
        assert [await twin for twin in twins] == [Receipt(3), Receipt(3, duplicate=True)]


async def test_after_a_clear_there_is_no_last_event(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", key="k", expected_sequence=0)
        await bus.clear()
        with pytest.raises(ConcurrencyError) as refused:
            await bus.publish("a", key="k", expected_sequence=1)
        assert refused.value.found == 0
        assert await bus.publish("a", key="k", expected_sequence=0) == Receipt(2)


async def test_a_thousand_tasks_race_and_exactly_the_winners_are_stored(log: Log) -> None:
    async with log.bus() as bus:
        won: Counter[str] = Counter()

        async def race(number: int) -> None:
            key = f"key-{number % 10}"
            found = await bus.query(key=key, newest_first=True, limit=1)
            try:
                await bus.publish("a", number, key=key, expected_sequence=found[0].sequence if found else 0)
            except ConcurrencyError:
                return
            won[key] += 1

        await asyncio.gather(*(race(number) for number in range(1000)))
        stored = Counter(event.key for event in await bus.query(limit=None))
        assert won == stored
        assert set(won) == {f"key-{number}" for number in range(10)}


async def test_a_loop_of_read_decide_publish_counts_to_the_right_total(log: Log) -> None:
    async with log.bus() as bus:
        retried = 0

        async def add_one(key: str) -> None:
            nonlocal retried
            while True:
                found = await bus.query(key=key, newest_first=True, limit=1)
                count, last = (found[0].data, found[0].sequence) if found else (0, 0)
                try:
                    await bus.publish("counted", count + 1, key=key, expected_sequence=last)
                except ConcurrencyError:
                    retried += 1
                else:
                    return

        await asyncio.gather(*(add_one(f"key-{number % 10}") for number in range(200)))
        for number in range(10):
            counts = [event.data for event in await bus.query(key=f"key-{number}")]
            assert counts == list(range(1, 21))
        assert retried, "nobody was in anybody's way"


async def test_what_expects_needs_a_key_and_a_number(bus: EventBus) -> None:
    with pytest.raises(InvalidOptionError, match="expected_sequence must be None for an event without a key"):
        await bus.publish("a", expected_sequence=0)
    for wrong in (-1, 1.5, "0", True, 2**63):
        with pytest.raises(InvalidOptionError, match="expected_sequence"):
            await bus.publish("a", key="k", expected_sequence=wrong)  # type: ignore[arg-type]
    assert await bus.latest_sequence() == 1


async def test_where_the_store_cannot_say_what_is_there_nothing_is_stored(memory_log: Log) -> None:
    store = FaultyStore(memory_log.store())
    for call in ("last_sequences", "ids", "latest_sequence"):
        async with EventBus(store) as bus:
            head = await bus.latest_sequence()
            store.fail(call, OSError("the disk is gone"))
            with pytest.raises(StoreFailedError, match="the disk is gone") as failed:
                await bus.publish("a", id=call, key=call, expected_sequence=0)
            assert not failed.value.outcome_unknown
            assert await bus.publish("a", id=call, key=call, expected_sequence=0) == Receipt(head + 1)
