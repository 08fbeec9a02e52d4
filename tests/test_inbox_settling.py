import asyncio
from typing import Any

import pytest

from asyncbus.batch import Batch
from asyncbus.errors import (
    BusClosedError,
    PublishOutcomeUnknownError,
    StoreFullError,
    WouldDeadlockError,
    WrongEventLoopError,
)
from asyncbus.inbox import Inbox
from asyncbus.receipts import PendingReceipt
from tests.fakes import has_ended, in_line, inbox_of, submission, submissions, take_batch, taken

pytestmark = pytest.mark.asyncio

# --- settling --------------------------------------------------------------------------------------------------------


def settle(inbox: Inbox, batch: Batch, error: Exception | None = None) -> None:
    """What the writer does when a commit has ended."""
    batch.error = error
    for sequence, each in enumerate(batch.submissions if error is None else (), 1):
        each.sequence = sequence
    inbox.settle(batch)


async def test_flush_waits_for_all_that_was_accepted_before_it_and_for_nothing_later() -> None:
    inbox = inbox_of(batch_limit=1)
    assert all(inbox.put(each) for each in submissions("a", "b"))
    in_flight = await take_batch(inbox)
    flush = asyncio.create_task(inbox.flush())
    await asyncio.sleep(0)
    assert inbox.put(submission("c"))

    settle(inbox, in_flight)
    second = await take_batch(inbox)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not flush.done()
    settle(inbox, second)

    await flush
    assert inbox.depth == 1


async def test_flushing_what_is_empty_does_not_wait() -> None:
    flush = inbox_of().flush()

    with pytest.raises(StopIteration):
        flush.send(None)


async def test_flush_tells_what_kept_events_from_being_stored() -> None:
    inbox = inbox_of()
    assert inbox.put(submission("a"))
    flush = asyncio.create_task(inbox.flush())
    await asyncio.sleep(0)

    settle(inbox, await take_batch(inbox), StoreFullError("no space"))

    with pytest.raises(StoreFullError):
        await flush


async def test_a_settled_batch_lets_go_of_its_events() -> None:
    """Those that are kept in memory refer to it, and would keep all the others alive."""
    inbox = inbox_of()
    assert inbox.put_group(submissions("a", "b"))
    batch = await take_batch(inbox)

    settle(inbox, batch)

    assert (list(batch.submissions), list(batch.groups), list(batch.waiters)) == ([], [], [])


# --- those who must not wait -----------------------------------------------------------------------------------------


async def test_who_the_writer_waits_for_may_not_wait_for_the_writer() -> None:
    barred: set[asyncio.Task[Any] | None] = set()
    inbox = inbox_of(capacity=1, barred=lambda: barred)
    inbox.watch_tasks = True
    proposed = submission("a")
    assert inbox.put(proposed)
    other = await in_line(inbox, [submission("b")])

    async def publish() -> None:
        barred.add(asyncio.current_task())
        with pytest.raises(WouldDeadlockError):
            await inbox.wait_in_line([submission("c")])
        with pytest.raises(WouldDeadlockError):
            await PendingReceipt(proposed, inbox)

    await asyncio.create_task(publish())

    assert (inbox.waiting, inbox.depth) == (1, 1)
    assert await taken(inbox) == ["a"]
    await other


async def test_who_waits_already_when_the_writer_comes_to_wait_for_him_is_told() -> None:
    barred: set[asyncio.Task[Any] | None] = set()
    inbox = inbox_of(capacity=1, barred=lambda: barred)
    inbox.watch_tasks = True
    proposed = submission("a")
    assert inbox.put(proposed)

    async def wait_for_receipt() -> None:
        await PendingReceipt(proposed, inbox)

    for_receipt = asyncio.create_task(wait_for_receipt())
    for_room = await in_line(inbox, [submission("b")])
    for_nobody = await in_line(inbox, [submission("c")])
    barred |= {for_receipt, for_room}
    inbox.fail_barred()

    results = await asyncio.gather(for_receipt, for_room, return_exceptions=True)
    assert [type(result) for result in results] == [WouldDeadlockError, WouldDeadlockError]
    assert [await taken(inbox) for _ in range(2)] == [["a"], ["c"]]
    await for_nobody


# --- closing ---------------------------------------------------------------------------------------------------------


async def test_closing_refuses_those_in_line_and_leaves_what_was_accepted_to_the_writer() -> None:
    inbox = inbox_of(capacity=1)
    assert inbox.put(submission("a"))
    waiting = await in_line(inbox, [submission("b")])

    inbox.close("the bus is closed")

    assert inbox.waiting == 0
    with pytest.raises(BusClosedError, match="the bus is closed"):
        await waiting
    assert await taken(inbox) == ["a"]
    assert await has_ended(inbox)


async def test_closing_wakes_the_writer() -> None:
    inbox = inbox_of()
    writer = asyncio.create_task(has_ended(inbox))
    await asyncio.sleep(0)
    assert not writer.done()

    inbox.close("the bus is closed")

    assert await writer


async def test_without_a_writer_what_was_taken_is_unknown_and_what_was_not_is_not_stored() -> None:
    inbox = inbox_of(batch_limit=1)
    proposed = submissions("a", "b", "c", id="x")
    assert all(inbox.put(each) for each in proposed)
    await take_batch(inbox)
    receipts = [PendingReceipt(each, inbox) for each in proposed]
    waiting = asyncio.ensure_future(asyncio.gather(*receipts, return_exceptions=True))
    await asyncio.sleep(0)

    inbox.abandon("the writer is gone")

    assert [type(outcome) for outcome in await waiting] == [PublishOutcomeUnknownError, BusClosedError, BusClosedError]
    assert all(receipt.done for receipt in receipts)


async def test_without_a_writer_nobody_waits_for_what_it_was_to_do() -> None:
    inbox = inbox_of()

    async def act() -> None:
        raise AssertionError

    waiting = asyncio.create_task(inbox.command(act))
    await asyncio.sleep(0)

    inbox.abandon("the writer is gone")

    for _ in range(3):
        await asyncio.sleep(0)
    if not waiting.done():
        waiting.cancel()
    with pytest.raises(BusClosedError):
        await waiting


async def test_publishing_on_another_loop_is_noticed_where_it_touches_the_loop() -> None:
    inbox = inbox_of()
    writer = asyncio.create_task(taken(inbox))
    await asyncio.sleep(0)

    async def elsewhere() -> None:
        with pytest.raises(WrongEventLoopError):
            inbox.put(submission("a"))

    await asyncio.to_thread(asyncio.run, elsewhere())

    assert inbox.put(submission("b"))
    assert await writer == ["b"]
