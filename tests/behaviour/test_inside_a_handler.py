"""What a handler may do while it handles an event: subscribe, unsubscribe, publish; and what handlers may be."""

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

import asyncbus
from asyncbus import Event, Receipt
from tests.behaviour.stage import Log, payloads, sequences, take, ticks

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def test_a_handler_may_unsubscribe_itself(log: Log) -> None:
    seen: list[int] = []
    async with log.bus() as bus:

        async def once(event: Event) -> None:
            await itself.close()
            seen.append(event.sequence)

        itself = bus.subscribe("a", once)
        await bus.publish_many([("a", None)] * 3)
        await bus.publish("a")
        await bus.drain()
        assert seen == [1]
        assert itself.position == 1
        assert bus.statistics().subscriptions == ()


@pytest.mark.fault(69)
async def test_a_handler_may_unsubscribe_another_which_gets_no_more(log: Log) -> None:
    first: list[int] = []
    other: list[int] = []
    last: list[int] = []
    async with log.bus() as bus:

        async def unsubscribe(event: Event) -> None:
            first.append(event.sequence)
            await another.close()

        bus.subscribe("a", unsubscribe)
        another = bus.subscribe("a", lambda event: other.append(event.sequence))
        bus.subscribe("a", lambda event: last.append(event.sequence))
        await ticks(3)
        await bus.publish_many([("a", None)] * 3)
        await bus.drain()
        assert first == last == [1, 2, 3], "its neighbours are skipped by nothing"
        assert other == list(range(1, another.position + 1))
        assert len(other) < 3


@pytest.mark.fault(69)
async def test_after_unsubscribing_no_call_comes_any_more(log: Log) -> None:
    seen: list[int] = []
    reached = asyncio.Event()

    async def slow(event: Event) -> None:
        reached.set()
        await ticks(20)
        seen.append(event.sequence)

    async with log.bus() as bus:
        events = bus.subscribe("a", slow)
        await bus.publish_many([("a", None)] * 5)
        await reached.wait()
        await events.close()
        handled = list(seen)
        assert handled == [1], "the event being handled is waited for, the others are not"
        await bus.publish("a")
        await ticks(50)
        assert seen == handled


async def test_a_handler_may_subscribe_and_the_new_one_begins_with_the_next_event(log: Log) -> None:
    late: list[tuple[str, Any]] = []
    async with log.bus() as bus:

        async def subscribe(event: Event) -> None:
            if event.data == 0:
                bus.subscribe("a", lambda event: late.append(("latest", event.data)))
                bus.subscribe("a", lambda event: late.append(("this", event.data)), start=event.sequence)

        bus.subscribe("a", subscribe)
        await bus.publish("a", 0)
        await bus.drain()
        await bus.publish("a", 1)
        await bus.drain()
        assert sorted(late) == [("latest", 1), ("this", 0), ("this", 1)]


async def test_handlers_may_answer_each_other(log: Log) -> None:
    receipts: list[Receipt] = []
    async with log.bus(inbox_capacity=2) as bus:

        async def ping(event: Event) -> None:
            if event.data < 50:
                receipts.append(await bus.publish("pong", event.data + 1))

        async def pong(event: Event) -> None:
            receipts.append(await bus.publish("ping", event.data + 1))

        bus.subscribe("ping", ping, capacity=1)
        bus.subscribe("pong", pong, capacity=1)
        done = bus.wait_for("ping", lambda event: event.data >= 50)
        await bus.publish("ping", 0)
        await done
        await bus.drain()
        assert payloads(await bus.query()) == list(range(51))
        assert [receipt.sequence for receipt in receipts] == list(range(2, 52))


async def test_a_handler_may_wait_for_an_event(log: Log) -> None:
    answers: list[Any] = []
    async with log.bus() as bus:

        async def ask(event: Event) -> None:
            answer = bus.wait_for("answer", lambda answer: answer.data == event.data)
            await bus.publish("question", event.data)
            answers.append((await answer).data)

        async def answer(event: Event) -> None:
            await bus.publish("answer", event.data)

        bus.subscribe("ask", ask)
        bus.subscribe("question", answer)
        await bus.publish_many([("ask", number) for number in range(5)])
        await bus.drain()
        assert answers == [0, 1, 2, 3, 4]


async def test_one_event_at_a_time(log: Log) -> None:
    at_once = most = 0
    async with log.bus() as bus:

        async def handle(event: Event) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await ticks(3)
            at_once -= 1

        bus.subscribe("a", handle)
        await bus.publish_many([("a", None)] * 10)
        await bus.drain()
        assert (at_once, most) == (0, 1)


async def test_a_plain_handler_runs_on_the_loops_thread_and_leaves_turns_to_others(log: Log) -> None:
    turns = 0
    seen: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def handle(event: Event) -> None:
        asyncio.get_running_loop()
        sum(range(2000))
        seen.append(event.sequence)

    async with log.bus() as bus:
        bus.subscribe("a", handle)
        await bus.publish_many([("a", None)] * 3000)
        other = asyncio.create_task(others())
        await bus.drain()
        other.cancel()
        assert seen == list(range(1, 3001))
        assert turns > 3


class Callable:
    def __init__(self) -> None:
        self.seen: list[int] = []

    async def __call__(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.seen.append(event.sequence)

    def method(self, event: Event) -> None:
        self.seen.append(event.sequence)

    async def with_more(self, more: str, event: Event) -> None:
        await asyncio.sleep(0)
        self.seen.append(event.sequence)

    def gives_an_awaitable(self, event: Event) -> Any:
        return self(event)


async def test_anything_callable_is_a_handler(log: Log) -> None:
    handlers = [Callable() for _ in range(5)]
    async with log.bus() as bus:
        bus.subscribe("a", handlers[0])
        bus.subscribe("a", handlers[1].method)
        bus.subscribe("a", functools.partial(handlers[2].with_more, "more"))
        bus.subscribe("a", handlers[3].gives_an_awaitable)
        bus.subscribe("a", lambda event: asyncio.gather(handlers[4](event)))
        await bus.publish_many([("a", None)] * 3)
        await bus.drain()
        assert [handler.seen for handler in handlers] == [[1, 2, 3]] * 5
        assert len({each.name for each in bus.statistics().subscriptions}) == 5


async def test_handlers_may_be_registered_before_the_bus_is_opened(log: Log) -> None:
    seen: list[int] = []
    async with log.bus() as bus:
        await bus.publish("a")
    bus = log.bus()

    @bus.on("a", start="earliest")
    async def handle(event: Event) -> None:
        seen.append(event.sequence)

    @bus.on(["a", "b"])
    def plain(event: Event) -> None:
        seen.append(-event.sequence)

    iterated = bus.subscribe("a", start="earliest")
    async with bus:
        await bus.publish("a")
        await bus.drain()
        assert sorted(seen) == [-2, 1, 2]
        assert sequences(await take(iterated, 2)) == [1, 2]
    assert asyncio.iscoroutinefunction(handle)
    assert plain.__name__ == "plain"


async def test_a_decorated_function_stays_what_it_is(log: Log) -> None:
    async with log.bus() as bus:

        def handle(event: Event) -> str:
            return "as before"

        assert bus.on("a")(handle) is handle


async def test_a_handler_that_is_an_async_generator_is_not_passed_over_in_silence(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Calling it runs nothing of it: a `yield` too many, and no event would ever be handled."""

    async def handle(event: Event) -> AsyncIterator[int]:
        yield event.sequence

    async with log.bus() as bus:
        try:
            handling = bus.subscribe("a", handle)
        except asyncbus.InvalidHandlerError:
            return
        await bus.publish("a")
        await bus.drain()
        assert handling.statistics().errors == 1


async def test_publishing_in_a_plain_handler_needs_no_await(log: Log) -> None:
    async with log.bus() as bus:

        def answer(event: Event) -> None:
            bus.publish_nowait("answer", event.data)

        bus.subscribe("question", answer)
        await bus.publish_many([("question", number) for number in range(5)])
        await bus.drain()
        await bus.flush()
        assert payloads(await bus.query("answer")) == [0, 1, 2, 3, 4]
