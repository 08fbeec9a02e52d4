"""Promise 3 for `when_full="block"`: the writer waits, and whoever would wait for himself is told so instead.

That reader is bounded by its capacity and one batch.
"""

import asyncio
from typing import Any

import pytest

from asyncbus import (
    AsyncBusError,
    Event,
    EventBus,
    InvalidOptionError,
    MemoryStore,
    PendingReceipt,
    Receipt,
    StoreReadOnlyError,
    WouldDeadlockError,
)
from tests.behaviour.stage import Following, Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.fault(60)
async def test_the_writer_takes_no_batch_while_the_queue_is_full(log: Log) -> None:
    store = log.staged(batch_limit=4)
    async with EventBus(store) as bus:
        events = bus.subscribe("a", when_full="block", capacity=5)
        accepted = [bus.publish_nowait("a", number) for number in range(40)]
        await until(lambda: bus.statistics().blocked_by)
        await ticks(20)
        assert store.batches == [4, 4]
        assert events.statistics().queued == 8
        assert bus.statistics().inbox_depth == 32
        got = [await anext(events) for _ in range(3)]
        await ticks(20)
        assert bus.statistics().blocked_by == ("a",)  # five are left in the queue
        got.append(await anext(events))
        await accepted[11]
        got += await take(events, 36)
        assert payloads(got) == list(range(40))
        assert bus.statistics().blocked_by == ()
        assert max(store.batches) == 4


async def test_only_its_own_events_fill_it(log: Log) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("a", when_full="block", capacity=1)
        await bus.publish_many([("b", None)] * 100)
        await bus.publish("b")
        assert bus.statistics().blocked_by == ()
        await bus.publish("a")
        await until(lambda: bus.statistics().blocked_by)
        assert (await anext(events)).type == "a"


@pytest.mark.fault(60)
async def test_others_read_on_while_one_blocks(log: Log) -> None:
    async with log.bus() as bus:
        bus.subscribe("a", when_full="block", capacity=1)
        other = bus.subscribe("a")
        await bus.publish_many([("a", number) for number in range(10)])
        await until(lambda: bus.statistics().blocked_by)
        assert payloads(await take(other, 10)) == list(range(10))
        assert len(await bus.query()) == 10


async def test_closing_the_reader_lifts_the_block(log: Log) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("a", when_full="block", capacity=1)
        await bus.publish("a")
        waiting = asyncio.create_task(bus.publish("a"))
        await until(lambda: bus.statistics().blocked_by)
        await ticks(20)
        assert not waiting.done()
        await events.close()
        assert await waiting == Receipt(2)
        assert bus.statistics().blocked_by == ()


async def test_a_reader_that_is_catching_up_does_not_block(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a")
        events = bus.subscribe("a", when_full="block", capacity=1, start="earliest")
        for _ in range(10):
            await bus.publish("a")
        assert sequences(await take(events, 11)) == list(range(1, 12))


async def test_a_task_that_begins_to_read_during_the_block_is_told_until_it_has_made_room(log: Log) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("a", when_full="block", capacity=1)
        await bus.publish_many([("a", number) for number in range(5)])
        await until(lambda: bus.statistics().blocked_by)

        async def read() -> None:
            async for event in events:
                if event.data < 4:
                    with pytest.raises(WouldDeadlockError):
                        await bus.publish("b")
                else:
                    await bus.publish("b", "now there is room")
                    return

        await asyncio.create_task(read())
        assert payloads(await bus.query("b")) == ["now there is room"]


@pytest.mark.parametrize("way", ["thread", "task"])
async def test_who_waits_beside_a_reader_that_nobody_reads_waits_on(way: str, log: Log) -> None:
    """Nobody is the reader, so nobody waits for himself."""
    store = log.staged()
    async with EventBus(store, inbox_capacity=1) as bus:
        store.gate.clear()
        bus.publish_nowait("a")
        await store.appending.wait()
        bus.publish_nowait("a")
        if way == "thread":
            waiting: asyncio.Task[Any] = asyncio.create_task(asyncio.to_thread(bus.publish_from_thread, "a"))
        else:
            waiting = asyncio.create_task(bus.publish("a"))
        await until(lambda: bus.statistics().waiting_publishers)
        events = bus.subscribe("a", when_full="block", capacity=1)
        store.gate.set()
        await until(lambda: bus.statistics().blocked_by)
        await ticks(20)
        assert not waiting.done()
        assert sequences(await take(events, 3)) == [1, 2, 3]
        receipt = await waiting
        assert (await receipt if isinstance(receipt, PendingReceipt) else receipt).sequence == 3


# -------------------------------------------------------------------------------------------------- waiting for oneself


class Handling:
    """A handler with `when_full="block"` that does something when it gets its first event."""

    def __init__(self, bus: EventBus, act: Any) -> None:
        self.bus = bus
        self.raised: AsyncBusError | None = None
        self.result: Any = None
        self.go = asyncio.Event()
        self.acting = asyncio.Event()
        self.acted = asyncio.Event()
        self.events: list[Event] = []
        self._act = act
        self.subscription = bus.subscribe("a", self, when_full="block", capacity=2)

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > 1:
            return
        await self.go.wait()
        self.acting.set()
        try:
            self.result = await self._act(self.bus)
        except AsyncBusError as error:
            self.raised = error
        self.acted.set()

    async def first_event(self) -> None:
        await self.bus.publish("a", "first")
        await until(lambda: self.events)


async def publish(bus: EventBus) -> Receipt:
    return await bus.publish("b", "own")


async def publish_with_a_timeout(bus: EventBus) -> Receipt:
    return await bus.publish("b", "own", timeout=60)


async def publish_many(bus: EventBus) -> list[Receipt]:
    return await bus.publish_many([("b", "own"), ("b", "own")])


async def await_a_pending_receipt(bus: EventBus) -> Receipt:
    return await bus.publish_nowait("b", "pending")


WAITING = [publish, publish_with_a_timeout, publish_many]
ADMINISTERING = [EventBus.flush, EventBus.drain, EventBus.clear]


@pytest.mark.fault(10)
@pytest.mark.parametrize("act", [*WAITING, await_a_pending_receipt, *ADMINISTERING])
async def test_a_handler_that_would_wait_for_itself_is_told(act: Any, log: Log) -> None:
    async with log.bus() as bus:
        handling = Handling(bus, act)
        await handling.first_event()
        await bus.publish_many([("a", number) for number in range(5)])
        await until(lambda: bus.statistics().blocked_by == (handling.subscription.name,))
        bus.publish_nowait("c")  # what `flush` and its like have to wait for
        handling.go.set()
        await handling.acted.wait()
        assert isinstance(handling.raised, WouldDeadlockError)
        assert "block" in str(handling.raised)
        await bus.drain()
        assert payloads(handling.events) == ["first", *range(5)]
        # Only what was accepted before it was waited for is stored.
        assert payloads(await bus.query("b")) == (["pending"] if act is await_a_pending_receipt else [])


@pytest.mark.fault(10)
@pytest.mark.parametrize("act", [*WAITING, await_a_pending_receipt, *ADMINISTERING])
async def test_a_handler_that_waits_when_the_block_begins_is_told(act: Any, log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        handling = Handling(bus, act)
        await handling.first_event()
        store.gate.clear()
        filling = [bus.publish_nowait("a", number) for number in range(5)]
        await store.appending.wait()
        bus.publish_nowait("c")  # what `flush` and its like have to wait for
        handling.go.set()
        await handling.acting.wait()
        await ticks(5)
        assert not handling.acted.is_set()
        store.gate.set()
        await handling.acted.wait()
        assert isinstance(handling.raised, WouldDeadlockError)
        await asyncio.gather(*filling)
        await bus.drain()
        assert payloads(handling.events) == ["first", *range(5)]
        assert payloads(await bus.query("b")) == (["pending"] if act is await_a_pending_receipt else [])


@pytest.mark.fault(10)
@pytest.mark.parametrize("act", WAITING)
async def test_a_handler_that_stands_in_line_when_the_block_begins_is_told(act: Any, log: Log) -> None:
    store = log.staged()
    async with EventBus(store, inbox_capacity=5) as bus:
        handling = Handling(bus, act)
        await handling.first_event()
        store.gate.clear()
        filling = [bus.publish_nowait("a", number) for number in range(2)]
        await store.appending.wait()
        filling += [bus.publish_nowait("c", number) for number in range(5)]
        handling.go.set()
        await until(lambda: bus.statistics().waiting_publishers == 1)
        store.gate.set()
        await handling.acted.wait()
        assert isinstance(handling.raised, WouldDeadlockError)
        assert bus.statistics().waiting_publishers == 0
        await asyncio.gather(*filling)
        await bus.drain()
        assert await bus.query("b") == []


@pytest.mark.parametrize("way", ["accepted", "nowait"])
async def test_a_handler_whose_queue_is_full_may_publish_without_waiting(way: str, log: Log) -> None:
    async def accepted(bus: EventBus) -> PendingReceipt:
        return await bus.publish("b", ack="accepted") if way == "accepted" else bus.publish_nowait("b")

    async with log.bus() as bus:
        handling = Handling(bus, accepted)
        await handling.first_event()
        await bus.publish_many([("a", number) for number in range(5)])
        await until(lambda: bus.statistics().blocked_by)
        handling.go.set()
        await handling.acted.wait()
        assert handling.raised is None
        assert (await handling.result).sequence == 7


@pytest.mark.parametrize("act", WAITING)
async def test_a_handler_whose_queue_has_room_may_wait(act: Any, log: Log) -> None:
    async with log.bus() as bus:
        handling = Handling(bus, act)
        await handling.first_event()
        await bus.publish("a")
        handling.go.set()
        await handling.acted.wait()
        assert handling.raised is None
        assert payloads(await bus.query("b"))[0] == "own"


async def test_another_handler_may_wait_while_one_blocks(log: Log) -> None:
    """It is not the one that the writer waits for."""
    async with log.bus() as bus:

        async def answer(event: Event) -> None:
            await bus.publish("answer", event.data)

        bus.subscribe("a", answer)
        blocking = bus.subscribe("a", when_full="block", capacity=1)
        await bus.publish_many([("a", number) for number in range(3)])
        await until(lambda: bus.statistics().blocked_by)
        await ticks(20)
        assert payloads(await take(blocking, 3)) == [0, 1, 2]
        await bus.drain()
        assert payloads(await bus.query("answer")) == [0, 1, 2]


async def test_a_read_only_bus_has_no_writer_to_hold_back() -> None:
    written = MemoryStore()
    async with EventBus(Following(written)) as bus:
        with pytest.raises(InvalidOptionError, match="read-only"):
            bus.subscribe("a", when_full="block")
        with pytest.raises(StoreReadOnlyError):
            await bus.publish("a")
        assert bus.statistics().subscriptions == ()
