"""What a consumer does to a database commits with its checkpoint: each event has its effect there exactly once."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from asyncbus import EventBus, RetriedLetters, Retry, StoreFailedError
from asyncbus.fence import Fence
from asyncbus.testing import FaultyStore
from tests.behaviour.consuming import THREE_AT_ONCE, parked, publish_batch, settled
from tests.behaviour.projection import Projection, consume
from tests.behaviour.stage import Log, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def test_a_handler_that_fails_has_no_effect_and_then_one(log: Log, blocks: Projection) -> None:
    async with log.bus() as bus:
        consume(bus, blocks, retry=THREE_AT_ONCE)
        blocks.failing = {2}
        await publish_batch(bus, 3)
        await until(lambda: blocks.got.count(2) == 2)
        blocks.failing.clear()
        await settled(bus)

        assert blocks.got.count(2) == 3
        assert await blocks.rows() == [1, 2, 3]


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_what_is_done_does_not_come_again_after_a_clean_end(
    concurrency: int, log: Log, blocks: Projection
) -> None:
    for _ in range(3):
        async with log.bus() as bus:
            consume(bus, blocks, concurrency=concurrency)
            await publish_batch(bus, 10)
            await settled(bus)
    assert blocks.got == list(range(1, 31))
    assert await blocks.rows() == list(range(1, 31))


async def test_what_the_log_has_not_heard_of_is_not_done_again(log: Log, blocks: Projection) -> None:
    """The effect is committed, and the process ends before the log's checkpoint is."""
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        consumer = consume(bus, blocks)
        await publish_batch(bus, 3)
        await settled(bus)
        blocks.gate.clear()
        await publish_batch(bus, 1)
        await until(lambda: 4 in blocks.got)
        store.fail("commit", StoreFailedError("the disk is gone"), times=None)
        blocks.gate.set()
        await consumer.close()
        store.heal()
    assert await blocks.rows() == [1, 2, 3, 4]
    async with log.bus() as bus:
        [before] = await bus.consumers()
        assert (before.checkpoint, before.active_since is None) == (3, False)
        consume(bus, blocks)
        await publish_batch(bus, 1)
        await settled(bus)
        assert blocks.got == [1, 2, 3, 4, 5]
        assert await blocks.rows() == [1, 2, 3, 4, 5]


async def test_what_is_done_behind_one_that_waits_is_remembered_in_few_words_however_rare_it_is(
    log: Log, blocks: Projection
) -> None:
    """Else each further effect would write more than the one before it."""
    async with log.bus() as bus:
        consume(bus, blocks, order="none", retry=Retry(backoff=3600, maximum=3600, jitter=False))
        blocks.failing = {1}
        await bus.publish_many([("a", None), ("b", None)] * 100)
        await until(lambda: len(blocks.got) == 100)
        await until(lambda: bus.statistics().consumers[0].handled == 99)
        text = await blocks.effects.load("one")
        assert text is not None
        assert Fence.from_text(text, "one").applied == ((2, 199),)


# -------------------------------------------------------------------------------------------------------- dead letters


@pytest.mark.fault(66)
async def test_a_dead_letter_below_the_checkpoint_has_its_effect_when_it_is_tried_again(
    log: Log, blocks: Projection
) -> None:
    blocks.failing = {2, 4}
    async with log.bus() as bus:
        consume(bus, blocks)
        await publish_batch(bus, 6)
        await settled(bus)
        assert await blocks.rows() == [1, 3, 5, 6]
        blocks.failing = {4}
        assert await bus.retry_dead_letters("one") == RetriedLetters(done=1, failed=1)
        assert await blocks.rows() == [1, 2, 3, 5, 6]
    async with log.bus() as bus:
        consume(bus, blocks)
        blocks.failing.clear()
        assert await bus.retry_dead_letters("one") == RetriedLetters(done=1)
        assert await bus.retry_dead_letters("one") == RetriedLetters()
        assert await blocks.rows() == [1, 2, 3, 4, 5, 6]


@pytest.mark.fault(67)
async def test_a_dead_letter_whose_removal_was_not_stored_has_its_effect_once(log: Log, blocks: Projection) -> None:
    blocks.failing = {1}
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        consume(bus, blocks)
        await publish_batch(bus, 2)
        await settled(bus)
        assert parked(await bus.dead_letters()) == [1]
        blocks.failing.clear()
        blocks.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: blocks.got == [1, 2, 1])
        store.fail("commit", StoreFailedError("the disk is gone"), times=None)
        blocks.gate.set()
        with pytest.raises(StoreFailedError):
            await retrying
        store.heal()
    assert await blocks.rows() == [1, 2]
    async with log.bus() as bus:
        assert parked(await bus.dead_letters()) == [1]
        consume(bus, blocks)
        assert await bus.retry_dead_letters("one") == RetriedLetters(done=1)
        assert blocks.got == [1, 2, 1], "its effect is there already"
        assert (await blocks.rows(), await bus.dead_letters()) == ([1, 2], [])


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_the_dead_letter_is_stored_before_a_checkpoint_that_passes_it(
    concurrency: int, log: Log, blocks: Projection
) -> None:
    blocks.failing = {1}
    blocks.gate.clear()
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        consume(bus, blocks, concurrency=concurrency)
        await publish_batch(bus, 2)
        await until(lambda: blocks.got == [1])
        # The other one is begun, and waits for its turn, if more than one may be at work.
        await until(lambda: bus.statistics().consumers[0].in_flight == concurrency)
        held = store.hang("commit")
        blocks.gate.set()
        await held.reached.wait()
        await blocks.turns()
        assert blocks.got == [1], "the other's checkpoint would pass what nobody knows of yet"
        held.release()
        await settled(bus)
        assert (blocks.got, await blocks.rows(), parked(await bus.dead_letters())) == ([1, 2], [2], [1])


@pytest.mark.parametrize("way", ["discarded", "skipped"])
async def test_an_event_that_is_given_up_for_good_does_not_come_again(way: str, log: Log, blocks: Projection) -> None:
    blocks.failing = {3}
    exhausted = "skip" if way == "skipped" else "dead_letter"
    async with log.bus() as bus:
        consume(bus, blocks, on_exhausted=exhausted)
        await publish_batch(bus, 3)
        await settled(bus)
        await bus.discard_dead_letters("one")
    blocks.failing.clear()
    async with log.bus() as bus:
        consume(bus, blocks)
        await publish_batch(bus, 1)
        await settled(bus)
        assert blocks.got == [1, 2, 3, 4]


async def test_what_is_remembered_of_dead_letters_goes_with_them(log: Log, blocks: Projection, path: Path) -> None:
    blocks.failing = set(range(1, 21))
    async with log.bus() as bus:
        consume(bus, blocks)
        await publish_batch(bus, 20)
        await settled(bus)
        blocks.failing.clear()
        assert (await bus.retry_dead_letters("one")).done == 20
        await publish_batch(bus, 2)
        await settled(bus)
    with sqlite3.connect(path) as database:
        [(state,)] = database.execute("SELECT state FROM asyncbus_checkpoints")
    database.close()
    assert state == '{"checkpoint":22}'


async def test_what_is_remembered_of_the_last_dead_letters_goes_when_the_consumer_starts_again(
    log: Log, blocks: Projection
) -> None:
    blocks.failing = {1, 2, 3}
    async with log.bus() as bus:
        consume(bus, blocks)
        await publish_batch(bus, 3)
        await settled(bus)
        blocks.failing = {2}
        assert (await bus.retry_dead_letters("one")).done == 2
    blocks.failing.clear()
    async with log.bus() as bus:
        consume(bus, blocks)
        await publish_batch(bus, 1)
        await settled(bus)
        assert await blocks.effects.load("one") == '{"checkpoint":4}'
        assert (await bus.retry_dead_letters("one")).done == 1
        assert await blocks.rows() == [1, 2, 3, 4]


async def test_what_is_remembered_of_a_dead_letter_stays_as_long_as_it_does(log: Log, blocks: Projection) -> None:
    blocks.failing = {1, 2}
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        consume(bus, blocks)
        await publish_batch(bus, 2)
        await settled(bus)
        blocks.failing.clear()
        assert (await bus.retry_dead_letters("one", stop=2)).done == 1
        blocks.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: blocks.got == [1, 2, 1, 2])
        store.fail("commit", StoreFailedError("the disk is gone"), times=None)
        blocks.gate.set()
        with pytest.raises(StoreFailedError):
            await retrying
        store.heal()
    async with log.bus() as bus:
        consume(bus, blocks)
        await publish_batch(bus, 1)
        await settled(bus)
        assert await blocks.effects.load("one") == '{"checkpoint":3,"retried":[2]}'
        assert await bus.retry_dead_letters("one") == RetriedLetters(done=1)
        assert await blocks.rows() == [1, 2, 3]
