from collections.abc import Sequence

import pytest

from asyncbus.errors import StoreFullError
from asyncbus.events import Receipt, Record
from asyncbus.store.base import Appended
from asyncbus.store.memory import MemoryStore
from tests.desk import outcomes, writing
from tests.fakes import MOMENT, GatedStore, ManualClock, submission, submissions, until

pytestmark = pytest.mark.asyncio

# --- committing ------------------------------------------------------------------------------------------------------


async def test_a_batch_is_whatever_arrived_while_the_last_one_was_being_committed() -> None:
    store = GatedStore()
    store.may_append.clear()
    async with writing(store) as desk:
        first = desk.publish()
        await until(lambda: store.appending)
        rest = [desk.publish() for _ in range(5)]
        store.may_append.set()

        assert await outcomes([first, *rest]) == [Receipt(number) for number in range(1, 7)]

    assert store.batches == [1, 5]
    assert desk.committed == [[1], [2, 3, 4, 5, 6]]


@pytest.mark.fault(34)
async def test_nothing_is_passed_on_and_nobody_answered_before_the_commit() -> None:
    store = GatedStore()
    store.may_append.clear()
    async with writing(store) as desk:
        receipt = desk.publish()
        await until(lambda: store.appending)

        assert not desk.committed
        assert not receipt.done

        store.may_append.set()
        await receipt
        assert desk.committed == [[1]]


async def test_a_closed_inbox_is_emptied_before_the_writer_ends() -> None:
    store = GatedStore()
    store.may_append.clear()
    async with writing(store, batch_limit=2) as desk:
        receipts = [desk.publish() for _ in range(5)]
        await until(lambda: store.appending)
        desk.inbox.close("closed")
        store.may_append.set()

    assert [receipt.done for receipt in receipts] == [True] * 5
    assert store.batches == [2, 2, 1]


async def test_before_each_batch_the_readers_are_asked() -> None:
    async with writing(MemoryStore()) as desk:
        await desk.publish()
        await until(lambda: desk.asked == 2)
        desk.gate.clear()
        await desk.publish()  # this one it waits for already

        receipt = desk.publish()
        await until(lambda: desk.asked == 3)
        assert desk.inbox.depth == 1

        desk.gate.set()
        assert await receipt == Receipt(3)


async def test_events_that_were_withdrawn_are_not_stored_and_a_batch_of_nothing_else_is_no_commit() -> None:
    store = GatedStore()
    store.may_append.clear()
    async with writing(store, batch_limit=1) as desk:
        first = desk.publish()
        await until(lambda: store.appending)
        gone = submission("b")
        assert desk.inbox.put(gone)
        last = desk.publish("c")
        desk.inbox.withdraw([gone])
        store.may_append.set()

        assert await outcomes([first, last]) == [Receipt(1), Receipt(2)]

    assert desk.writer.batches == 2
    assert [record.type for record in store._records] == ["a", "c"]


async def test_commands_are_obeyed_after_what_was_accepted_before_them_and_their_errors_go_home() -> None:
    seen: list[int] = []

    async def look() -> None:
        seen.append(len(desk.committed))

    async def fail() -> None:
        raise StoreFullError("no space")

    async with writing(MemoryStore()) as desk:
        desk.publish()
        await desk.inbox.command(look)
        with pytest.raises(StoreFullError, match="no space"):
            await desk.inbox.command(fail)
        assert await desk.publish() == Receipt(2)

    assert seen == [1]


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault(55)
async def test_recorded_at_never_decreases_though_the_clock_jumps_back() -> None:
    store, clock = MemoryStore(), ManualClock()
    async with writing(store, clock=clock) as desk:
        for jump in (0, 5, -3600, 1, 3700, -1):
            clock.pass_by(jump)
            await desk.publish()

    times = [record.recorded_at - MOMENT for record in store._records]
    assert times == [0, 5_000_000, 5_000_000, 5_000_000, 106_000_000, 106_000_000]


@pytest.mark.fault(55)
async def test_recorded_at_is_not_before_what_the_store_held_already() -> None:
    store = MemoryStore()
    async with writing(store, recorded_at=MOMENT + 7) as desk:
        await desk.publish()

    assert store._records[0].recorded_at == MOMENT + 7


async def test_all_events_of_a_batch_are_recorded_at_one_moment() -> None:
    store = GatedStore()
    store.may_append.clear()
    async with writing(store) as desk:
        desk.publish()
        await until(lambda: store.appending)
        desk.publish("b")
        desk.clock.pass_by(1)
        desk.publish("c")
        store.may_append.set()

    assert [record.recorded_at - MOMENT for record in store._records] == [0, 1_000_000, 1_000_000]


async def test_commits_are_timed() -> None:
    clock = ManualClock()

    class SlowStore(MemoryStore):
        async def append(self, records: Sequence[Record]) -> Appended:
            clock.pass_by(len(records) * 0.25)
            return await super().append(records)

    async with writing(SlowStore(), clock=clock) as desk:
        await desk.publish_many(submissions("a", "b"))[0]
        await desk.publish()

        assert (desk.writer.batches, desk.writer.stored) == (2, 3)
        assert (desk.writer.commit_time, desk.writer.last_commit_time) == (0.75, 0.25)
        assert desk.writer.slowest_commit_time == 0.5
