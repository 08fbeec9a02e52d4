"""Rare orders of events that seeded scenes have met, each told by itself (tests/reliability/simulation/)."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from asyncbus import (
    Appended,
    Bounds,
    Event,
    EventBus,
    MemoryStore,
    PublishOutcomeUnknownError,
    Record,
    SQLiteStore,
    StoreFailedError,
)
from tests.behaviour.stage import Log, ticks, until

PATIENCE = 10.0
"""Seconds after which a state is held to be never reached."""


class AnswerLostStore(MemoryStore):
    """Stores what it is given, numbers it, and then fails."""

    async def append(self, records: Sequence[Record]) -> Appended:
        await super().append(records)
        raise StoreFailedError("an I/O error after all was written", outcome_unknown=True)


@pytest.mark.asyncio
async def test_a_store_that_numbers_an_event_and_then_fails_has_not_acknowledged_it() -> None:
    async with EventBus(AnswerLostStore()) as bus:
        with pytest.raises(PublishOutcomeUnknownError):
            await bus.publish("a")


@pytest.mark.asyncio
async def test_a_handler_cancelled_before_it_has_begun_holds_nobody_up() -> None:
    handled: list[Event] = []
    async with EventBus() as bus:
        blocking = bus.subscribe("*", handled.append, capacity=1, when_full="block")
        [task] = (task for task in asyncio.all_tasks() if task.get_name().startswith("asyncbus handler"))
        task.cancel()
        await until(lambda: not blocking.open)
        await bus.publish("a")
        await bus.publish("a")  # a full queue that nobody reads would keep the writer from it
        await bus.drain()
    assert handled == []


@pytest.mark.asyncio
@pytest.mark.fault(27)
async def test_a_close_that_is_cancelled_with_all_tasks_still_releases_the_file(file_log: Log) -> None:
    bus = file_log.bus()
    await bus.__aenter__()
    await bus.publish("a")
    bus.publish_nowait("a")
    closing = asyncio.create_task(bus.close())
    await ticks(2)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert closing.cancelled()
    async with file_log.bus() as again:  # StoreLockedError, if it were not released
        assert await again.latest_sequence() >= 1


@pytest.mark.asyncio
@pytest.mark.fault(2)
async def test_flush_does_not_wait_for_what_was_withdrawn() -> None:
    async with EventBus() as bus:
        blocking = bus.subscribe("*", capacity=1, when_full="block")
        await bus.publish("a")
        withdrawn = asyncio.create_task(bus.publish("a"))
        await until(lambda: bus.statistics().inbox_depth == 1)
        flushing = asyncio.create_task(bus.flush())
        await ticks(1)
        withdrawn.cancel()
        await until(withdrawn.done)
        await blocking.close()
        await asyncio.wait_for(flushing, PATIENCE)
        assert withdrawn.cancelled()
        assert bus.statistics().withdrawn == 1


@pytest.mark.asyncio
@pytest.mark.fault(27)
async def test_an_opening_that_is_cancelled_twice_leaves_no_file_locked(file_log: Log) -> None:
    bus = file_log.bus()
    opening = asyncio.create_task(bus.__aenter__())
    await ticks(2)
    opening.cancel()
    await ticks(2)
    opening.cancel()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert opening.cancelled()
    async with file_log.bus():  # StoreLockedError, if it were not released
        pass


@pytest.mark.asyncio
async def test_a_reader_that_left_while_its_next_page_was_read_ahead_leaves_no_timer(tmp_path: Path) -> None:
    async with EventBus(SQLiteStore(tmp_path / "events.db")) as earlier:
        await earlier.publish_many([("a", None)] * 200)
    store = SQLiteStore(tmp_path / "events.db")
    async with EventBus(store) as bus:
        async with bus.subscribe("*", start="earliest") as events:
            await anext(events)
        assert store._pages._ahead
        # It ticks while SQLite is at work, so that a busy loop does not starve it; nothing is.
        await asyncio.wait_for(until(lambda: store._gil._timer is None), PATIENCE)


@pytest.mark.asyncio
@pytest.mark.fault(27)
async def test_a_transaction_cancelled_during_its_commit_is_not_rolled_back_behind_it(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "events.db")
    await store.open()
    gate = threading.Event()
    at_the_commit = asyncio.Event()

    async def write() -> None:
        async with store._appender.connection.transaction():
            await store._appender.connection.rows("UPDATE log SET writer_pid = 1")
            store._appender.connection._connection._tx.put_nowait((None, gate.wait))  # and behind it the commit
            at_the_commit.set()

    writing = asyncio.create_task(write())
    await at_the_commit.wait()
    writing.cancel()
    await ticks(3)
    gate.set()
    await asyncio.wait([writing])
    assert writing.cancelled()
    assert await store._reader.row("SELECT writer_pid FROM log") == (1,)
    await store.close()


class SlowDoorStore(MemoryStore):
    """Opens when it is let, and says whether it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.may_open = asyncio.Event()
        self.is_open = False

    async def open(self) -> Bounds:
        await self.may_open.wait()
        self.is_open = True
        return await super().open()

    async def close(self) -> None:
        self.is_open = False
        await super().close()


def named(name: str) -> asyncio.Task[object]:
    (found,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    return found


@pytest.mark.asyncio
@pytest.mark.fault(27)
async def test_an_opening_is_undone_though_the_undoing_is_cancelled_while_it_waits_for_it() -> None:
    opening = asyncio.create_task(EventBus(store := SlowDoorStore()).__aenter__())
    await ticks(2)
    opening.cancel()
    await ticks(3)
    named("asyncbus undo").cancel()
    await ticks(3)
    store.may_open.set()

    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert not store.is_open


@pytest.mark.asyncio
@pytest.mark.fault(27)
@pytest.mark.parametrize("turns", range(4))
async def test_an_opening_is_undone_though_the_undoing_is_cancelled_as_it_hears_of_it(turns: int) -> None:
    opening = asyncio.create_task(EventBus(store := SlowDoorStore()).__aenter__())
    await ticks(2)
    opening.cancel()
    await ticks(3)
    store.may_open.set()
    await until(lambda: store.is_open)
    undoing = named("asyncbus undo")
    await ticks(turns)
    undoing.cancel()

    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert not store.is_open


@pytest.mark.asyncio
@pytest.mark.fault(27)
async def test_a_close_that_nobody_waits_for_any_more_is_begun_again_by_itself() -> None:
    bus = EventBus(store := SlowDoorStore())
    store.may_open.set()
    await bus.__aenter__()
    closing = asyncio.create_task(bus.close())
    await until(lambda: any(task.get_name() == "asyncbus close" for task in asyncio.all_tasks()))
    # Its turn comes after this one's: neither who waits for it nor the close itself has made another step.
    closing.cancel()
    named("asyncbus close").cancel()

    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert not store.is_open
