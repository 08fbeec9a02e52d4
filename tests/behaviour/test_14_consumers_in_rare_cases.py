"""What is rare and must hold as well: moving over dead letters, leaving by an error, waiting for oneself."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asyncbus import (
    ConsumerPatternError,
    ConsumerStoppedError,
    Delivery,
    Event,
    EventBus,
    InvalidHandlerError,
    MemoryStore,
    RetriedLetters,
    Retry,
    WouldDeadlockError,
)
from asyncbus.testing import FaultyStore
from tests.behaviour.consuming import ONCE, FailingHandler, parked, publish_batch, settled
from tests.behaviour.projection import projection
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


# --------------------------------------------------------------------------------------------- moving over dead letters


@pytest.mark.parametrize("is_active", [True, False])
async def test_a_seek_takes_the_dead_letters_that_come_again_and_leaves_the_others(is_active: bool, log: Log) -> None:
    handling = FailingHandler(failing={1, 2, 4})
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=ONCE)
        await publish_batch(bus, 4)
        await settled(bus)
        if not is_active:
            await consumer.close()
        handling.failing = {4}
        await bus.seek("one", start=2)
        if not is_active:
            bus.consume("one", "a", handling.handle, retry=ONCE)
        await settled(bus)
        assert handling.done == [3, 2, 3]
        assert parked(await bus.dead_letters("one")) == [1, 4]
        [one] = await bus.consumers()
        assert one.dead_letters == 2


async def test_an_effect_that_a_seek_has_repeated_is_not_repeated_by_its_old_dead_letter(
    log: Log, tmp_path: Path
) -> None:
    async with projection(tmp_path / "blocks.db") as blocks, log.bus() as bus:
        bus.consume("one", "a", blocks.handle, effects=blocks.effects, retry=ONCE)
        blocks.failing = {2}
        await publish_batch(bus, 2)
        await settled(bus)
        blocks.failing = set()
        await bus.seek("one", start=2)
        await settled(bus)
        assert await bus.retry_dead_letters("one") == RetriedLetters()
        assert await blocks.rows() == [1, 2]


async def test_a_dead_letter_that_was_retried_and_is_parked_again_after_a_seek_has_its_effect(
    log: Log, tmp_path: Path
) -> None:
    async with projection(tmp_path / "blocks.db") as blocks, log.bus() as bus:
        bus.consume("one", "a", blocks.handle, effects=blocks.effects, retry=ONCE)
        for _ in range(2):
            blocks.failing = {1}
            await bus.seek("one", start=1)
            if not await bus.latest_sequence():
                await publish_batch(bus, 1)
            await settled(bus)
            blocks.failing = set()
            assert await bus.retry_dead_letters("one") == RetriedLetters(done=1)
        assert await blocks.rows() == [1, 1]


async def test_a_consumer_that_was_deleted_begins_at_its_start_also_where_it_has_effects(
    log: Log, tmp_path: Path
) -> None:
    async with projection(tmp_path / "blocks.db") as blocks, log.bus() as bus:
        consumer = bus.consume("one", "a", blocks.handle, effects=blocks.effects)
        await publish_batch(bus, 1, "a")
        await publish_batch(bus, 1, "b")
        await publish_batch(bus, 1, "a")
        await settled(bus)
        await consumer.close()
        await bus.delete_consumer("one")
        bus.consume("one", "b", blocks.handle, effects=blocks.effects)
        await settled(bus)
        assert await blocks.rows() == [1, 2, 3]


# ------------------------------------------------------------------------------------------- effects and transactions


@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_a_handler_that_ends_the_transaction_of_its_effect_stops_its_consumer(
    how: str, log: Log, tmp_path: Path
) -> None:
    async with projection(tmp_path / "blocks.db") as blocks, log.bus() as bus:

        async def handle(event: Event) -> None:
            await blocks.handle(event)
            await getattr(blocks.connection, how)()

        consumer = bus.consume("one", "a", handle, effects=blocks.effects)
        await publish_batch(bus, 2)
        await until(lambda: consumer.error is not None)
        assert isinstance(consumer.error, ConsumerStoppedError)
        assert "transaction" in str(consumer.error)
        assert blocks.got == [1]


async def test_an_event_with_effects_is_not_acknowledged_before_they_are_committed(log: Log, tmp_path: Path) -> None:
    async with projection(tmp_path / "blocks.db") as blocks, log.bus() as bus:

        async def handle(event: Event, delivery: Delivery) -> None:
            await blocks.handle(event)
            if event.sequence == 1:
                await delivery.ack()

        bus.consume("one", "a", handle, effects=blocks.effects, retry=ONCE)
        await publish_batch(bus, 2)
        await settled(bus)
        [letter] = await bus.dead_letters("one")
        assert letter.error.startswith("WouldDeadlockError")
        assert await blocks.rows() == [2]


# ---------------------------------------------------------------------------------------- iterating, and leaving


async def test_what_a_clean_end_gives_back_is_never_parked_for_it(log: Log) -> None:
    for life in range(1, 4):
        async with log.bus() as bus:
            if life == 1:
                await publish_batch(bus, 1)
            async with bus.consume("one", "a", retry=Retry(attempts=1)) as consumer:
                delivery = await anext(consumer)
                assert (delivery.event.sequence, delivery.attempt) == (1, life)
    async with log.bus() as bus:
        assert await bus.dead_letters("one") == []


async def test_an_error_that_leaves_a_consumer_is_the_end_of_a_last_attempt(log: Log) -> None:
    async with log.bus() as bus:
        await publish_batch(bus, 2)
        for _ in range(2):
            with suppress(ValueError):
                async with bus.consume("one", "a", retry=Retry(attempts=2)) as consumer:
                    await anext(consumer)
                    raise ValueError("no such block")
        async with bus.consume("one", "a", retry=Retry(attempts=2)) as consumer:
            assert (await anext(consumer)).event.sequence == 2
        [letter] = await bus.dead_letters("one")
        assert (letter.event.sequence, letter.attempts, letter.error) == (1, 2, "ValueError: no such block")
        assert "raise ValueError" in letter.traceback


# --------------------------------------------------------------------------------------------- ending, and being seen


async def test_what_has_ended_a_consumer_is_seen_where_nobody_holds_it(log: Log) -> None:
    async with log.bus() as bus:
        await publish_batch(bus, 1)
        await bus.consume("one", "a", FailingHandler().handle).close()
        consumer = bus.consume("one", "b", FailingHandler().handle)
        await until(lambda: not consumer.is_open)
        await consumer.close()
        [one] = await bus.consumers()
        assert isinstance(one.error, ConsumerPatternError)
        for waiting in (bus.wait_processed("one", 1), bus.retry_dead_letters("one")):
            with pytest.raises(ConsumerPatternError):
                await waiting
        bus.consume("one", "a", FailingHandler().handle)
        await bus.wait_processed("one", 1)
        [one] = await bus.consumers()
        assert one.error is None


async def test_a_writer_that_is_cancelled_while_it_clears_leaves_nobody_waiting_for_what_consumers_store() -> None:
    store = FaultyStore(MemoryStore())
    bus = EventBus(store)
    await bus.__aenter__()
    async with bus.consume("one", "a", ack="manual") as consumer:
        await publish_batch(bus, 1)
        delivery = await anext(consumer)
        appending, saving = store.hang("commit", nth=1), store.hang("commit", nth=2)
        bus.publish_nowait("a")
        acknowledging = [asyncio.ensure_future(delivery.ack())]
        clearing = asyncio.ensure_future(bus.clear())
        await appending.reached.wait()
        acknowledging.append(asyncio.ensure_future(bus.pause("one")))
        await ticks(5)
        appending.release()
        await saving.reached.wait()
        [writer] = [task for task in asyncio.all_tasks() if task.get_name() == "asyncbus writer"]
        writer.cancel()
        await asyncio.wait([clearing, *acknowledging])
        assert [task.exception() is None for task in (clearing, *acknowledging)] == [False, True, False]
    await bus.close()


# --------------------------------------------------------------------------------------------- handlers, and themselves


@pytest.mark.parametrize("call", ["wait_processed", "retry_dead_letters", "seek"])
async def test_a_handler_that_would_wait_for_itself_is_told(call: str, log: Log) -> None:
    calls: dict[str, Any] = {
        "wait_processed": lambda bus, event: bus.wait_processed("one", event.sequence),
        "retry_dead_letters": lambda bus, event: bus.retry_dead_letters("one"),
        "seek": lambda bus, event: bus.seek("one", start=event.sequence),
    }
    async with log.bus() as bus:

        async def handle(event: Event) -> None:
            with pytest.raises(WouldDeadlockError, match=call):
                await calls[call](bus, event)

        bus.consume("one", "a", handle, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        assert await bus.dead_letters("one") == []


async def test_a_handler_may_wait_for_what_its_consumer_has_passed(log: Log) -> None:
    waited: list[int] = []
    async with log.bus() as bus:

        async def handle(event: Event) -> None:
            await bus.wait_processed("one", event.sequence - 1)
            waited.append(event.sequence)

        bus.consume("one", "a", handle, retry=ONCE)
        await publish_batch(bus, 2)
        await settled(bus)
    assert waited == [1, 2]


def _nothing() -> None: ...


def _three(event: Event, delivery: Delivery, more: int) -> None: ...


def _named(event: Event, *, more: int) -> None: ...


@pytest.mark.parametrize("handler", [_nothing, _three, _named])
async def test_a_handler_that_cannot_be_called_is_refused_at_once_and_its_name_is_free(
    handler: Any, memory_log: Log
) -> None:
    async with memory_log.bus() as bus:
        with pytest.raises(InvalidHandlerError, match="delivery"):
            bus.consume("one", "a", handler)
        await publish_batch(bus, 1)
        handling = FailingHandler()
        bus.consume("one", "a", handling.handle)
        await settled(bus)
        assert handling.done == [1]
