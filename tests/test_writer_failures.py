import asyncio
import logging
from collections.abc import Sequence

import pytest

from asyncbus.errors import (
    AsyncBusError,
    EventIdConflictError,
    PublishOutcomeUnknownError,
    StoreFailedError,
    StoreFullError,
)
from asyncbus.events import Receipt, Record
from asyncbus.receipts import PendingReceipt
from asyncbus.store.base import Appended, number
from asyncbus.store.memory import MemoryStore
from tests.desk import outcomes, writing
from tests.fakes import FailingStore, submission, submissions, until

pytestmark = pytest.mark.asyncio

# --- failing ---------------------------------------------------------------------------------------------------------


@pytest.mark.fault(34)
async def test_a_failed_batch_burns_no_sequence_and_is_not_passed_on() -> None:
    store = FailingStore({1: StoreFullError("no space"), 3: StoreFullError("still none")})
    async with writing(store) as desk:
        failed = await outcomes([desk.publish(), desk.publish()])
        assert [str(error) for error in failed] == ["no space", "no space"]
        assert await desk.publish() == Receipt(1)
        assert [str(error) for error in await outcomes([desk.publish()])] == ["still none"]
        assert await desk.publish() == Receipt(2)

    assert desk.committed == [[1], [2]]


async def test_each_publisher_of_a_failed_batch_gets_an_error_of_his_own() -> None:
    async with writing(FailingStore({1: StoreFullError("no space")})) as desk:
        first, second = await outcomes([desk.publish(), desk.publish()])

    assert type(first) is type(second) is StoreFullError
    assert first is not second


async def test_what_is_no_error_of_a_store_leaves_the_outcome_unknown_and_keeps_its_cause() -> None:
    cause = OSError("the disk is gone")
    async with writing(FailingStore({1: cause})) as desk:
        with pytest.raises(PublishOutcomeUnknownError, match="the disk is gone") as unknown:
            await desk.publish(id="x")
        assert await desk.publish(id="x") == Receipt(1)

    assert unknown.value.id == "x"
    assert isinstance(unknown.value.__cause__, StoreFailedError)
    assert unknown.value.__cause__.__cause__ is cause


class NumbersTooEarly(MemoryStore):
    """Numbers its records and then fails to commit them."""

    async def append(self, records: Sequence[Record]) -> Appended:
        number(records, 1)
        if records[0].id is None:
            raise StoreFailedError("the commit failed", outcome_unknown=True)
        raise EventIdConflictError({0: (records[0].id, 7)})


class FindsConflictsNowhere(MemoryStore):
    """Refuses a record for the sake of another one of its batch, where there is no other."""

    async def append(self, records: Sequence[Record]) -> Appended:
        raise EventIdConflictError({0: ("x", 0)})


async def test_a_conflict_with_nothing_fails_the_batch_and_is_not_asked_about_for_ever() -> None:
    async with writing(FindsConflictsNowhere()) as desk:
        with pytest.raises(StoreFailedError, match="in no event"):
            await desk.publish(id="x")


@pytest.mark.fault(34)
async def test_an_event_that_was_numbered_and_then_not_committed_is_not_acknowledged() -> None:
    async with writing(NumbersTooEarly()) as desk:
        with pytest.raises(PublishOutcomeUnknownError):
            await desk.publish()
        with pytest.raises(EventIdConflictError):
            await desk.publish(id="x")


async def test_the_writer_remembers_its_last_failure_until_a_commit_succeeds() -> None:
    failure = StoreFullError("no space")
    async with writing(FailingStore({2: failure})) as desk:
        await desk.publish()
        assert desk.writer.error is None
        await outcomes([desk.publish()])
        assert desk.writer.error is failure
        await desk.publish()
        assert desk.writer.error is None


async def test_a_failed_group_fails_whole() -> None:
    store = FailingStore({1: StoreFullError("no space")})
    async with writing(store) as desk:
        failed = await outcomes(desk.publish_many(submissions("a", "b", "c")))

    assert [type(error) for error in failed] == [StoreFullError] * 3
    assert store._records == []


async def test_failures_nobody_waits_for_are_counted_and_logged_once_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore({1: StoreFullError("no space")})
    store.may_append.clear()
    async with writing(store) as desk:
        awaited = asyncio.ensure_future(desk.publish())
        for _ in range(3):
            desk.publish()
        await until(lambda: store.appending)
        store.may_append.set()
        with pytest.raises(StoreFullError):
            await awaited

    assert (desk.writer.failed, desk.writer.failed_unawaited) == (4, 3)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "events not stored: 4 (nobody waits for 3 of them): no space" in caplog.text


async def test_who_took_his_event_back_does_not_count_as_waiting_for_another(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore({2: StoreFullError("no space")})
    store.may_append.clear()
    async with writing(store) as desk:
        desk.publish()
        await until(lambda: store.appending)
        gone = submission()
        assert desk.inbox.put(gone)
        waiting = asyncio.ensure_future(PendingReceipt(gone, desk.inbox))
        left = desk.publish()  # and nobody looks
        await until(lambda: gone.batch.waiters)
        waiting.cancel()
        desk.inbox.withdraw([gone])
        store.may_append.set()
        await until(lambda: left.done)

    assert (desk.writer.failed, desk.writer.failed_unawaited) == (1, 1)
    assert "nobody waits for 1 of them" in caplog.text


async def test_who_was_cancelled_during_the_commit_does_not_count_as_waiting() -> None:
    store = FailingStore({1: StoreFullError("no space")})
    store.may_append.clear()
    async with writing(store) as desk:
        receipt = desk.publish()
        waiting = asyncio.ensure_future(receipt)
        await until(lambda: store.appending)
        waiting.cancel()
        store.may_append.set()
        await until(lambda: receipt.done)

    assert (desk.writer.failed, desk.writer.failed_unawaited) == (1, 1)


# --- ids -------------------------------------------------------------------------------------------------------------


async def test_an_id_that_is_stored_already_gives_the_first_receipt_again() -> None:
    async with writing(MemoryStore()) as desk:
        first = desk.publish(id="x")
        same_batch = desk.publish(id="x")
        between = desk.publish()
        assert await outcomes([first, same_batch, between]) == [Receipt(1), Receipt(1, duplicate=True), Receipt(2)]
        assert await desk.publish(id="x") == Receipt(1, duplicate=True)

    assert desk.committed == [[1, 2]]
    assert (desk.writer.stored, desk.writer.duplicates) == (2, 2)


@pytest.mark.fault(28)
async def test_only_what_conflicts_is_refused() -> None:
    async with writing(MemoryStore()) as desk:
        await desk.publish(id="x", data=1)
        receipts = [desk.publish(), desk.publish(id="x", data=2), desk.publish(), desk.publish(id="x", data=1)]
        before, conflict, after, duplicate = await outcomes(receipts)

    assert (before, after, duplicate) == (Receipt(2), Receipt(3), Receipt(1, duplicate=True))
    assert isinstance(conflict, EventIdConflictError)
    assert (conflict.id, conflict.sequence) == ("x", 1)
    assert desk.committed == [[1], [2, 3]]
    assert (desk.writer.stored, desk.writer.failed) == (3, 1)


async def test_two_contents_of_one_id_in_one_batch_leave_the_first() -> None:
    async with writing(MemoryStore()) as desk:
        first, second = await outcomes([desk.publish(id="x", data=1), desk.publish(id="x", data=2)])

    assert first == Receipt(1)
    assert isinstance(second, EventIdConflictError)
    assert (second.id, second.sequence) == ("x", 0)


async def test_one_conflict_refuses_the_whole_group_it_was_published_in_and_no_other() -> None:
    async with writing(MemoryStore()) as desk:
        await desk.publish(id="x", data=1)
        bad = desk.publish_many([submission("b"), submission("b", 2, id="x"), submission("b")])
        good = desk.publish_many(submissions("c", "c"))
        refused, stored = await outcomes(bad), await outcomes(good)

    assert [type(error) for error in refused] == [EventIdConflictError] * 3
    assert stored == [Receipt(2), Receipt(3)]
    assert desk.writer.failed == 3


async def test_who_conflicts_only_with_what_was_refused_itself_is_stored() -> None:
    """Else his id would be refused for ever, though no event has it."""
    async with writing(MemoryStore()) as desk:
        await desk.publish(id="x", data=1)
        refused = desk.publish_many([submission(id="y", data=1), submission(id="x", data=2)])
        later = desk.publish(id="y", data=2)

        assert [type(error) for error in await outcomes(refused)] == [EventIdConflictError] * 2
        assert await outcomes([later]) == [Receipt(2)]


async def test_conflicts_nobody_waits_for_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with writing(MemoryStore()) as desk:
        await desk.publish(id="x", data=1)
        conflict = desk.publish(id="x", data=2)
        await until(lambda: conflict.done)

    assert (desk.writer.failed, desk.writer.failed_unawaited) == (1, 1)
    assert "'x'" in caplog.text


async def test_a_batch_of_conflicts_only_stores_nothing_and_harms_nobody() -> None:
    store = MemoryStore()
    async with writing(store) as desk:
        await desk.publish(id="x", data=1)
        conflicts = await outcomes([desk.publish(id="x", data=2), desk.publish(id="x", data=3)])
        assert await desk.publish() == Receipt(2)

    assert all(isinstance(error, AsyncBusError) for error in conflicts)
    assert len(store._records) == 2
