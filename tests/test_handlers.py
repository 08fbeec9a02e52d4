import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncbus.errors import StoreCorruptError, SubscriptionOverflowError
from asyncbus.events import Event
from asyncbus.handlers import Handler, handler_name, run
from asyncbus.patterns import Pattern
from asyncbus.store.base import Page
from asyncbus.store.memory import MemoryStore
from asyncbus.subscription import Subscription
from tests.fakes import ManualClock, opened, until

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def handling(
    handler: Handler, subscription: Subscription, clock: ManualClock | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """A task that runs the handler, as the bus starts one; closing the subscription ends it."""
    task = asyncio.create_task(run(handler, subscription, clock or ManualClock()))
    try:
        yield task
    finally:
        subscription.end()
        await asyncio.wait([task])


# --- what is called --------------------------------------------------------------------------------------------------


async def test_a_coroutine_function_handles_one_event_after_the_other() -> None:
    log = await opened()
    seen: list[tuple[str, int]] = []

    async def handler(event: Event) -> None:
        seen.append(("begin", event.sequence))
        await asyncio.sleep(0)
        seen.append(("end", event.sequence))

    async with handling(handler, log.subscription(handled=True)):
        await log.commit("a", "a")
        await until(lambda: len(seen) == 4)

    assert seen == [("begin", 1), ("end", 1), ("begin", 2), ("end", 2)]


class Called:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, event: Event) -> None:
        self.seen.append(event.sequence)

    def method(self, event: Event) -> None:
        self.seen.append(event.sequence)

    async def coroutine_method(self, event: Event) -> None:
        self.seen.append(event.sequence)

    def future(self, event: Event) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self.seen.append, event.sequence)
        asyncio.get_running_loop().call_soon(done.set_result, None)
        return done


HANDLERS: dict[str, Callable[[Called], Handler]] = {
    "a plain function": lambda called: lambda event: called.seen.append(event.sequence),
    "an object": lambda called: called,
    "a method": lambda called: called.method,
    "a coroutine method": lambda called: called.coroutine_method,
    "a partial": lambda called: functools.partial(Called.method, called),
    "a partial of a coroutine method": lambda called: functools.partial(Called.coroutine_method, called),
    "a function that returns a future": lambda called: called.future,
}


@pytest.mark.parametrize("make", HANDLERS.values(), ids=HANDLERS)
async def test_whatever_can_be_called_with_an_event_is_a_handler(make: Callable[[Called], Handler]) -> None:
    log = await opened()
    called = Called()

    async with handling(make(called), log.subscription(handled=True)):
        await log.commit("a", "a")
        await until(lambda: len(called.seen) == 2)

    assert called.seen == [1, 2]


async def test_a_plain_function_runs_on_the_thread_and_task_of_the_subscription() -> None:
    log = await opened()
    tasks: list[asyncio.Task[Any] | None] = []

    async with handling(lambda event: tasks.append(asyncio.current_task()), log.subscription(handled=True)) as task:
        await log.commit("a")
        await until(lambda: tasks)

    assert tasks == [task]


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (len, "builtins.len"),
        (handler_name, "asyncbus.handlers.handler_name"),
        (Called(), "tests.test_handlers.Called"),
        (Called().method, "tests.test_handlers.Called.method"),
        (functools.partial(functools.partial(handler_name)), "asyncbus.handlers.handler_name"),
    ],
)
async def test_a_handler_is_called_by_its_qualified_name(handler: Handler, name: str) -> None:
    assert handler_name(handler) == name


# --- failing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("awaited", [True, False])
async def test_a_handler_that_fails_is_logged_with_the_event_and_the_next_one_goes_on(
    caplog: pytest.LogCaptureFixture, *, awaited: bool
) -> None:
    log = await opened()
    seen: list[int] = []

    def fail(event: Event) -> None:
        seen.append(event.sequence)
        if event.sequence == 2:
            raise ZeroDivisionError("the handler's own")

    async def fail_later(event: Event) -> None:
        fail(event)

    subscription = log.subscription(handled=True)
    async with handling(fail_later if awaited else fail, subscription):
        await log.commit("a", "b.c", "a")
        await until(lambda: len(seen) == 3)
        assert subscription.open

    assert (subscription.errors, subscription.delivered) == (1, 3)
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "asyncbus")
    assert "error at event 2 (b.c)" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


async def test_a_handler_that_fails_harms_no_other_one() -> None:
    log = await opened()
    seen: list[int] = []

    def fail(event: Event) -> None:
        raise ZeroDivisionError

    async with (
        handling(fail, log.subscription(handled=True)),
        handling(lambda event: seen.append(event.sequence), log.subscription(handled=True)),
    ):
        await log.commit("a", "a")
        await until(lambda: len(seen) == 2)


async def test_what_where_raises_is_counted_and_the_next_event_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    log = await opened()
    seen: list[int] = []
    subscription = log.subscription(handled=True, where=lambda event: 1 / event.data)

    async with handling(lambda event: seen.append(event.sequence), subscription):
        await log.commit("a", "a")
        await until(lambda: seen)

    assert (seen, subscription.errors, subscription.delivered) == ([2], 1, 1)
    assert "error at event 1 (a)" in caplog.text


async def test_what_the_data_raise_when_they_are_read_is_the_handlers_failure() -> None:
    log = await opened()
    seen: list[Any] = []
    subscription = log.subscription(handled=True)

    async with handling(lambda event: seen.append(event.data), subscription):
        damaged, _ = await log.commit("a", "a")
        damaged.data = "{"
        await until(lambda: seen)

    assert (seen, subscription.errors) == ([1], 1)


# --- cancelling ------------------------------------------------------------------------------------------------------


async def test_cancelling_ends_the_handler_at_once_and_its_subscription() -> None:
    log = await opened()
    begun = asyncio.Event()
    cancelled: list[int] = []

    async def handler(event: Event) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(event.sequence)
            raise

    subscription = log.subscription(handled=True)
    async with handling(handler, subscription) as task:
        await log.commit("a", "a")
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not subscription.open

    assert cancelled == [1]
    assert log.ended == [subscription]
    assert subscription.errors == 0


async def test_cancelling_while_it_waits_for_events_ends_it_as_well() -> None:
    log = await opened()
    subscription = log.subscription(handled=True)

    async with handling(print, subscription) as task:
        await until(lambda: subscription._waiter is not None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not subscription.open


async def test_a_handler_whose_own_task_was_cancelled_has_failed_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """What it awaited was cancelled by somebody, not the handler."""
    log = await opened()
    seen: list[int] = []

    async def handler(event: Event) -> None:
        seen.append(event.sequence)
        if event.sequence == 1:
            other = asyncio.create_task(asyncio.Event().wait())
            other.cancel()
            await other

    subscription = log.subscription(handled=True)
    async with handling(handler, subscription):
        await log.commit("a", "a")
        await until(lambda: len(seen) == 2)
        assert subscription.errors == 1

    assert "error at event 1 (a)" in caplog.text


# --- ending ----------------------------------------------------------------------------------------------------------


async def test_closing_waits_until_the_event_being_handled_is_done_and_no_other_one_comes() -> None:
    log = await opened()
    seen: list[int] = []
    go_on = asyncio.Event()

    async def handler(event: Event) -> None:
        await go_on.wait()
        seen.append(event.sequence)

    subscription = log.subscription(handled=True)
    async with handling(handler, subscription):
        await log.commit("a", "a")
        await until(lambda: subscription.delivered)
        closing = asyncio.create_task(subscription.close())
        await until(lambda: not subscription.open)
        assert not closing.done()
        go_on.set()
        await closing

    assert seen == [1]


async def test_a_handler_may_close_its_own_subscription() -> None:
    log = await opened()
    seen: list[int] = []

    async def handler(event: Event) -> None:
        await subscription.close()
        seen.append(event.sequence)

    subscription = log.subscription(handled=True)
    async with handling(handler, subscription) as task:
        await log.commit("a", "a")
        await task

    assert seen == [1]


async def test_what_ends_the_subscription_is_logged_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    class DamagedStore(MemoryStore):
        async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
            raise StoreCorruptError("its checksum is wrong", 1)

    log = await opened("a", store=DamagedStore())
    subscription = log.subscription(start="earliest", handled=True)

    async with handling(print, subscription) as task:
        await task

    assert isinstance(subscription.error, StoreCorruptError)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "subscription * has ended: event 1 is corrupt" in caplog.text


async def test_an_overflow_ends_the_handler_after_what_the_queue_held(caplog: pytest.LogCaptureFixture) -> None:
    log = await opened()
    seen: list[int] = []
    subscription = log.subscription(capacity=2, when_full="fail", handled=True)
    await log.commit("a", "a", "a")

    async with handling(lambda event: seen.append(event.sequence), subscription) as task:
        await task

    assert seen == [1, 2]
    assert isinstance(subscription.error, SubscriptionOverflowError)
    assert "has ended: the queue of 2 events is full" in caplog.text
