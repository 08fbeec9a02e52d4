import asyncio

import pytest

from asyncbus.batch import Batch, Submission
from asyncbus.errors import (
    AsyncBusError,
    BusClosedError,
    EventIdConflictError,
    PublishOutcomeUnknownError,
    StoreFailedError,
    StoreFullError,
    WrongEventLoopError,
    WrongThreadError,
)
from asyncbus.events import Receipt
from asyncbus.inbox import Inbox
from asyncbus.receipts import PendingReceipt
from tests.fakes import inbox_of, submission, take_batch, until

pytestmark = pytest.mark.asyncio


async def accepted(inbox: Inbox, id: str | None = None) -> tuple[Submission, PendingReceipt]:
    proposed = submission("a.b", id=id)
    assert inbox.put(proposed)
    return proposed, PendingReceipt(proposed, inbox)


async def settle(inbox: Inbox, error: AsyncBusError | None = None) -> None:
    """What the writer does: take a batch, store it or not, tell."""
    batch = await take_batch(inbox)
    batch.error = error
    for sequence, each in enumerate([] if error else batch.submissions, 7):
        each.sequence = sequence
    inbox.settle(batch)


async def test_a_receipt_is_pending_until_the_commit() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)
    waiting = asyncio.ensure_future(receipt)
    await asyncio.sleep(0)
    assert not receipt.done
    assert not waiting.done()

    await settle(inbox)

    assert receipt.done
    assert await waiting == Receipt(7)


async def test_it_can_be_awaited_as_often_as_one_likes() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)
    several = [asyncio.ensure_future(receipt) for _ in range(3)]
    await asyncio.sleep(0)

    await settle(inbox)

    assert await asyncio.gather(*several) == [Receipt(7)] * 3
    assert await receipt == Receipt(7)


async def test_one_that_is_known_is_had_without_waiting() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)
    await settle(inbox)

    with pytest.raises(StopIteration) as known:
        next(receipt.__await__())

    assert known.value.value == Receipt(7)


async def test_cancelling_who_awaits_it_does_not_take_the_event_back() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)
    waiting = asyncio.ensure_future(receipt)
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait([waiting])
    await settle(inbox)

    assert await receipt == Receipt(7)


async def test_a_duplicate_says_so() -> None:
    inbox = inbox_of()
    proposed, receipt = await accepted(inbox)
    batch = await take_batch(inbox)
    proposed.sequence, proposed.duplicate = 3, True
    inbox.settle(batch)

    assert await receipt == Receipt(3, duplicate=True)


async def test_everybody_gets_an_error_of_his_own_with_the_same_facts() -> None:
    inbox = inbox_of()
    receipts = [(await accepted(inbox))[1] for _ in range(2)]
    await settle(inbox, StoreFullError("no space"))

    failures = [await asyncio.gather(receipt, return_exceptions=True) for receipt in receipts]

    (first,), (second,) = failures
    assert isinstance(first, StoreFullError)
    assert isinstance(second, StoreFullError)
    assert str(first) == str(second) == "no space"
    assert first is not second


async def test_a_commit_that_failed_half_way_leaves_the_outcome_unknown() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox, id="x")
    failure = StoreFailedError("fsync", outcome_unknown=True)
    await settle(inbox, failure)

    with pytest.raises(PublishOutcomeUnknownError, match="fsync") as unknown:
        await receipt

    assert unknown.value.id == "x"
    assert unknown.value.__cause__ is failure


async def test_a_store_that_had_failed_before_has_not_stored_it() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)
    await settle(inbox, StoreFailedError("failed before"))

    with pytest.raises(StoreFailedError, match="failed before"):
        await receipt


async def test_an_event_the_store_refused_is_known_before_the_others_of_its_batch() -> None:
    inbox = inbox_of()
    refused, receipt = await accepted(inbox)
    _, other = await accepted(inbox)
    await take_batch(inbox)

    refused.batch = Batch(EventIdConflictError({0: ("x", 3)}))

    assert receipt.done
    assert not other.done
    with pytest.raises(EventIdConflictError):
        await receipt


async def test_a_store_that_forgets_an_event_is_not_believed() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)
    batch = await take_batch(inbox)
    inbox.settle(batch)

    with pytest.raises(AsyncBusError, match="has not said"):
        await receipt


# --- from another thread ---------------------------------------------------------------------------------------------


async def test_another_thread_waits_for_the_commit() -> None:
    inbox = inbox_of()
    proposed, receipt = await accepted(inbox)
    waiting = asyncio.create_task(asyncio.to_thread(receipt.result))
    await until(lambda: proposed.batch.waiters)
    assert not waiting.done()

    await settle(inbox)

    assert await waiting == Receipt(7)
    assert await asyncio.to_thread(receipt.result) == Receipt(7)


async def test_another_thread_gets_what_the_write_raised() -> None:
    inbox = inbox_of()
    proposed, receipt = await accepted(inbox)
    waiting = asyncio.create_task(asyncio.to_thread(receipt.result))
    await until(lambda: proposed.batch.waiters)

    inbox.abandon("the writer is gone")

    with pytest.raises(BusClosedError, match="the writer is gone"):
        await waiting


async def test_another_thread_waits_no_longer_than_it_likes_and_may_ask_again() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(receipt.result, 0.001)
    await settle(inbox)

    assert await asyncio.to_thread(receipt.result) == Receipt(7)


async def test_the_loop_does_not_wait_for_itself() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)

    with pytest.raises(WrongThreadError, match="await the receipt instead"):
        receipt.result()

    await settle(inbox)
    assert receipt.result() == Receipt(7)


async def test_another_loop_cannot_await_it() -> None:
    inbox = inbox_of()
    _, receipt = await accepted(inbox)

    async def elsewhere() -> None:
        with pytest.raises(WrongEventLoopError):
            await receipt

    await asyncio.to_thread(asyncio.run, elsewhere())


async def test_it_shows_how_far_it_is() -> None:
    inbox = inbox_of()
    _, stored = await accepted(inbox)
    assert repr(stored) == "PendingReceipt('a.b', pending)"

    await settle(inbox)
    _, failed = await accepted(inbox)
    await settle(inbox, StoreFullError("no space"))

    assert repr(stored) == "PendingReceipt('a.b', sequence=7)"
    assert repr(failed) == "PendingReceipt('a.b', failed)"
