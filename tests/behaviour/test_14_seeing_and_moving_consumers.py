"""Consumers are seen and moved by name, whether or not they are active."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncbus import (
    ConsumerClosedError,
    Event,
    EventBus,
    EventsLostError,
    InvalidOptionError,
    Retry,
    SQLiteStore,
    StaleAckError,
    StartBeyondHeadError,
    StoreCorruptError,
    StoreReadOnlyError,
    UnknownConsumerError,
    WouldDeadlockError,
)
from tests.behaviour.consuming import (
    FailingHandler,
    Handler,
    handled_events,
    parked,
    parked_events,
    publish_batch,
    settled,
)
from tests.behaviour.stage import HandClock, Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


# ------------------------------------------------------------------------------------------------------- they are seen


async def test_an_active_consumer_tells_all_of_itself(log: Log) -> None:
    clock = HandClock()
    handling = FailingHandler(failing=[1, 2])
    async with log.bus(clock=clock) as bus, bus.consume("two", "*", ack="manual") as deliveries:
        consumer = bus.consume("one", "a", handling.handle, retry=Retry(attempts=2, backoff=0), concurrency=2)
        await publish_batch(bus, 3)
        await settled(bus)
        handling.gate.clear()
        await publish_batch(bus, 4)
        await until(lambda: len(consumer.in_flight) == 2)
        await (await anext(deliveries)).nak(delay=3600, reason="later")
        one, two = await bus.consumers()

        assert (one.name, one.pattern, one.checkpoint, one.backlog) == ("one", "a", 3, 4)
        assert (one.in_flight, one.waiting_for_retry, one.redelivered, one.dead_letters) == (2, 0, 2, 2)
        assert (one.handled, one.failed, one.skipped, one.paused) == (1, 4, 0, False)
        assert one.active_since is not None
        assert one.active_since >= datetime.fromtimestamp(1_700_000_000, UTC)
        assert one.last_error == "ValueError: no such block"
        assert (two.name, two.pattern, two.checkpoint, two.backlog) == ("two", "*", 0, 7)
        assert two.last_error == "later"
        assert bus.statistics().consumers == (one, two)
        handling.gate.set()


async def test_one_that_is_at_rest_tells_what_is_stored(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 3)
        await bus.pause("one")
    async with log.bus() as bus:
        await publish_batch(bus, 2)
        [one] = await bus.consumers()
        assert (one.name, one.pattern, one.checkpoint, one.backlog) == ("one", "a", 3, 2)
        assert (one.in_flight, one.dead_letters, one.paused, one.active_since) == (0, 3, True, None)
        assert one.last_error == "ValueError: no such block"
        assert bus.statistics().consumers == (), "only those that are active"


async def test_a_read_only_bus_sees_them_and_changes_none(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await parked_events(bus, 2)
        async with EventBus(SQLiteStore(file_log.path, read_only=True)) as reader:
            [one] = await reader.consumers()
            assert (one.name, one.checkpoint, one.dead_letters) == ("one", 2, 2)
            assert one.active_since is not None
            assert parked(await reader.dead_letters("one")) == [1, 2]
            for refused in (
                reader.seek("one", start="earliest"),
                reader.pause("one"),
                reader.resume("one"),
                reader.delete_consumer("one"),
                reader.discard_dead_letters("one"),
                reader.retry_dead_letters("one"),
            ):
                with pytest.raises(StoreReadOnlyError):
                    await refused
            with pytest.raises(StoreReadOnlyError):
                reader.consume("one", "a")


@pytest.mark.fault(44)
async def test_a_damaged_event_stops_a_consumer_and_seek_goes_on_behind_it(file_log: Log) -> None:
    handling = FailingHandler()
    async with file_log.bus() as bus:
        await publish_batch(bus, 4)
        store = bus._store
        assert isinstance(store, SQLiteStore)
        await store._appender.connection.rows("UPDATE events SET data = '99' WHERE sequence = 3")
    async with file_log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        with pytest.raises(StoreCorruptError) as corrupt:
            await settled(bus)
        assert corrupt.value.sequence == 3
        await consumer.close()
        assert consumer.checkpoint == max(handling.done, default=0) < 3

        await bus.seek("one", start=4)
        bus.consume("one", "a", handling.handle)
        await settled(bus)
        assert handling.done[-1] == 4
        assert 3 not in handling.done


# ------------------------------------------------------------------------------------------------------ they are moved


@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.parametrize(("start", "comes"), [("earliest", [1, 2, 3, 4]), (3, [3, 4]), (4, [4]), ("latest", [4])])
async def test_after_a_seek_it_goes_on_there(start: Any, comes: list[int], is_active: bool, log: Log) -> None:
    async with log.bus() as bus:
        consumer, handling = await handled_events(bus, 3)
        if not is_active:
            await consumer.close()
        await bus.seek("one", start=start)
        handling.got.clear()
        if not is_active:
            bus.consume("one", "a", handling.handle, start="latest")
        await publish_batch(bus, 1)
        await settled(bus)
        assert handling.got == comes


async def test_a_seek_is_stored_when_it_returns(log: Log) -> None:
    async with log.bus() as bus:
        await handled_events(bus, 3)
        await bus.pause("one")
        await bus.seek("one", start=2)
        store: Any = bus._store
        [state] = await store.consumers()
        assert (state.checkpoint, state.settled_to, state.begun_to, state.owed) == (1, 1, 1, {})


async def test_a_seek_to_a_moment_goes_by_when_events_were_recorded(log: Log) -> None:
    clock, handling = HandClock(), FailingHandler()
    async with log.bus(clock=clock) as bus:
        bus.consume("one", "a", handling.handle)
        for _ in range(3):
            clock.advance(60)
            await publish_batch(bus, 1)
        await settled(bus)
        handling.got.clear()
        moment = datetime.fromtimestamp(clock.now() / 1e6, UTC)
        await bus.seek("one", start=moment - timedelta(seconds=90))
        await until(lambda: handling.got == [2, 3])
        await bus.seek("one", start=moment + timedelta(seconds=1))
        await publish_batch(bus, 1)
        await settled(bus)
        assert handling.got == [2, 3, 4]


async def test_the_handler_at_work_is_waited_for(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, concurrency=2)
        handling.gate.clear()
        await publish_batch(bus, 5)
        await until(lambda: len(handling.got) == 2)
        seeking = asyncio.create_task(bus.seek("one", start=5))
        await ticks(20)
        assert not seeking.done()
        handling.gate.set()
        await seeking
        await settled(bus)
        assert sorted(handling.done) == sorted({*handling.done}), "none twice"
        assert handling.done[-1] == 5
        assert consumer.checkpoint == 5


async def test_a_seek_waits_for_the_handler_at_work_and_not_for_what_is_begun_ahead(log: Log) -> None:
    got: list[int] = []
    gate = asyncio.Event()

    async def handle(event: Event) -> None:
        got.append(event.sequence)
        if event.sequence >= 3_000:  # so much is begun ahead of a handler that has been quick so far
            await gate.wait()

    async with log.bus() as bus:
        await publish_batch(bus, 5_000)
        bus.consume("one", "*", handle)
        await until(lambda: got[-1:] == [3_000])
        seeking = asyncio.create_task(bus.seek("one", start="latest"))
        await ticks(20)
        gate.set()
        await seeking

    assert got[-1] == 3_000


async def test_a_seek_that_was_cancelled_is_carried_out_and_the_next_one_comes_after_it(log: Log) -> None:
    handler = Handler()
    handler.hold(1)
    async with log.bus() as bus:
        await publish_batch(bus, 3)
        consumer = bus.consume("one", "*", handler)
        await until(lambda: 1 in handler.running)
        cancelled = asyncio.create_task(bus.seek("one", start=2))
        await ticks(20)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        seeking = asyncio.create_task(bus.seek("one", start="latest"))
        await ticks(20)
        handler.release()
        await seeking

        assert consumer.checkpoint == 3


async def test_what_was_handed_out_before_is_stale_for_who_iterates(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "a", ack="manual") as deliveries:
        await publish_batch(bus, 2)
        before = await anext(deliveries)
        await bus.seek("one", start="earliest")
        for outcome in (before.ack(), before.nak(), before.reject(), before.in_progress()):
            with pytest.raises(StaleAckError):
                await outcome
        again = await anext(deliveries)
        assert (again.event.sequence, again.attempt) == (1, 1)
        await again.ack()
        assert deliveries.checkpoint == 1


async def test_an_iterator_that_waits_gets_what_a_seek_brings_back(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "a") as deliveries:
        await publish_batch(bus, 1)
        await anext(deliveries)
        waiting = asyncio.create_task(anext(deliveries))
        await until(lambda: deliveries.checkpoint == 1)
        await bus.seek("one", start=1)
        assert (await waiting).event.sequence == 1


async def test_events_that_wait_for_their_retry_come_only_if_they_lie_behind_the_new_place(log: Log) -> None:
    handling = FailingHandler(failing=[1, 3])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=Retry(backoff=3600, maximum=3600))
        await publish_batch(bus, 3)
        await until(lambda: consumer.waiting_for_retry == 2)
        handling.failing.clear()
        await bus.seek("one", start=3)
        await settled(bus)
        assert handling.got == [1, 2, 3, 3]
        assert consumer.waiting_for_retry == 0


async def test_two_seeks_at_the_same_time_come_one_after_the_other(log: Log) -> None:
    async with log.bus() as bus:
        _, handling = await handled_events(bus, 3)
        await asyncio.gather(*(bus.seek("one", start=start) for start in ("earliest", 2, 3)))
        await settled(bus)
        assert handling.got[3:][-1] == 3


async def test_who_iterates_cannot_wait_for_the_event_that_is_done_when_the_next_is_asked_for(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "a") as consumer:
        await publish_batch(bus, 2)
        first = await anext(consumer)
        await bus.wait_processed("one", first.event.sequence - 1)
        with pytest.raises(WouldDeadlockError, match="is done when the next one is asked for"):
            await bus.wait_processed("one", first.event.sequence)
        waiting = asyncio.create_task(bus.wait_processed("one", first.event.sequence))
        await anext(consumer)
        await waiting


async def test_a_handler_cannot_wait_for_its_own_end(log: Log) -> None:
    errors: list[Exception] = []

    async def handle(event: Event) -> None:
        try:
            await bus.seek("one", start="earliest")
        except WouldDeadlockError as error:
            errors.append(error)

    async with log.bus() as bus:
        for timeout in (None, 10):
            consumer = bus.consume("one", "a", handle, timeout=timeout)
            await publish_batch(bus, 1)
            await settled(bus)
            await consumer.close()
    assert len(errors) == 2


@pytest.mark.parametrize("is_active", [True, False])
async def test_a_place_that_is_not_in_the_log_is_refused(is_active: bool, log: Log) -> None:
    async with log.bus() as bus:
        consumer, _ = await handled_events(bus, 3)
        await bus.clear()
        await publish_batch(bus, 1)
        await settled(bus)
        if not is_active:
            await consumer.close()
        with pytest.raises(StartBeyondHeadError):
            await bus.seek("one", start=6)
        with pytest.raises(EventsLostError):
            await bus.seek("one", start=2)
        with pytest.raises(InvalidOptionError):
            await bus.seek("one", start="newest")  # type: ignore[arg-type]  # that is what is refused
        with pytest.raises(UnknownConsumerError, match="'onne'"):
            await bus.seek("onne", start="earliest")
        [one] = await bus.consumers()
        assert one.checkpoint == 4


async def test_a_seek_of_a_consumer_that_is_closed_meanwhile_says_so(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        handling.gate.clear()
        await publish_batch(bus, 1)
        await until(lambda: handling.got)
        seeking = asyncio.create_task(bus.seek("one", start="earliest"))
        await ticks(3)
        closing = asyncio.create_task(consumer.close())
        await until(lambda: not consumer.is_open)
        handling.gate.set()
        with pytest.raises(ConsumerClosedError):
            await seeking
        await closing
