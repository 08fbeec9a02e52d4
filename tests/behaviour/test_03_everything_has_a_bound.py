"""Promise 3: nothing waits without a bound and nothing grows without one, and each limit has a named outcome."""

import asyncio
import tracemalloc
from typing import Any

import pytest

from asyncbus import (
    BatchTooLargeError,
    EventBus,
    InboxFullError,
    MemoryStore,
    StoreFullError,
)
from tests.behaviour.stage import Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.fault(1)
@pytest.mark.parametrize("capacity", [1, 3])
async def test_publishers_wait_in_line_for_room_in_the_inbox(capacity: int, log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=capacity) as bus:
        store.gate.clear()
        publishing = [asyncio.create_task(bus.publish("a", number)) for number in range(20)]
        await store.appending.wait()
        await ticks(5)
        assert bus.statistics().inbox_depth == capacity
        assert bus.statistics().waiting_publishers > 0
        store.gate.set()
        assert [receipt.sequence for receipt in await asyncio.gather(*publishing)] == list(range(1, 21))
        assert payloads(await bus.query()) == list(range(20))
        assert bus.statistics().inbox_high_water <= capacity
        assert (bus.statistics().inbox_depth, bus.statistics().inbox_bytes) == (0, 0)


@pytest.mark.fault(1)
async def test_publishers_wait_for_room_in_bytes_as_well(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_bytes=1000, max_payload=1000) as bus:
        store.gate.clear()
        publishing = [asyncio.create_task(bus.publish("a", bytes([number]) * 400)) for number in range(10)]
        await store.appending.wait()
        await ticks(5)
        assert bus.statistics().inbox_bytes == 800
        assert (bus.statistics().inbox_depth, bus.statistics().waiting_publishers) == (2, 6)
        store.gate.set()
        assert [receipt.sequence for receipt in await asyncio.gather(*publishing)] == list(range(1, 11))


async def test_an_event_as_large_as_all_of_the_inbox_passes(log: Log) -> None:
    async with log.bus(inbox_bytes=100, max_payload=100) as bus:
        data = [bytes([number]) * 100 for number in range(5)]
        await asyncio.gather(*(bus.publish("a", payload) for payload in data))
        assert payloads(await bus.query()) == data


async def test_waiting_in_line_keeps_the_order_of_the_calls(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=4) as bus:
        store.gate.clear()
        bus.publish_nowait("a", 0)
        await store.appending.wait()
        bus.publish_nowait("a", 1)
        bus.publish_nowait("a", 2)
        group = asyncio.create_task(bus.publish_many([("a", number) for number in range(3, 7)]))
        await ticks(1)
        # There is room for each of these, but the group was first.
        single = asyncio.create_task(bus.publish("a", 7))
        await ticks(1)
        small = asyncio.create_task(bus.publish_many([("a", 8)]))
        await ticks(1)
        with pytest.raises(InboxFullError):
            bus.publish_nowait("a", "no overtaking")
        thread = asyncio.create_task(asyncio.to_thread(bus.publish_from_thread, "a", 9))
        await until(lambda: bus.statistics().waiting_publishers == 4)
        store.gate.set()
        await asyncio.gather(group, single, small, thread)
        await bus.flush()
        assert payloads(await bus.query()) == list(range(10))


async def test_a_publisher_that_leaves_the_line_lets_the_next_one_in(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=2) as bus:
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        bus.publish_nowait("a", "waiting")
        group = asyncio.create_task(bus.publish_many([("a", 1), ("a", 2)]))
        await ticks(1)
        single = asyncio.create_task(bus.publish("a", "single"))
        await ticks(1)
        group.cancel()
        await asyncio.wait([group])
        store.gate.set()
        await single
        assert payloads(await bus.query()) == ["in flight", "waiting", "single"]


@pytest.mark.fault(1)
async def test_publish_nowait_says_that_the_inbox_is_full(log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=2) as bus:
        store.gate.clear()
        accepted = [bus.publish_nowait("a", 0)]
        await store.appending.wait()
        accepted += [bus.publish_nowait("a", 1), bus.publish_nowait("a", 2)]
        with pytest.raises(InboxFullError, match="2 events") as caught:
            bus.publish_nowait("a", 3)
        assert caught.value.capacity == 2
        store.gate.set()
        assert [(await receipt).sequence for receipt in accepted] == [1, 2, 3]
        assert payloads(await bus.query()) == [0, 1, 2]


@pytest.mark.parametrize(
    "events", [[("a", None)] * 4, [("a", b"1234567890")] * 3], ids=["too many events", "too many bytes"]
)
async def test_a_group_that_never_fits_is_refused_before_anything_is_queued(
    events: list[tuple[str, Any]], log: Log
) -> None:
    async with log.bus(inbox_capacity=3, inbox_bytes=20, max_payload=20) as bus:
        with pytest.raises(BatchTooLargeError, match="3 events and 20 bytes") as caught:
            await bus.publish_many(events)
        error = caught.value
        assert (error.events, error.capacity, error.max_bytes) == (len(events), 3, 20)
        assert error.events > 3 or error.size == 30
        assert (bus.statistics().published, await bus.latest_sequence()) == (0, 0)


async def test_a_group_as_large_as_the_inbox_passes(log: Log) -> None:
    async with log.bus(inbox_capacity=50) as bus:
        groups = [[("a", (group, member)) for member in range(50)] for group in range(4)]
        receipts = await asyncio.gather(*(bus.publish_many(group) for group in groups))
        assert [receipt.sequence for group in receipts for receipt in group] == list(range(1, 201))


@pytest.mark.fault(60)
async def test_a_reader_that_does_not_read_holds_no_more_than_its_capacity(log: Log) -> None:
    async with log.bus() as bus:
        readers = [bus.subscribe("*", capacity=10, start=start) for start in ("latest", "earliest")]
        for _ in range(20):
            await bus.publish_many([("a", None)] * 100)
            assert all(reader.statistics().queued <= 10 for reader in readers)
        assert [sequences(await take(reader, 2000)) for reader in readers] == [list(range(1, 2001))] * 2


@pytest.mark.fault(60)
async def test_no_reader_makes_a_publisher_wait(log: Log) -> None:
    never = asyncio.Event()

    async def hang(event: object) -> None:
        await never.wait()

    async with log.bus(inbox_capacity=10, close_timeout=0.01) as bus:
        for when_full in ("catch_up", "drop_oldest", "fail"):
            bus.subscribe("*", hang, capacity=1, when_full=when_full)
            bus.subscribe("*", capacity=1, when_full=when_full)
        for number in range(200):
            assert (await bus.publish("a", number)).sequence == number + 1
        never.set()


async def test_recent_holds_the_last_events_and_no_more(log: Log) -> None:
    async with log.bus(recent_capacity=10, inbox_capacity=10) as bus:
        assert bus.recent() == []
        for number in range(57):
            await bus.publish(f"a.{number % 2}", number)
            assert len(bus.recent()) == min(number + 1, 10)
        assert payloads(bus.recent()) == list(range(47, 57))
        assert payloads(bus.recent("a.0")) == [48, 50, 52, 54, 56]
        assert bus.recent("b") == []
        await bus.publish_many([("a", number) for number in range(10)])
        assert payloads(bus.recent()) == list(range(10))


async def test_recent_holds_no_more_bytes_than_the_inbox_takes(log: Log) -> None:
    async with log.bus(inbox_bytes=2**20) as bus:
        for _ in range(100):
            await bus.publish("a", "x" * 30_000, metadata={"x": "x" * 20_000})
            held = len(bus.recent())
            assert held * 50_000 <= 2**20
        assert held >= 15, "and not much less"


async def test_the_recent_window_is_never_smaller_than_the_inbox(log: Log) -> None:
    async with log.bus(recent_capacity=1, inbox_capacity=10) as bus:
        await bus.publish_many([("a", number) for number in range(10)])
        assert payloads(bus.recent()) == list(range(10))


async def test_a_query_gives_a_thousand_events_unless_told_otherwise(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 1200)
        assert sequences(await bus.query()) == list(range(1, 1001))
        assert sequences(await bus.query(limit=None)) == list(range(1, 1201))
        assert sequences(await bus.query(limit=3, newest_first=True)) == [1200, 1199, 1198]


async def test_event_types_that_are_made_up_without_end_take_no_memory() -> None:
    async with EventBus(MemoryStore(max_events=100), inbox_capacity=1000, recent_capacity=1000) as bus:
        events = bus.subscribe("nothing.*")

        async def publish(types: range) -> None:
            for part in range(types.start, types.stop, 1000):
                await bus.publish_many([(f"made.up.{number}", None) for number in range(part, part + 1000)])

        await publish(range(40_000))
        tracemalloc.start()
        await publish(range(40_000, 80_000))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert events.position == 80_000
    assert grown < 6 * 2**20


async def test_a_full_store_is_a_named_outcome_too(log: Log) -> None:
    store = log.staged()
    store.append_faults.append(StoreFullError("no space is left"))
    async with EventBus(store) as bus:
        with pytest.raises(StoreFullError, match="no space"):
            await bus.publish("a")
        assert (await bus.publish("a")).sequence == 1
