"""What is done to a consumer that is not active has its effect also where its name is consumed meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from asyncbus import Consumer, ConsumerInUseError, EventBus, MemoryStore
from asyncbus.testing import FaultyStore
from tests.behaviour.consuming import FailingHandler, handled_events, parked_events, publish_batch, quiet, settled
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]

TURNS = range(12)
"""Of the loop, until the name is consumed: from before the first look at the store to after the commit."""


async def handle_three(log: Log) -> None:
    """A log of three events, of which "one", which is not active any more, owes nothing."""
    async with log.bus() as bus:
        await handled_events(bus, 3)


@asynccontextmanager
async def consumed_meanwhile(
    log: Log, change: Callable[[EventBus], object], turns: int
) -> AsyncIterator[tuple[EventBus, Consumer, FailingHandler, asyncio.Task[None]]]:
    """Its name is consumed so many turns after the change has begun."""
    handling = FailingHandler()
    async with log.bus() as bus:
        changing: asyncio.Task[None] = asyncio.create_task(change(bus))  # type: ignore[arg-type]  # all of them are
        await ticks(turns)
        yield bus, bus.consume("one", "a", handling.handle), handling, changing


async def test_a_seek_moves_it(log: Log) -> None:
    await handle_three(log)
    for turns in TURNS:
        async with consumed_meanwhile(log, lambda bus: bus.seek("one", start=2), turns) as (bus, _, handling, seeking):
            await seeking
            await settled(bus)
            assert handling.got == [2, 3], f"{turns} turns later"


async def test_a_pause_keeps_it(log: Log) -> None:
    await handle_three(log)
    for turns in TURNS:
        async with consumed_meanwhile(log, lambda bus: bus.pause("one"), turns) as (bus, consumer, handling, pausing):
            await pausing
            await until(lambda: consumer.statistics().paused)
            await publish_batch(bus, 1)
            await quiet(bus)
            assert handling.got == [], f"{turns} turns later"
        async with log.bus() as bus:
            [one] = await bus.consumers()
            assert one.paused
            await bus.resume("one")
            await bus.seek("one", start="latest")


async def test_a_deletion_makes_it_a_new_one_or_is_refused(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 3)
    deleted = 0
    for turns in TURNS:
        async with consumed_meanwhile(log, lambda bus: bus.delete_consumer("one"), turns) as (
            bus,
            consumer,
            handling,
            deleting,
        ):
            try:
                await deleting
            except ConsumerInUseError:
                assert turns == 0, "afterwards it is under way"
            else:
                deleted += 1
                await settled(bus)
                assert handling.got == [1, 2, 3], f"{turns} turns later"
                assert (consumer.statistics().dead_letters, await bus.dead_letters()) == (0, [])
    assert deleted == len(TURNS) - 1


@pytest.mark.parametrize("cancelled_after", range(6))
async def test_who_consumes_a_name_whose_deletion_was_cancelled_has_all_that_is_stored_or_begins_anew(
    cancelled_after: int, log: Log
) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 3)
    async with consumed_meanwhile(log, lambda bus: bus.delete_consumer("one"), cancelled_after) as (
        bus,
        consumer,
        handling,
        deleting,
    ):
        deleting.cancel()
        await asyncio.wait([deleting])
        await settled(bus)
        assert (handling.got, consumer.statistics().dead_letters) in [([1, 2, 3], 0), ([], 3)]
        assert len(await bus.dead_letters()) == consumer.statistics().dead_letters


async def test_two_changes_at_the_same_time_both_have_their_effect(log: Log) -> None:
    await handle_three(log)
    for turns in TURNS:
        async with log.bus() as bus:
            seeking = asyncio.create_task(bus.seek("one", start=2))
            await ticks(turns)
            await asyncio.gather(bus.pause("one"), seeking)
            [one] = await bus.consumers()
            assert (one.checkpoint, one.paused) == (1, True), f"{turns} turns later"
            await bus.resume("one")


async def test_a_change_that_was_cancelled_during_its_commit_is_seen_by_the_next_one_and_by_who_consumes() -> None:
    store = FaultyStore(MemoryStore())
    async with EventBus(store) as bus:
        consumer, handling = await handled_events(bus, 3)
        await consumer.close()
        handling.got.clear()
        committing = store.hang("commit", nth=1)
        seeking = asyncio.create_task(bus.seek("one", start=2))
        await committing.reached.wait()
        seeking.cancel()
        pausing = asyncio.create_task(bus.pause("one"))
        await ticks(5)
        consumer = bus.consume("one", "a", handling.handle)
        await ticks(5)
        committing.release()
        await pausing
        await until(lambda: consumer.statistics().paused)
        await quiet(bus)
        assert handling.got == []
        await bus.resume("one")
        await settled(bus)
        assert handling.got == [2, 3]
