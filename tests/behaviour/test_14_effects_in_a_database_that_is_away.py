"""Where no transaction can be begun for an event, no handler has seen it: it is no attempt, and nothing is parked."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from asyncbus import Delivery, EffectsError, Event, EventBus
from asyncbus.effects import Effects
from tests.behaviour.consuming import ONCE, parked, publish_batch, settled
from tests.behaviour.projection import Projection, consume, projection
from tests.behaviour.stage import Log, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

WAITS = "waits until the database of its effects is free"


class BusyError(Exception):
    """As drivers of PostgreSQL raise it where a transaction of somebody else's is in the way."""

    sqlstate = "40001"


class Refusing:
    """A user's own effects, that can begin no transaction after so many, as long as it is told why."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self.why: Exception | None = None
        self.refused = 0

    async def load(self, consumer: str) -> str | None:
        return await self._effects.load(consumer)

    @asynccontextmanager
    async def transaction(self, consumer: str, state: str) -> AsyncIterator[None]:
        if self.why is not None:
            self.refused += 1
            raise self.why
        async with self._effects.transaction(consumer, state):
            yield


@pytest.fixture
def refusing(blocks: Projection) -> Refusing:
    return Refusing(blocks.effects)


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process, say, that writes to the same database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def has_ended(bus: EventBus) -> None:
    await until(lambda: bus.statistics().consumers == ())


async def attempts_at(bus: EventBus, blocks: Projection) -> list[tuple[int, int]]:
    """What comes to the next consumer of the name, and in which attempt."""
    got: list[tuple[int, int]] = []

    async def handle(event: Event, delivery: Delivery) -> None:
        got.append((event.sequence, delivery.attempt))
        await blocks.handle(event)

    bus.consume("one", "a", handle, effects=blocks.effects, retry=ONCE)
    await settled(bus)
    return got


# ------------------------------------------------------------------------------------------------------------- busy


@pytest.mark.parametrize("timeout", [None, 0.05])
async def test_a_locked_database_is_waited_for_and_that_is_no_attempt(
    timeout: float | None,
    log: Log,
    blocks: Projection,
    other: sqlite3.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await blocks.connection.execute("PRAGMA busy_timeout = 0")
    async with log.bus() as bus:
        consumer = consume(bus, blocks, timeout=timeout, concurrency=2)
        await publish_batch(bus, 1)
        await settled(bus)
        other.execute("BEGIN IMMEDIATE")
        await publish_batch(bus, 3)
        await until(lambda: WAITS in caplog.text)
        other.execute("COMMIT")
        await settled(bus)
        assert await blocks.rows() == [1, 2, 3, 4]
        assert (consumer.statistics().failed, consumer.statistics().redelivered) == (0, 0)
        assert await bus.dead_letters() == []


@pytest.mark.parametrize("why", [BusyError(), TimeoutError(), ConnectionRefusedError()])
async def test_whatever_makes_a_database_busy_it_is_tried_again_and_logged_once(
    why: Exception, log: Log, blocks: Projection, refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    async with log.bus() as bus:
        bus.consume("one", "a", blocks.handle, effects=refusing, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        refusing.why = why
        await publish_batch(bus, 1)
        await until(lambda: refusing.refused == 3)
        refusing.why = None
        await settled(bus)
        assert blocks.got == [1, 2]
        assert caplog.text.count(WAITS) == 1


@pytest.mark.parametrize("timeout", [None, 5])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_consumer_that_is_closed_while_it_waits_gives_back_what_it_has(
    timeout: float | None, concurrency: int, log: Log, blocks: Projection, refusing: Refusing
) -> None:
    async with log.bus() as bus:
        consumer = bus.consume(
            "one", "a", blocks.handle, effects=refusing, retry=ONCE, timeout=timeout, concurrency=concurrency
        )
        await publish_batch(bus, 1)
        await settled(bus)
        refusing.why = BusyError()
        await publish_batch(bus, 2)
        await until(lambda: refusing.refused and len(consumer.in_flight) == concurrency)
        assert await consumer.drain() == concurrency
        assert consumer.error is None
        assert await attempts_at(bus, blocks) == [(2, 1), (3, 1)]


# -------------------------------------------------------------------------------------------------------- away for good


@pytest.mark.parametrize("timeout", [None, 5])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_closed_connection_ends_the_consumer_and_all_comes_to_the_next_one_in_its_first_attempt(
    timeout: float | None, concurrency: int, log: Log, path: Path
) -> None:
    async with log.bus() as bus:
        async with projection(path) as blocks:
            consumer = consume(bus, blocks, timeout=timeout, concurrency=concurrency)
            await publish_batch(bus, 1)
            await settled(bus)
        await publish_batch(bus, 5)
        with pytest.raises(EffectsError, match="consume it again with one that is open") as ended:
            await settled(bus)
        await has_ended(bus)
        assert str(consumer.error) == str(ended.value)
        assert isinstance(consumer.error, EffectsError)
        assert isinstance(consumer.error.__cause__, Exception)
        assert blocks.got == [1]
        assert consumer.statistics().failed == 0
        assert await bus.dead_letters() == []
        async with projection(path) as again:
            assert await attempts_at(bus, again) == [(sequence, 1) for sequence in range(2, 7)]
            assert await again.rows() == [1, 2, 3, 4, 5, 6]


async def test_a_dead_letter_that_cannot_begin_stays_one_as_it_was(
    log: Log, blocks: Projection, refusing: Refusing
) -> None:
    async with log.bus() as bus:
        blocks.failing = {1}
        consumer = bus.consume("one", "a", blocks.handle, effects=refusing, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        [before] = await bus.dead_letters()
        refusing.why = RuntimeError("the password has changed")
        with pytest.raises(EffectsError, match="the password has changed"):
            await bus.retry_dead_letters("one")
        await has_ended(bus)
        assert isinstance(consumer.error, EffectsError)
        assert await bus.dead_letters() == [before]
        blocks.failing.clear()
        consume(bus, blocks)
        assert (await bus.retry_dead_letters("one")).done == 1
        assert await blocks.rows() == [1]


async def test_a_connection_that_is_lost_in_a_handler_is_its_attempt_and_no_other_ones(log: Log, path: Path) -> None:
    async with projection(path) as blocks, log.bus() as bus:

        async def handle(event: Event) -> None:
            if event.sequence == 2:
                await blocks.connection.close()
            await blocks.handle(event)

        bus.consume("one", "a", handle, effects=blocks.effects, retry=ONCE)
        await publish_batch(bus, 4)
        with pytest.raises(EffectsError, match="cannot begin the effect of event 3"):
            await settled(bus)
        await has_ended(bus)
        assert parked(await bus.dead_letters()) == [2]
        async with projection(path) as again:
            assert await attempts_at(bus, again) == [(3, 1), (4, 1)]


async def test_a_transaction_that_somebody_has_left_open_is_no_attempt_either(log: Log, blocks: Projection) -> None:
    async with log.bus() as bus:
        consumer = consume(bus, blocks)
        await publish_batch(bus, 1)
        await settled(bus)
        await blocks.connection.execute("BEGIN")
        await publish_batch(bus, 2)
        with pytest.raises(EffectsError, match="cannot begin a transaction, for one is open"):
            await settled(bus)
        await has_ended(bus)
        assert consumer.error is not None
        await blocks.connection.rollback()
        assert await attempts_at(bus, blocks) == [(2, 1), (3, 1)]


async def test_cancelled_while_it_waits_it_is_given_back(log: Log, blocks: Projection, refusing: Refusing) -> None:
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", blocks.handle, effects=refusing, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        refusing.why = BusyError()
        await publish_batch(bus, 1)
        await until(lambda: refusing.refused)
        assert await asyncio.wait_for(consumer.drain(timeout=0), timeout=10) == 1
        assert await attempts_at(bus, blocks) == [(2, 1)]
