"""Promise 7, where the store does not fail but stands still: only who writes waits, and no longer than he likes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from asyncbus import PublishOutcomeUnknownError, Receipt
from tests.behaviour.stage import Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


@contextmanager
def stalled(log: Log) -> Iterator[None]:
    """No commit ends meanwhile: SQLite's thread waits for another program's transaction."""
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.fault(33)
@pytest.mark.fault(4)
async def test_a_commit_that_stands_still_holds_up_nobody_but_publishers(file_log: Log) -> None:
    handled: list[int] = []
    async with file_log.bus(recent_capacity=1, inbox_capacity=1) as bus:
        for number in range(20):
            await bus.publish("a", number)
        with stalled(file_log):
            with pytest.raises(PublishOutcomeUnknownError) as caught:
                await bus.publish("a", "late", id="late", timeout=0.05)
            assert caught.value.id == "late"
            with pytest.raises(TimeoutError):
                await bus.publish("a", "never", timeout=0.05)
            bus.subscribe("a", lambda event: handled.append(event.sequence), start="earliest")
            await until(lambda: len(handled) == 20)
            assert len(await bus.query()) == len([event async for event in bus.replay()]) == 20
            assert sequences(await take(bus.subscribe("a", start=5), 16)) == list(range(5, 21))
        assert await bus.publish("a", "late", id="late") == Receipt(21, duplicate=True)
        await bus.drain()
        assert handled == list(range(1, 22))
        assert payloads(await bus.query(start=21)) == ["late"]


@pytest.mark.fault(4)
@pytest.mark.fault(33)
async def test_the_loop_goes_on_while_a_commit_stands_still(file_log: Log) -> None:
    async with file_log.bus() as bus:
        with stalled(file_log):
            pending = bus.publish_nowait("a")
            # A loop that waited for the disk would not come back before SQLite gave up, and settled the receipt.
            await ticks(200)
            await bus.query()  # to the store and back, so that a commit on its way would be through
            assert not pending.done
        assert (await pending).sequence == 1
