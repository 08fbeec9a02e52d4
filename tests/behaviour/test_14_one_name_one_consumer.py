"""Durable consumers: a name has one holder and one meaning, and what cannot be handed out any more is said."""

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

import asyncbus
from asyncbus import (
    AsyncBusError,
    CheckpointAheadError,
    Consumer,
    ConsumerInUseError,
    ConsumerPatternError,
    EventBus,
    EventsLostError,
    InvalidOptionError,
    MemoryStore,
    SQLiteEffects,
    StaleAckError,
    StartBeyondHeadError,
)
from asyncbus.store.consumers import ConsumerState
from tests.behaviour.consuming import Handler, keeping, passing, publish_keys, quiet
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]


async def ended(consumer: Consumer) -> AsyncBusError:
    """What ended it, once its name is free."""
    await until(lambda: consumer.error is not None)
    await consumer.close()
    assert isinstance(consumer.error, AsyncBusError)
    return consumer.error


# ---------------------------------------------------------------------------------------------- the same name twice


@pytest.mark.fault(68)
async def test_a_name_that_is_taken_is_refused_at_the_call_and_nothing_changes_for_its_holder(log: Log) -> None:
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None)
        consumer = bus.consume("one", "a", handler)
        for pattern, other in (("a", handler), ("b", None)):
            with pytest.raises(ConsumerInUseError, match="'one' is active on this bus already") as caught:
                bus.consume("one", pattern, other)
            assert caught.value.name == "one"
        await publish_keys(bus, None)
        await passing(consumer, 2)
    assert handler.got == [(1, 1), (2, 1)]


@pytest.mark.fault(68)
async def test_a_name_is_taken_from_when_it_is_registered_though_the_bus_is_not_open(log: Log) -> None:
    bus, handler = log.bus(), Handler()
    consumer = bus.consume("one", "a", handler)
    with pytest.raises(ConsumerInUseError):
        bus.consumer("one", "a")(handler)
    async with bus:
        with pytest.raises(ConsumerInUseError):
            bus.consume("one", "a", handler)
        await publish_keys(bus, None)
        await passing(consumer, 1)
    assert handler.got == [(1, 1)]


async def test_a_name_has_a_limit_that_its_error_tells(log: Log) -> None:
    async with log.bus() as bus:
        await bus.consume("n" * 200, "a").close()
        for name in ("n" * 201, "n" * 300):
            with pytest.raises(InvalidOptionError, match="name must be a printable string of 1 to 200 characters"):
                bus.consume(name, "a")


async def test_a_name_is_free_when_its_holder_is_closed_and_not_before(log: Log) -> None:
    handler = Handler()
    handler.hold(1)
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler)
        await until(lambda: handler.running)
        closing = asyncio.create_task(consumer.close())
        await until(lambda: not consumer.is_open)
        with pytest.raises(ConsumerInUseError):
            bus.consume("one", "a", handler)
        handler.release()
        await closing
        await passing(bus.consume("one", "a", handler), 2)
    assert handler.got == [(1, 1), (2, 1)]


async def test_a_name_that_was_registered_and_closed_before_the_bus_opens_is_free(log: Log) -> None:
    bus, handler = log.bus(), Handler()
    await bus.consume("one", "a", handler).close()
    consumer = bus.consume("one", "a", handler)
    async with bus:
        await publish_keys(bus, None)
        await passing(consumer, 1)
    assert handler.got == [(1, 1)]


@pytest.mark.fault(68)
async def test_another_process_with_the_same_log_is_refused_before_any_name_is(file_log: Log) -> None:
    async with file_log.bus():
        with pytest.raises(asyncbus.StoreLockedError):
            async with file_log.bus():
                pass


@pytest.mark.fault(68)
async def test_a_holder_whose_name_was_taken_over_stores_nothing_more_and_ends(log: Log) -> None:
    """By another process, say, with a store that lets several write."""
    store = keeping(log)
    async with EventBus(store) as bus:
        await publish_keys(bus, None, None)
        deliveries = bus.consume("one", "a", ack="manual")
        delivery = await anext(deliveries)
        [state] = await store.consumers()
        taken = ConsumerState(name="one", pattern="a", epoch=state.epoch + 1, checkpoint=1, settled_to=1, begun_to=1)
        await store.commit((), [taken])
        await delivery.ack()
        with pytest.raises(StaleAckError, match="was taken over by another holder of its name since epoch 1") as caught:
            await anext(deliveries)
        assert (caught.value.sequence, caught.value.current) == (None, None)
        assert isinstance(await ended(deliveries), StaleAckError)
        assert await store.consumers() == [taken]


# ------------------------------------------------------------------------------------------------ another meaning


@pytest.mark.parametrize("found", ["b", "a.*", "*", ("a", "b")])
async def test_another_pattern_for_a_name_is_an_error_that_says_what_to_do(
    found: Any, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None)
        await passing(bus.consume("one", "a", handler), 1)
    async with log.bus() as bus:
        error = await ended(bus.consume("one", found, handler))
        assert isinstance(error, ConsumerPatternError)
        assert (error.name, error.stored) == ("one", "a")
        assert all(way in str(error) for way in ("use the stored one", "another name", "delete_consumer"))
        assert str(error) in caplog.text
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        with pytest.raises(ConsumerPatternError):
            await anext(bus.consume("one", found))
        await bus.delete_consumer("one")
        await passing(bus.consume("one", found, handler), 1)


async def test_the_same_pattern_in_other_words_is_the_same(log: Log) -> None:
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None)
        await passing(bus.consume("one", ["b", "a"], handler), 1)
    async with log.bus() as bus:
        await publish_keys(bus, None)
        await passing(bus.consume("one", ["a", "b", "a"], handler), 2)
    assert handler.sequences == [1, 2]


async def test_a_start_beyond_the_head_leaves_no_consumer_behind(log: Log) -> None:
    async with log.bus() as bus:
        await publish_keys(bus, None)
        assert isinstance(await ended(bus.consume("one", "a", Handler(), start=3)), StartBeyondHeadError)
        assert await bus.consumers() == []


# ---------------------------------------------------------------------------------------- a log that does not fit


@pytest.mark.fault(64)
async def test_a_checkpoint_beyond_the_head_is_an_error_and_nothing_is_skipped(log: Log) -> None:
    handler = Handler()
    store = keeping(log)
    await store.open()
    await store.commit((), [ConsumerState(name="one", pattern="a", checkpoint=7, settled_to=7, begun_to=7)])
    await store.close()
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        error = await ended(bus.consume("one", "a", handler))
        assert isinstance(error, CheckpointAheadError)
        assert (error.name, error.checkpoint, error.head) == ("one", 7, 2)
        assert "restore the newer log" in str(error)
        with pytest.raises(CheckpointAheadError):
            await anext(bus.consume("one", "a"))
        await bus.seek("one", start="latest")
        consumer = bus.consume("one", "a", handler)
        await publish_keys(bus, None)
        await passing(consumer, 3)
    assert handler.sequences == [3]


@pytest.mark.fault(64)
async def test_an_older_copy_of_the_log_beside_newer_effects_is_noticed(file_log: Log, tmp_path: Path) -> None:
    older = Log("sqlite", tmp_path / "older")
    older.path.parent.mkdir()
    async with aiosqlite.connect(tmp_path / "effects.db") as database:

        async def live(log: Log, *, events: int, upto: int) -> None:
            async with log.bus() as bus:
                await publish_keys(bus, *[None] * events)
                consumer = bus.consume("one", "a", lambda event: None, effects=SQLiteEffects(database))
                await passing(consumer, upto)

        await live(file_log, events=2, upto=2)
        shutil.copy(file_log.path, older.path)
        await live(file_log, events=3, upto=5)
        async with older.bus() as bus:
            await publish_keys(bus, None)
            error = await ended(bus.consume("one", "a", lambda event: None, effects=SQLiteEffects(database)))
            assert isinstance(error, CheckpointAheadError)
            assert (error.checkpoint, error.head) == (5, 3)


@pytest.mark.fault(65)
async def test_what_it_owes_was_cleared_while_it_was_at_rest(log: Log) -> None:
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None, None, None)
        await passing(bus.consume("one", "a", handler, start=2), 3)
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        await bus.clear()
        await publish_keys(bus, None)
        error = await ended(bus.consume("one", "a", handler))
        assert isinstance(error, EventsLostError)
        assert (error.first, error.last, error.consumer) == (4, 5, "one")
        assert "seek('one', start=6)" in str(error)
        await bus.seek("one", start=6)
        await passing(bus.consume("one", "a", handler), 6)
    assert handler.sequences == [2, 3, 6]


@pytest.mark.fault(65)
async def test_what_it_owes_was_cleared_while_it_was_catching_up(log: Log) -> None:
    handler = Handler()
    handler.hold(1)
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 5000)
        consumer = bus.consume("one", "a", handler)
        await until(lambda: handler.running)
        await bus.clear()
        handler.release()
        error = await ended(consumer)
        assert isinstance(error, EventsLostError)
        assert (error.last, error.consumer) == (5000, "one")
        assert "seek('one', start=5001)" in str(error)
        assert error.first > 1, "what it had read is handed out"
        assert handler.done == list(range(1, len(handler.done) + 1))
        await bus.seek("one", start=5001)
        await publish_keys(bus, None)
        await passing(bus.consume("one", "a", handler), 5001)


@pytest.mark.fault(65)
async def test_what_waits_for_its_retry_was_cleared_while_it_was_at_rest(log: Log) -> None:
    async def fail(event: object) -> None:
        raise RuntimeError("not today")

    async with log.bus() as bus:
        await publish_keys(bus, None, None, type="a")
        consumer = bus.consume("one", "a", fail, retry=asyncbus.Retry(backoff=60))
        await until(lambda: consumer.waiting_for_retry == 2)
        await consumer.close()
        await bus.clear()
        error = await ended(bus.consume("one", "a", fail))
        assert isinstance(error, EventsLostError)
        assert (error.first, error.last) == (1, 2)
        await bus.seek("one", start="earliest")
        handler = Handler()
        consumer = bus.consume("one", "a", handler)
        await publish_keys(bus, None)
        await passing(consumer, 3)
    assert handler.got == [(3, 1)]


@pytest.mark.fault(65)
async def test_who_owed_nothing_goes_on_after_a_clear(log: Log) -> None:
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler)
        rest = bus.consume("rest", "a", handler)
        for each in (consumer, rest):
            await passing(each, 2)
        await rest.close()
        await bus.clear()
        await publish_keys(bus, None)
        await passing(consumer, 3)
        await passing(bus.consume("rest", "a", handler), 3)
    assert sorted(handler.sequences) == [1, 1, 2, 2, 3, 3]


@pytest.mark.fault(65)
async def test_a_bounded_log_that_has_passed_it_by_says_so(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()
    handler.hold(1)
    async with EventBus(MemoryStore(max_events=100), recent_capacity=10, inbox_capacity=10) as bus:
        consumer = bus.consume("one", "a", handler)
        for _ in range(2000):
            await bus.publish("a")
        await until(lambda: handler.running)
        handler.release()
        error = await ended(consumer)
        assert isinstance(error, EventsLostError)
        assert (error.last, error.consumer) == (1900, "one")
        assert error.first > len(handler.done)
        await bus.seek("one", start=1901)
        await passing(bus.consume("one", "a", handler), 2000)
    assert handler.done[-100:] == list(range(1901, 2001))
    assert "consumer one has ended" in caplog.text


async def test_a_clear_harms_nothing_that_is_in_flight(log: Log) -> None:
    handler = Handler()
    handler.hold(1)
    async with log.bus() as bus:
        await publish_keys(bus, None)
        consumer = bus.consume("one", "a", handler)
        await until(lambda: handler.running)
        await bus.clear()
        handler.release()
        await publish_keys(bus, None)
        await passing(consumer, 2)
        await quiet(bus)
        await ticks(5)
    assert handler.done == [1, 2]
