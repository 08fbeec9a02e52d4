import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.batch import OUTSIDE, Submission
from asyncbus.errors import BatchTooLargeError
from tests.fakes import in_line, inbox_of, submission, submissions, take_batch, taken

pytestmark = pytest.mark.asyncio

# --- order and bounds ------------------------------------------------------------------------------------------------


async def test_a_batch_is_all_that_has_arrived_in_the_order_of_arriving() -> None:
    inbox = inbox_of()
    for each in submissions("a", "b"):
        assert inbox.put(each)
    assert inbox.put_group(submissions("c", "d"))
    assert inbox.put(submission("e"))

    assert await taken(inbox) == ["a", "b", "c", "d", "e"]
    assert inbox.depth == inbox.size == 0


async def test_no_more_events_wait_than_the_capacity() -> None:
    inbox = inbox_of(capacity=3)

    assert [inbox.put(submission()) for _ in range(5)] == [True, True, True, False, False]
    assert not inbox.put_group(submissions("a", "b"))
    assert (inbox.depth, inbox.high_water) == (3, 0)

    assert await taken(inbox) == ["a"] * 3
    assert inbox.put_group(submissions("a", "b"))
    assert not inbox.put_group(submissions("a", "b"))
    assert (inbox.depth, inbox.high_water) == (2, 3)


async def test_no_more_bytes_wait_than_allowed() -> None:
    inbox = inbox_of(max_bytes=10)

    assert inbox.put(submission(data=b"12345"))
    assert not inbox.put(submission(data=b"123456"))
    assert not inbox.put_group([submission(data=b"123"), submission(data=b"456")])
    assert inbox.put(submission(data=b"12345"))
    assert not inbox.put(submission(data=b"1"))
    assert inbox.size == 10

    assert await taken(inbox) == ["a", "a"]
    assert inbox.put(submission(data=b"1234567890"))


async def test_bytes_are_counted_over_several_batches() -> None:
    inbox = inbox_of(max_bytes=10, batch_limit=1)
    for _ in range(3):
        assert inbox.put(submission(data=b"123"))

    assert not inbox.put(submission(data=b"12"))
    assert await taken(inbox) == ["a"]
    assert inbox.size == 6
    assert inbox.put(submission(data=b"1234"))


async def test_a_store_gets_no_larger_batches_than_it_likes() -> None:
    inbox = inbox_of(batch_limit=2)
    for each in submissions("a", "b", "c", "d", "e"):
        assert inbox.put(each)

    assert [await taken(inbox) for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]


async def test_what_was_published_together_stays_together() -> None:
    inbox = inbox_of(batch_limit=3)
    assert inbox.put(submission("a"))
    assert inbox.put_group(submissions("b", "c", "d", "e"))
    assert inbox.put(submission("f"))
    assert inbox.put_group(submissions("g", "h"))
    assert inbox.put_group(submissions("i", "j"))

    batches = [await taken(inbox) for _ in range(4)]

    assert batches == [["a"], ["b", "c", "d", "e"], ["f", "g", "h"], ["i", "j"]]


@pytest.mark.parametrize("group", [["x"] * 4, [b"12345678901"], [b"12345", b"123456"]])
async def test_a_group_that_never_fits_is_refused_before_anything_is_queued(group: list[Any]) -> None:
    inbox = inbox_of(capacity=3, max_bytes=10)
    proposed = [submission(data=data) for data in group]

    with pytest.raises(BatchTooLargeError) as refused:
        inbox.put_group(proposed)

    assert (refused.value.events, refused.value.capacity, refused.value.max_bytes) == (len(group), 3, 10)
    assert (inbox.depth, inbox.size) == (0, 0)
    assert all(each.batch is OUTSIDE for each in proposed)


@given(st.data())
async def test_the_books_are_right_whatever_happens(data: st.DataObject) -> None:
    inbox = inbox_of(capacity=6, max_bytes=20, batch_limit=3)
    waiting: list[list[Submission]] = []  # what was published together
    for act in data.draw(st.lists(st.sampled_from(["put", "group", "withdraw", "take"]), max_size=30)):
        present = [each for group in waiting for each in group]
        size = sum(len(each.data) for each in present)
        if act in {"put", "group"}:
            count = 1 if act == "put" else data.draw(st.integers(1, 4))
            group = [submission(data=b"x" * data.draw(st.integers(0, 5))) for _ in range(count)]
            fits = len(present) + count <= 6 and size + sum(len(each.data) for each in group) <= 20
            assert (inbox.put(group[0]) if act == "put" else inbox.put_group(group)) == fits
            waiting += [group] * fits
        elif act == "withdraw" and waiting:
            inbox.withdraw(waiting.pop(data.draw(st.integers(0, len(waiting) - 1))))
        elif act == "take" and waiting:
            batch = await take_batch(inbox)
            assert [id(each) for each in batch.submissions] == [id(each) for each in present[: len(batch.submissions)]]
            left = len(present) - len(batch.submissions)
            while sum(len(group) for group in waiting) > left:
                waiting.pop(0)
        assert inbox.depth == sum(len(group) for group in waiting)
        assert inbox.size == sum(len(each.data) for group in waiting for each in group)


# --- the line --------------------------------------------------------------------------------------------------------


async def test_who_came_first_gets_room_first() -> None:
    inbox = inbox_of(capacity=2)
    assert inbox.put_group(submissions("a", "b"))
    waiting = [await in_line(inbox, [submission(type)]) for type in "cde"]

    assert await taken(inbox) == ["a", "b"]
    await asyncio.gather(*waiting[:2])
    assert (inbox.waiting, inbox.depth) == (1, 2)
    assert await taken(inbox) == ["c", "d"]
    await waiting[2]
    assert await taken(inbox) == ["e"]


async def test_nobody_overtakes_those_in_line_though_there_is_room_for_him() -> None:
    inbox = inbox_of(capacity=3)
    assert inbox.put_group(submissions("a", "b"))
    large = await in_line(inbox, submissions("c", "d"))
    small = await in_line(inbox, [submission("e")])

    assert not inbox.put(submission("f"))
    assert not inbox.put_group(submissions("g"))

    assert await taken(inbox) == ["a", "b"]
    await asyncio.gather(large, small)
    assert await taken(inbox) == ["c", "d", "e"]


async def test_room_in_bytes_is_waited_for_as_well() -> None:
    inbox = inbox_of(max_bytes=10)
    assert inbox.put(submission("a", b"1234567890"))
    waiting = await in_line(inbox, [submission("b", b"12345678")])
    behind = await in_line(inbox, [submission("c", b"123")])

    assert await taken(inbox) == ["a"]
    await waiting
    assert not behind.done()
    assert await taken(inbox) == ["b"]
    await behind
    assert inbox.size == 3


async def test_who_is_cancelled_in_line_leaves_it() -> None:
    inbox = inbox_of(capacity=1)
    assert inbox.put(submission("a"))
    gone = await in_line(inbox, [submission("b")])
    behind = await in_line(inbox, [submission("c")])

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone

    assert (inbox.waiting, inbox.withdrawn) == (1, 0)
    assert await taken(inbox) == ["a"]
    await behind
    assert await taken(inbox) == ["c"]


async def test_the_last_one_to_leave_the_line_leaves_it_open_for_others() -> None:
    inbox = inbox_of(capacity=2)
    assert inbox.put(submission("a"))
    gone = await in_line(inbox, submissions("b", "c"))
    assert not inbox.put(submission("d"))

    gone.cancel()
    await asyncio.wait([gone])

    assert inbox.put(submission("e"))
    assert await taken(inbox) == ["a", "e"]


async def test_who_is_cancelled_just_when_there_is_room_is_withdrawn() -> None:
    inbox = inbox_of(capacity=1)
    assert inbox.put(submission("a"))
    gone = await in_line(inbox, [submission("b")])

    assert await taken(inbox) == ["a"]  # which lets the other one in
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone

    assert (inbox.depth, inbox.withdrawn) == (0, 1)
    assert inbox.put(submission("c"))
    assert await taken(inbox) == ["c"]


# --- taking back -----------------------------------------------------------------------------------------------------


async def test_what_the_writer_has_not_taken_can_be_taken_back() -> None:
    inbox = inbox_of()
    proposed = submissions("a", "b", "c")
    assert all(inbox.put(each) for each in proposed)

    inbox.withdraw(proposed[1:2])

    assert inbox.withdrawn == 1
    assert await taken(inbox) == ["a", "c"]


async def test_the_room_of_what_was_taken_back_goes_to_the_next_in_line() -> None:
    inbox = inbox_of(capacity=3, max_bytes=10)
    group = [submission("b", b"123"), submission("b", b"456")]
    assert inbox.put(submission("a", b"1234"))
    assert inbox.put_group(group)
    waiting = await in_line(inbox, [submission("c", b"123456")])

    inbox.withdraw(group)

    await waiting
    assert (inbox.depth, inbox.size) == (2, 10)
    assert await taken(inbox) == ["a", "c"]


async def test_those_who_come_and_go_while_the_writer_is_busy_take_no_room() -> None:
    inbox = inbox_of(capacity=4)
    assert inbox.put(submission("a"))

    for _ in range(1000):
        passer_by = submission("b")
        assert inbox.put(passer_by)
        inbox.withdraw([passer_by])

    assert (inbox.depth, inbox.withdrawn) == (1, 1000)
    assert len(inbox._open.submissions) <= 4
    assert await taken(inbox) == ["a"]


async def test_a_group_is_taken_back_whole() -> None:
    inbox = inbox_of()
    group = submissions("b", "c")
    assert inbox.put(submission("a"))
    assert inbox.put_group(group)

    inbox.withdraw(group)

    batch = await take_batch(inbox)
    assert [each.type for each in batch.submissions] == ["a"]
    assert batch.groups == []
    assert inbox.withdrawn == 2


async def test_what_the_writer_has_taken_cannot_be_taken_back() -> None:
    inbox = inbox_of()
    proposed = submission("a")
    assert inbox.put(proposed)
    batch = await take_batch(inbox)

    inbox.withdraw([proposed])

    assert batch.submissions == [proposed]
    assert proposed.batch is batch
    assert inbox.withdrawn == 0
