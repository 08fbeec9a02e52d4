"""Consumers are seen, moved, paused, waited for and deleted by name, whether or not they are active."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncbus import (
    BusClosedError,
    ConsumerClosedError,
    ConsumerInUseError,
    ConsumerStoppedError,
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
from tests.behaviour.consuming import ONCE, FailingHandler, parked, parked_events, publish_batch, settled
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
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 3)
        await settled(bus)
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
    handling = FailingHandler()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 3)
        await settled(bus)
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
    handling = FailingHandler()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 3)
        await settled(bus)
        await asyncio.gather(*(bus.seek("one", start=start) for start in ("earliest", 2, 3)))
        await settled(bus)
        assert handling.got[3:][-1] == 3


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
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 3)
        await settled(bus)
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


# ----------------------------------------------------------------------------------------------------- they are paused


async def test_a_paused_consumer_gets_nothing_until_it_is_resumed(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 1)
        await settled(bus)
        await bus.pause("one")
        last = await publish_batch(bus, 3)
        with pytest.raises(TimeoutError):
            await bus.wait_processed("one", last, timeout=0.02)
        assert (handling.got, consumer.statistics().paused, consumer.backlog) == ([1], True, 3)
        await bus.resume("one")
        await settled(bus)
        assert (handling.got, consumer.statistics().paused) == ([1, 2, 3, 4], False)


async def test_what_is_in_flight_goes_on(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, concurrency=2)
        handling.gate.clear()
        await publish_batch(bus, 5)
        await until(lambda: len(handling.got) == 2)
        await bus.pause("one")
        handling.gate.set()
        await until(lambda: len(handling.done) == 2)
        await ticks(20)
        assert handling.got == [1, 2]
        await bus.resume("one")
        await settled(bus)


async def test_a_pause_is_remembered(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 1)
        await settled(bus)
        await bus.pause("one")
        await consumer.close()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 1)
        await until(lambda: consumer.statistics().active_since)
        await ticks(20)
        assert handling.got == [1]
        await consumer.close()
        await bus.resume("one")
        bus.consume("one", "a", handling.handle)
        await settled(bus)
        assert handling.got == [1, 2]


async def test_one_is_paused_before_it_has_begun(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        await publish_batch(bus, 2)
        consumer = bus.consume("one", "a", handling.handle)
        await bus.pause("one")
        assert consumer.statistics().paused
        await until(lambda: consumer.statistics().active_since)
        await ticks(20)
        assert (handling.got, consumer.statistics().paused) == ([], True)
        await bus.resume("one")
        await settled(bus)


async def test_one_that_iterates_waits_while_it_is_paused(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "a") as deliveries:
        await publish_batch(bus, 1)
        await until(lambda: deliveries.statistics().active_since)
        await bus.pause("one")
        waiting = asyncio.create_task(anext(deliveries))
        await ticks(20)
        assert not waiting.done()
        await bus.resume("one")
        assert (await waiting).event.sequence == 1


async def test_an_unknown_one_is_neither_paused_nor_resumed(log: Log) -> None:
    async with log.bus() as bus:
        for refused in (bus.pause("one"), bus.resume("one")):
            with pytest.raises(UnknownConsumerError):
                await refused


# ---------------------------------------------------------------------------------------------------- they are deleted


async def test_a_mistyped_name_is_seen_and_deleted_with_all_it_has(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 2, name="profle")
        with pytest.raises(ConsumerInUseError):
            await bus.delete_consumer("profle")
    async with log.bus() as bus:
        assert [consumer.name for consumer in await bus.consumers()] == ["profle"]
        await bus.delete_consumer("profle")
        assert (await bus.consumers(), await bus.dead_letters()) == ([], [])
        with pytest.raises(UnknownConsumerError):
            await bus.delete_consumer("profle")
        handling = FailingHandler()
        bus.consume("profle", "a", handling.handle)
        await settled(bus, "profle")
        assert handling.got == [1, 2], "it is a new one"
    async with log.bus() as bus:
        [one] = await bus.consumers()
        assert (one.checkpoint, one.dead_letters) == (2, 0)


async def test_whoever_takes_the_name_while_it_is_deleted_keeps_what_it_does(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        await parked_events(bus, 2)
    for turns in range(6):
        async with log.bus() as bus:
            deleting = asyncio.create_task(bus.delete_consumer("one"))
            await ticks(turns)
            try:
                bus.consume("one", "a", handling.handle)
            except ConsumerInUseError:
                await deleting
                bus.consume("one", "a", handling.handle)
            else:
                await asyncio.wait([deleting])
                deleting.exception()
            await settled(bus)
            checkpoint = (await bus.consumers())[0].checkpoint
        async with log.bus() as bus:
            assert [one.checkpoint for one in await bus.consumers()] == [checkpoint], f"{turns} turns later"


# -------------------------------------------------------------------------------------------------- they are waited for


async def test_who_waits_reads_its_own_writes(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, concurrency=4)
        for _ in range(20):
            receipt = await bus.publish("a")
            await bus.wait_processed("one", receipt.sequence)
            assert receipt.sequence in handling.done


async def test_parked_and_skipped_ones_count_as_processed_and_so_do_other_types(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        parking = bus.consume("one", "a", handling.handle, retry=ONCE)
        skipping = bus.consume("two", "a", handling.handle, retry=ONCE, on_exhausted="skip")
        await publish_batch(bus, 1)
        for consumer in (parking, skipping):
            await bus.wait_processed(consumer.name, 1)
            assert consumer.checkpoint == 1
        assert (parking.dead_letters, skipping.skipped) == (1, 1)
        last = await publish_batch(bus, 3, type="b")
        for consumer in (parking, skipping):
            await bus.wait_processed(consumer.name, last)
            assert consumer.checkpoint == last
            await bus.wait_processed(consumer.name, 0, timeout=0)
        assert handling.got == [1, 1], "each had its own type, once"


async def test_what_waits_for_its_retry_is_not_processed(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=Retry(backoff=3600, maximum=3600))
        await publish_batch(bus, 2)
        await until(lambda: consumer.waiting_for_retry and handling.done == [2])
        with pytest.raises(TimeoutError):
            await bus.wait_processed("one", 1, timeout=0.02)
        with pytest.raises(TimeoutError):
            await bus.wait_processed("one", 2, timeout=0)
        assert consumer.checkpoint == 0


async def test_one_that_begins_behind_the_place_already_is_not_waited_for(log: Log) -> None:
    async with log.bus() as bus:
        bus.consume("one", "a", FailingHandler().handle)
        await publish_batch(bus, 3)
        await settled(bus)
    async with log.bus() as bus:
        bus.consume("one", "a", FailingHandler().handle)
        await bus.wait_processed("one", 3, timeout=10)
        bus.consume("new", "a", FailingHandler().handle, start="latest")
        await bus.wait_processed("new", 3, timeout=10)


async def test_what_cannot_be_waited_for_is_refused(log: Log) -> None:
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", FailingHandler().handle)
        await publish_batch(bus, 1)
        with pytest.raises(InvalidOptionError, match="at most 1"):
            await bus.wait_processed("one", 2)
        with pytest.raises(InvalidOptionError):
            await bus.wait_processed("one", -1)
        with pytest.raises(InvalidOptionError):
            await bus.wait_processed("one", 1, timeout=-1)
        with pytest.raises(UnknownConsumerError):
            await bus.wait_processed("two", 1)
        await settled(bus)
        await consumer.close()
        with pytest.raises(UnknownConsumerError):
            await bus.wait_processed("one", 1)
    with pytest.raises(BusClosedError):
        await bus.wait_processed("one", 1)


@pytest.mark.parametrize("ends", ["closes", "stops"])
async def test_who_waits_is_told_of_the_end_of_the_consumer(ends: str, log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        retry = Retry(attempts=1 if ends == "stops" else 9, backoff=3600, maximum=3600)
        consumer = bus.consume("one", "a", handling.handle, retry=retry, on_exhausted="stop")
        handling.gate.clear()
        await publish_batch(bus, 1)
        waiting = asyncio.create_task(bus.wait_processed("one", 1))
        await until(lambda: handling.got)
        handling.gate.set()
        if ends == "closes":
            await until(lambda: consumer.waiting_for_retry)
            await consumer.close()
        with pytest.raises(ConsumerClosedError if ends == "closes" else ConsumerStoppedError):
            await waiting


async def test_a_closed_bus_administers_nothing(log: Log) -> None:
    bus = log.bus()
    for is_over in (False, True):
        for refused in (
            bus.consumers(),
            bus.seek("one", start="earliest"),
            bus.pause("one"),
            bus.delete_consumer("one"),
            bus.dead_letters(),
            bus.retry_dead_letters("one"),
            bus.discard_dead_letters("one"),
        ):
            with pytest.raises(BusClosedError):
                await refused
        if not is_over:
            async with bus:
                pass
