"""A process may end between the effect of an event and what the log knows of it: the effect is there once all the same.

What a crash has left is put into the log by hand; `tests/reliability/consumer_kills.py` kills processes.
"""

from pathlib import Path
from typing import Any

import pytest

from asyncbus.store.consumers import ConsumerState, ConsumerStore, Owed
from tests.behaviour.consuming import ONCE, THREE_AT_ONCE, parked, publish_batch, settled
from tests.behaviour.projection import projection
from tests.behaviour.stage import Log

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def crashed(log: Log, **state: Any) -> None:
    """Let the log know of the consumer what it would know if the process had ended earlier."""
    store = log.store()
    assert isinstance(store, ConsumerStore)
    await store.open()
    epoch = max((known.epoch for known in await store.consumers()), default=1)
    fields: dict[str, Any] = {"epoch": epoch, "active_since": 1, **state}
    await store.commit([], [ConsumerState(name="one", pattern="a", **fields)])
    await store.close()


@pytest.mark.fault(62)
async def test_what_had_its_effect_is_not_parked_for_the_attempts_of_which_nobody_heard(
    log: Log, tmp_path: Path
) -> None:
    async with projection(tmp_path / "blocks.db") as blocks:
        async with log.bus() as bus:
            bus.consume("one", "a", blocks.handle, effects=blocks.effects)
            await publish_batch(bus, 1)
            await settled(bus)
        await crashed(log, settled_to=1, begun_to=1, owed={1: Owed(3)}, alone=1)
        async with log.bus() as bus:
            consumer = bus.consume("one", "a", blocks.handle, effects=blocks.effects, retry=THREE_AT_ONCE)
            await settled(bus)
            assert (consumer.checkpoint, await bus.dead_letters()) == (1, [])
        assert (blocks.got, await blocks.rows()) == ([1], [1])


@pytest.mark.fault(62)
async def test_a_database_that_has_not_heard_of_a_dead_letter_is_no_older_copy(log: Log, tmp_path: Path) -> None:
    """Event 1 was parked when 2 had had its effect, and the process ended before the database was told."""
    async with projection(tmp_path / "blocks.db") as blocks:
        blocks.failing = {1}
        async with log.bus() as bus:
            bus.consume("one", "a", blocks.handle, effects=blocks.effects, retry=ONCE)
            await publish_batch(bus, 2)
            await settled(bus)
            await publish_batch(bus, 1)
            await settled(bus)
        state = '{"applied":[[2,2]]}'
        await blocks.connection.execute("UPDATE asyncbus_checkpoints SET state = ?", (state,))
        await blocks.connection.execute("DELETE FROM blocks WHERE sequence = 3")
        await blocks.connection.commit()
        await crashed(log, checkpoint=2, settled_to=3, begun_to=3, owed={3: Owed(1)})

        async with log.bus() as bus:
            attempts: list[int] = []

            async def handle(event: Any, delivery: Any) -> None:
                attempts.append(delivery.attempt)
                await blocks.handle(event)

            bus.consume("one", "a", handle, effects=blocks.effects, retry=THREE_AT_ONCE)
            await settled(bus)
            assert attempts == [2], "how often it was handed out is still known"
            assert (await blocks.rows(), parked(await bus.dead_letters())) == ([2, 3], [1])


@pytest.mark.fault(61)
async def test_a_clean_end_in_between_makes_no_suspect_an_event_that_was_never_handed_out(log: Log) -> None:
    async with log.bus() as bus:
        await publish_batch(bus, 3)
    await crashed(log, begun_to=3)
    for sequence in (1, 2, 3):
        async with log.bus() as bus, bus.consume("one", "a", ack="manual") as deliveries:
            delivery = await anext(deliveries)
            assert (delivery.event.sequence, delivery.attempt) == (sequence, 2)
            await delivery.ack()


async def test_a_dead_letter_of_a_crash_tells_of_the_attempt(log: Log) -> None:
    async with log.bus() as bus:
        await publish_batch(bus, 1)
    await crashed(log, settled_to=1, begun_to=1, owed={1: Owed(3)}, alone=1)
    async with log.bus() as bus:
        async with bus.consume("one", "a", retry=THREE_AT_ONCE):
            await settled(bus)
        [letter] = await bus.dead_letters()
        assert letter.attempts == 3
        assert letter.error == "the process ended during attempt 3, when this event alone was in flight"
        assert letter.traceback == ""
