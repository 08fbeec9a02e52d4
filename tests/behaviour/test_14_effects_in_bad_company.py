"""Each event has its effect once whatever handlers do, and whichever copy of the database they have."""

import asyncio
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asyncbus import ConsumerStoppedError, Delivery, EffectsError, Event, InvalidOptionError, Retry
from tests.behaviour.consuming import ONCE, THREE_AT_ONCE, parked, publish_batch, settled
from tests.behaviour.projection import Projection, consume, projection
from tests.behaviour.stage import Log, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


# ------------------------------------------------------------------------------------------------------ in bad company


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_timeout_during_the_commit_neither_doubles_the_effect_nor_parks_the_event(
    attempts: int, log: Log, blocks: Projection, path: Path
) -> None:
    """The commit waits for another reader longer than the event has time; it is committed all the same."""
    async with log.bus() as bus:
        consumer = consume(bus, blocks, retry=Retry(attempts=attempts, backoff=0), timeout=0.2)
        await publish_batch(bus, 1)
        await settled(bus)
        reader = sqlite3.connect(path, check_same_thread=False)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM blocks").fetchall()
        await publish_batch(bus, 1)
        await until(lambda: blocks.done == [1, 2])
        task = next(iter(consumer._limited))
        await until(task.cancelling)
        reader.close()
        await settled(bus)
        assert await blocks.rows() == [1, 2]
        assert blocks.done == [1, 2]
        assert await bus.dead_letters() == []


@pytest.mark.fault(58)
async def test_a_handler_that_ignores_the_end_of_its_time_has_no_effect_any_more(log: Log, blocks: Projection) -> None:
    may_end = asyncio.Event()

    async def handle(event: Event) -> None:
        await blocks.handle(event)
        while event.sequence == 1 and not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    async with log.bus() as bus:
        bus.consume("one", "a", handle, effects=blocks.effects, retry=ONCE, timeout=0.1)
        await publish_batch(bus, 1)
        await settled(bus)
        assert parked(await bus.dead_letters()) == [1]
        may_end.set()
        await publish_batch(bus, 1)
        await settled(bus)
        assert (await bus.retry_dead_letters("one")).done == 1
        assert blocks.done == [1, 2, 1]
        assert await blocks.rows() == [1, 2]


async def test_the_time_of_a_handler_does_not_run_while_it_waits_for_another(log: Log, blocks: Projection) -> None:
    async def handle(event: Event) -> None:
        if event.sequence == 1:
            await asyncio.Event().wait()
        await blocks.handle(event)

    async with log.bus() as bus:
        bus.consume("one", "a", handle, effects=blocks.effects, retry=ONCE, timeout=0.4, concurrency=4)
        await publish_batch(bus, 4)
        await settled(bus)
        assert parked(await bus.dead_letters()) == [1]
        assert await blocks.rows() == [2, 3, 4]


async def test_the_time_of_a_handler_does_not_run_while_another_consumer_has_the_connection(
    log: Log, blocks: Projection
) -> None:
    async def hang(event: Event) -> None:
        await asyncio.Event().wait()

    async with log.bus() as bus:
        bus.consume("slow", "a", hang, effects=blocks.effects, retry=ONCE, timeout=0.4)
        consume(bus, blocks, timeout=0.2)
        await publish_batch(bus, 3)
        await settled(bus, "one")
        await settled(bus, "slow")
        assert parked(await bus.dead_letters("slow")) == [1, 2, 3]
        assert await bus.dead_letters("one") == []
        assert await blocks.rows() == [1, 2, 3]


async def test_a_handler_that_hangs_in_its_transaction_is_rolled_back(log: Log, blocks: Projection) -> None:
    hanging = True

    async def handle(event: Event) -> None:
        await blocks.handle(event)
        if event.sequence == 1 and hanging:
            await asyncio.Event().wait()

    async with log.bus() as bus:
        bus.consume("one", "a", handle, effects=blocks.effects, retry=ONCE, timeout=0.4)
        await publish_batch(bus, 2)
        await settled(bus)
        assert await blocks.rows() == [2]
        hanging = False
        assert (await bus.retry_dead_letters("one")).done == 1
        assert await blocks.rows() == [1, 2]


async def test_many_at_work_have_each_effect_once_whatever_fails(log: Log, blocks: Projection) -> None:
    seen: set[int] = set()

    async def handle(event: Event) -> None:
        await blocks.handle(event)
        if event.sequence % 3 == 0 and event.sequence not in seen:
            seen.add(event.sequence)
            raise ValueError

    async with log.bus() as bus:
        bus.consume("one", "a", handle, effects=blocks.effects, retry=THREE_AT_ONCE, concurrency=8)
        await publish_batch(bus, 60)
        await settled(bus)
        assert await blocks.rows() == list(range(1, 61))


@pytest.mark.parametrize("timeout", [None, 10])
@pytest.mark.parametrize("outcome", ["nak", "reject"])
async def test_an_outcome_that_a_handler_gives_before_it_returns_takes_its_effect_back(
    outcome: str, timeout: float | None, log: Log, blocks: Projection
) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        await blocks.handle(event)
        if delivery.attempt == 1:
            await getattr(delivery, outcome)()

    async with log.bus() as bus:
        bus.consume("one", "a", handle, effects=blocks.effects, retry=THREE_AT_ONCE, timeout=timeout)
        await publish_batch(bus, 3)
        await settled(bus)
        await until(lambda: not blocks.connection.in_transaction)
        assert await blocks.rows() == ([1, 2, 3] if outcome == "nak" else [])
        assert (await bus.retry_dead_letters("one")).done == (0 if outcome == "nak" else 3)
        assert await blocks.rows() == [1, 2, 3]


async def test_handlers_that_end_their_transaction_stop_the_consumer(log: Log, blocks: Projection) -> None:
    async def handle(event: Event) -> None:
        await blocks.handle(event)
        await blocks.connection.execute("ROLLBACK")

    async with log.bus() as bus:
        bus.consume("one", "a", handle, effects=blocks.effects, retry=THREE_AT_ONCE)
        await publish_batch(bus, 1)
        with pytest.raises(ConsumerStoppedError, match="had the transaction ended inside its handler"):
            await settled(bus)
        assert await blocks.rows() == []


# ----------------------------------------------------------------------------------------- other copies of the database


async def test_an_older_copy_of_the_database_gets_exactly_what_it_misses(log: Log, path: Path, tmp_path: Path) -> None:
    async with projection(path) as blocks, log.bus() as bus:
        blocks.failing = {2, 5}
        consume(bus, blocks)
        await publish_batch(bus, 3)
        await settled(bus)
    copy = Path(shutil.copy(path, tmp_path / "copy.db"))
    async with projection(path) as blocks, log.bus() as bus:
        blocks.failing = {5}
        consume(bus, blocks)
        await publish_batch(bus, 3)
        await settled(bus)
        assert await blocks.rows() == [1, 3, 4, 6]

    async with projection(copy) as blocks, log.bus() as bus:
        assert await blocks.rows() == [1, 3]
        consume(bus, blocks)
        await publish_batch(bus, 1)
        await settled(bus)
        assert blocks.got == [4, 6, 7], "what was parked has another way"
        assert (await bus.retry_dead_letters("one")).done == 2
        assert await blocks.rows() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("start", "comes"), [("earliest", [1, 2, 3, 4]), (3, [3, 4]), ("latest", [4])])
async def test_where_the_database_is_a_new_one_start_counts(
    start: Any, comes: list[int], log: Log, path: Path, tmp_path: Path
) -> None:
    async with projection(path) as blocks, log.bus() as bus:
        consume(bus, blocks, start="earliest")
        await publish_batch(bus, 3)
        await settled(bus)
    async with projection(tmp_path / "new.db") as blocks, log.bus() as bus:
        consumer = consume(bus, blocks, start=start)
        await until(lambda: consumer.statistics().active_since)
        await publish_batch(bus, 1)
        await settled(bus)
        assert (blocks.got, await blocks.rows()) == (comes, comes)


@pytest.mark.parametrize("is_active", [True, False])
@pytest.mark.parametrize(("start", "comes"), [("earliest", [1, 2, 3, 4]), (3, [3, 4]), ("latest", [4])])
async def test_a_seek_has_effects_done_again_from_there_on(
    start: Any, comes: list[int], is_active: bool, log: Log, blocks: Projection
) -> None:
    async with log.bus() as bus:
        consumer = consume(bus, blocks)
        await publish_batch(bus, 3)
        await settled(bus)
        if is_active:
            await bus.seek("one", start=start)
        else:
            await consumer.close()
            await bus.seek("one", start=start)
            consume(bus, blocks)
        await publish_batch(bus, 1)
        await until(lambda: blocks.got == [1, 2, 3, *comes])
        await settled(bus)
    assert await blocks.rows() == sorted([1, 2, 3, *comes])


async def test_two_consumers_of_one_database_do_not_meet(log: Log, blocks: Projection) -> None:
    async with log.bus() as bus:
        for name in ("one", "two"):
            bus.consume(name, "a", blocks.handle, effects=blocks.effects, concurrency=3)
        await publish_batch(bus, 20)
        await settled(bus, "one")
        await settled(bus, "two")
        assert await blocks.rows() == sorted([*range(1, 21), *range(1, 21)])


@pytest.mark.parametrize("options", [{"ack": "manual"}, {"handler": None}, {"effects": object()}])
async def test_what_cannot_have_effects_is_refused(options: dict[str, Any], log: Log, blocks: Projection) -> None:
    options = {"handler": blocks.handle, "effects": blocks.effects, **options}
    async with log.bus() as bus:
        with pytest.raises(InvalidOptionError, match="effects"):
            bus.consume("one", "a", **options)
        assert bus.statistics().consumers == ()


async def test_a_database_that_does_not_say_where_to_begin_ends_the_consumer_which_can_be_consumed_again(
    log: Log, blocks: Projection, path: Path
) -> None:
    await blocks.connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    async with log.bus() as bus:
        await publish_batch(bus, 1)
        ended = consume(bus, blocks)
        await until(lambda: bus.statistics().consumers == ())
        assert isinstance(ended.error, EffectsError)
        assert isinstance(ended.error.__cause__, sqlite3.OperationalError)
        assert "database is locked" in str(ended.error)
        other.close()
        consume(bus, blocks)
        await settled(bus)
        assert await blocks.rows() == [1]
