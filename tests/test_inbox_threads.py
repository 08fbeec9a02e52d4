import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import pytest

from asyncbus.batch import OUTSIDE, Submission
from asyncbus.errors import BusClosedError
from asyncbus.inbox import Inbox
from tests.fakes import has_ended, in_line, inbox_of, submission, submissions, take_batch, taken, until

pytestmark = pytest.mark.asyncio


def on_a_thread(inbox: Inbox, proposed: Submission, timeout: float | None = None) -> asyncio.Task[None]:
    return asyncio.create_task(asyncio.to_thread(inbox.put_from_thread, proposed, timeout))


async def in_line_on_a_thread(inbox: Inbox, proposed: Submission, timeout: float | None = None) -> asyncio.Task[None]:
    waiting = inbox.waiting
    task = on_a_thread(inbox, proposed, timeout)
    await until(lambda: inbox.waiting == waiting + 1)
    return task


async def test_what_a_thread_publishes_wakes_the_writer() -> None:
    inbox = inbox_of()
    writer = asyncio.create_task(take_batch(inbox))
    await asyncio.sleep(0)
    assert not writer.done()

    await on_a_thread(inbox, submission("a", b"123"))

    assert [each.type for each in (await writer).submissions] == ["a"]
    assert inbox.size == 0


async def test_a_thread_waits_for_room_in_the_same_line_as_the_others() -> None:
    inbox = inbox_of(capacity=1)
    assert inbox.put(submission("a"))
    first = await in_line(inbox, [submission("b")])
    second = await in_line_on_a_thread(inbox, submission("c"))
    third = await in_line(inbox, [submission("d")])

    assert [await taken(inbox) for _ in range(4)] == [["a"], ["b"], ["c"], ["d"]]

    await asyncio.gather(first, second, third)


async def test_a_thread_does_not_overtake_those_in_line() -> None:
    inbox = inbox_of(capacity=3)
    assert inbox.put_group(submissions("a", "b"))
    large = await in_line(inbox, submissions("c", "d"))
    small = await in_line_on_a_thread(inbox, submission("e"))

    assert await taken(inbox) == ["a", "b"]
    await asyncio.gather(large, small)
    assert await taken(inbox) == ["c", "d", "e"]


async def test_a_thread_waits_for_room_in_bytes_as_well() -> None:
    inbox = inbox_of(max_bytes=5)
    assert inbox.put(submission("a", b"12345"))
    waiting = await in_line_on_a_thread(inbox, submission("b", b"1"))

    assert await taken(inbox) == ["a"]
    await waiting
    assert inbox.size == 1


async def test_a_thread_that_got_no_room_in_time_has_published_nothing() -> None:
    inbox = inbox_of(capacity=1)
    assert inbox.put(submission("a"))
    proposed = submission("b")

    with pytest.raises(TimeoutError, match="the event was not accepted"):
        await on_a_thread(inbox, proposed, 0.001)

    assert proposed.batch is OUTSIDE
    assert inbox.waiting == 0
    assert await taken(inbox) == ["a"]
    assert inbox.depth == 0


async def test_those_behind_a_thread_that_gave_up_go_on() -> None:
    inbox = inbox_of(capacity=1)
    assert inbox.put(submission("a"))
    gone = await in_line_on_a_thread(inbox, submission("b"), 0.01)
    behind = await in_line(inbox, [submission("c")])

    with pytest.raises(TimeoutError):
        await gone

    assert await taken(inbox) == ["a"]
    await behind
    assert await taken(inbox) == ["c"]


async def test_a_thread_in_line_is_told_when_the_bus_closes() -> None:
    inbox = inbox_of(capacity=1)
    assert inbox.put(submission("a"))
    waiting = await in_line_on_a_thread(inbox, submission("b"))

    inbox.close("the bus is closed")

    with pytest.raises(BusClosedError, match="the bus is closed"):
        await waiting
    with pytest.raises(BusClosedError, match="the bus is closed"):
        await on_a_thread(inbox, submission("c"))
    assert await taken(inbox) == ["a"]
    assert await has_ended(inbox)


async def test_all_that_several_threads_and_the_loop_publish_arrives_once_and_each_in_its_order() -> None:
    inbox = inbox_of(capacity=7, batch_limit=3)
    count = 200

    def publish_on_a_thread(name: str) -> None:
        for number in range(count):
            inbox.put_from_thread(submission(name, number), None)

    async def publish_on_the_loop() -> None:
        for number in range(count):
            proposed = submission("loop", number)
            if not inbox.put(proposed):
                await inbox.wait_in_line([proposed])

    names = ["t0", "t1", "t2"]
    publishing = [asyncio.create_task(asyncio.to_thread(publish_on_a_thread, name)) for name in names]
    publishing.append(asyncio.create_task(publish_on_the_loop()))
    out: list[Submission] = []
    while len(out) < 4 * count:
        batch = await take_batch(inbox)
        assert 0 < len(batch.submissions) <= 3
        out += batch.submissions
        inbox.settle(batch)
        await asyncio.sleep(0)
    await asyncio.gather(*publishing)

    assert Counter(each.type for each in out) == dict.fromkeys([*names, "loop"], count)
    for name in [*names, "loop"]:
        assert [int(each.data) for each in out if each.type == name] == list(range(count))
    assert (inbox.depth, inbox.size, inbox.waiting) == (0, 0, 0)
    assert inbox.high_water <= 7


# --- every moment at which a thread can step in ----------------------------------------------------------------------


def step_in(inbox: Inbox, code: CodeType, line: int, act: Callable[[], object]) -> Callable[[], object]:
    """Run `act` on another thread before the n-th line of the next run of `code`; call the result when that is over."""
    left = line
    thread = threading.Thread(target=act)

    def look(frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code is not code:
            return None
        left -= event == "line"
        if not left and thread.ident is None:
            locked = inbox._lock.locked()
            thread.start()
            while thread.is_alive() and not locked:  # joining it would be a call that blocks the loop
                pass
        return look

    def end() -> None:
        sys.settrace(before)
        while thread.is_alive():
            pass

    before = sys.gettrace()
    sys.settrace(look)
    return end


@pytest.mark.parametrize("waiting", [0, 1, 2, 3], ids=lambda waiting: f"{waiting} wait")
async def test_the_books_are_right_wherever_a_thread_steps_in_while_the_loop_publishes(waiting: int) -> None:
    """The interpreter may switch threads nearly anywhere; this shows what another one can do then."""
    for line in range(1, 20):
        inbox = inbox_of(capacity=100, batch_limit=2)
        assert all(inbox.put(submission()) for _ in range(waiting))
        writer = asyncio.create_task(take_batch(inbox))
        await asyncio.sleep(0)

        def meanwhile(inbox: Inbox = inbox) -> None:
            for _ in range(3):
                inbox.put_from_thread(submission(data=b"12"), 5)

        end = step_in(inbox, Inbox.put.__code__, line, meanwhile)
        assert inbox.put(submission(data=b"345"))
        end()

        await writer
        while inbox._full or inbox._open.submissions:
            await take_batch(inbox)
        assert (inbox.depth, inbox.size) == (0, 0), f"a thread stepped in before line {line}"


async def test_the_writer_misses_nothing_that_a_thread_publishes_while_it_goes_to_sleep() -> None:
    for line in range(1, 20):
        inbox = inbox_of()
        published: list[int] = []

        def meanwhile(inbox: Inbox = inbox, published: list[int] = published) -> None:
            inbox.put_from_thread(submission("a"), 5)
            published.append(1)

        end = step_in(inbox, Inbox.take.__code__, line, meanwhile)
        writer = asyncio.create_task(taken(inbox))
        await asyncio.sleep(0)
        end()
        if not published:  # it sleeps already
            assert inbox.put(submission("a"))

        assert await asyncio.wait_for(writer, 5) == ["a"], f"a thread stepped in before line {line}"
