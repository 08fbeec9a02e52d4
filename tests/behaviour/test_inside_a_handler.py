"""What a handler may do while it handles an event: subscribe, unsubscribe, publish; and what handlers may be."""

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

import asyncbus
from asyncbus import Event, EventBus, Receipt
from tests.behaviour.stage import Log, payloads, sequences, take, ticks, until

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
        bus.subscribe("a", lambda event: handlers[4](event))
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


async def test_the_readme_of_the_package_works(log: Log) -> None:
    shown: list[tuple[int, str, Any]] = []
    async with asyncbus.connect(log.path if log.kind == "sqlite" else None) as bus:

        @bus.on("optimization.*")
        async def show(event: asyncbus.Event) -> None:
            shown.append((event.sequence, event.type, event.data))

        receipt = await bus.publish("optimization.stage_completed", {"stage": "licm", "ms": 12})
        assert receipt.sequence == 1
        async with bus.subscribe("optimization.*", start="earliest") as events:
            async for event in events:
                assert event.data == {"stage": "licm", "ms": 12}
                break
        await bus.drain()
    assert shown == [(1, "optimization.stage_completed", {"stage": "licm", "ms": 12})]


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


async def test_where_is_asked_after_the_pattern_and_each_gets_its_own(log: Log) -> None:
    asked: list[str] = []
    seen: dict[int, list[int]] = {0: [], 1: []}

    def parity(wanted: int) -> Any:
        def fits(event: Event) -> bool:
            asked.append(event.type)
            return bool(event.data % 2 == wanted)

        return fits

    async with log.bus() as bus:
        for wanted in (0, 1):
            bus.subscribe("a", lambda event, wanted=wanted: seen[wanted].append(event.data), where=parity(wanted))  # type: ignore[misc]
        await bus.publish_many([("a", number) for number in range(6)] + [("b", 7)])
        await bus.drain()
        assert seen == {0: [0, 2, 4], 1: [1, 3, 5]}
        assert asked == ["a"] * 12
        first, second = bus.statistics().subscriptions
        assert (first.delivered, second.delivered) == (3, 3)
        assert (first.position, second.position) == (7, 7)


async def test_patterns_take_what_they_say(log: Log) -> None:
    types = [
        "opt",
        "optimization",
        "optimization.cache_hit",
        "optimization.cache.l2.hit",
        "optimization_x",
        "Opt",
        "a-b",
    ]
    wanted: dict[Any, list[str]] = {
        "optimization.*": ["optimization.cache_hit", "optimization.cache.l2.hit"],
        "opt*": types[:5],
        "*": types,
        "opt": ["opt"],
        ("opt", "a*"): ["opt", "a-b"],
        ("opt*", "opt", "optimization.*"): types[:5],
    }
    got: dict[Any, list[str]] = {pattern: [] for pattern in wanted}
    async with log.bus() as bus:
        for pattern, found in got.items():
            bus.subscribe(pattern, lambda event, found=found: found.append(event.type))  # type: ignore[misc]
        await bus.publish_many([(type, None) for type in types])
        await bus.drain()
        assert got == wanted
        for pattern in wanted:
            assert [event.type for event in await bus.query(pattern)] == wanted[pattern]
            assert [event.type async for event in bus.replay(pattern)] == wanted[pattern]
            assert [event.type for event in bus.recent(pattern)] == wanted[pattern]


async def test_a_thousand_subscriptions_come_and_go(log: Log) -> None:
    counts = [0] * 1000
    async with log.bus() as bus:

        def count(number: int) -> Any:
            def handle(event: Event) -> None:
                counts[number] += 1

            return handle

        many = [bus.subscribe(f"a.{number % 10}.*", count(number)) for number in range(1000)]
        await bus.publish("a.3.x")
        await bus.drain()
        assert counts == [int(number % 10 == 3) for number in range(1000)]
        await asyncio.gather(*(each.close() for each in many))
        assert bus.statistics().subscriptions == ()
        await bus.publish("a.3.x")
        await until(lambda: bus.statistics().head == 2)
        assert sum(counts) == 100


async def test_publishing_in_a_plain_handler_needs_no_await(log: Log) -> None:
    async with log.bus() as bus:

        def answer(event: Event) -> None:
            bus.publish_nowait("answer", event.data)

        bus.subscribe("question", answer)
        await bus.publish_many([("question", number) for number in range(5)])
        await bus.drain()
        await bus.flush()
        assert payloads(await bus.query("answer")) == [0, 1, 2, 3, 4]


async def test_a_bus_without_a_store_keeps_events_in_memory() -> None:
    async with EventBus() as bus:
        assert (await bus.publish("a")).sequence == 1
        assert sequences(await bus.query()) == [1]
