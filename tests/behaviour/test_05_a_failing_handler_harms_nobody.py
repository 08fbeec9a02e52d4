"""Promise 5: a handler's error is its own, the next event goes on, and cancellation is never swallowed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asyncbus import Event, EventBus
from tests.behaviour.stage import Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def raise_at_once(event: Event) -> None:
    raise RuntimeError("at once")


async def raise_later(event: Event) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("later")


def raise_plainly(event: Event) -> None:
    raise StopIteration("plainly")


async def await_what_somebody_else_cancelled(event: Event) -> None:
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    gone.cancel()
    await gone


async def overrun_a_timeout(event: Event) -> None:
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


def takes_nothing() -> None:
    pass


@pytest.mark.fault(56)
@pytest.mark.parametrize(
    "fail",
    [
        raise_at_once,
        raise_later,
        raise_plainly,
        await_what_somebody_else_cancelled,
        overrun_a_timeout,
        takes_nothing,
    ],
)
async def test_after_a_failure_the_next_event_goes_on_and_others_see_all(
    fail: Callable[..., Any], log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    before: list[int] = []
    after: list[int] = []
    async with log.bus() as bus:
        bus.subscribe("*", lambda event: before.append(event.sequence))
        failing = bus.subscribe("*", fail)
        bus.subscribe("*", lambda event: after.append(event.sequence))
        iterated = bus.subscribe("*")
        await bus.publish_many([("a", None)] * 3)
        await bus.drain()
        assert before == after == sequences(await take(iterated, 3)) == [1, 2, 3]
        assert (failing.statistics().errors, failing.error, failing.position) == (3, None, 3)
        assert failing in [failing for each in bus.statistics().subscriptions if each.errors == 3]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [f"event {sequence} (a)" in error for sequence, error in enumerate(errors, 1)] == [True] * 3


async def test_a_predicate_that_fails_costs_that_event_and_no_other(log: Log) -> None:
    seen: list[int] = []

    def odd(event: Event) -> bool:
        if event.data == "?":
            raise ValueError("odd or even?")
        return bool(event.data % 2)

    async with log.bus() as bus:
        handled = bus.subscribe("a", lambda event: seen.append(event.data), where=odd)
        iterated = bus.subscribe("a", where=odd)
        await bus.publish_many([("a", data) for data in (1, 2, "?", 3, "?", 5)])
        await bus.drain()
        assert seen == [1, 3, 5]
        assert (handled.statistics().errors, handled.error) == (2, None)
        assert (await anext(iterated)).data == 1
        with pytest.raises(ValueError, match="odd or even"):
            await anext(iterated)
        assert (await anext(iterated)).data == 3


async def test_a_predicate_that_always_fails_starves_nobody(log: Log) -> None:
    def fail(event: Event) -> bool:
        raise ValueError

    async with log.bus() as bus:
        failing = bus.subscribe("a", lambda event: None, where=fail)
        await bus.publish_many([("a", None)] * 300)
        await bus.drain()
        assert (failing.statistics().errors, failing.error, failing.position) == (300, None, 300)


@pytest.mark.fault(57)
async def test_a_handler_that_hangs_keeps_nobody_else_waiting(log: Log) -> None:
    never = asyncio.Event()
    seen: list[int] = []

    async def hang(event: Event) -> None:
        await never.wait()

    async with log.bus() as bus:
        bus.subscribe("*", hang)
        bus.subscribe("*", lambda event: seen.append(event.sequence))
        for _ in range(3):
            await bus.publish("a")
        await until(lambda: seen == [1, 2, 3])
        never.set()


async def test_what_one_handler_does_to_the_data_no_other_sees(log: Log) -> None:
    seen: list[Any] = []

    def spoil(event: Event) -> None:
        event.data["list"].append("spoilt")
        event.data["more"] = True

    async with log.bus() as bus:
        bus.subscribe("a", spoil)
        bus.subscribe("a", lambda event: seen.append(event.data))
        bus.subscribe("a", spoil)
        iterated = bus.subscribe("a")
        mine = {"list": [1]}
        await bus.publish("a", mine)
        mine["list"].append(2)
        await bus.drain()
        seen += payloads(await take(iterated, 1) + bus.recent() + await bus.query())
        seen += [event.data async for event in bus.replay()]
        assert seen == [{"list": [1]}] * 5


async def test_an_event_cannot_be_changed(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", metadata={"who": "me"})
        (event,) = await bus.query()
        for name in ("sequence", "type", "data", "time", "recorded_at", "id", "key", "metadata"):
            with pytest.raises(AttributeError):
                setattr(event, name, None)
        assert event.metadata is not None
        event.metadata["who"] = "you"
        assert event.metadata == {"who": "me"}


# --------------------------------------------------------------------------------------------------------- cancellation


async def wait_for_an_event(bus: EventBus) -> None:
    await bus.wait_for("never")


async def iterate(bus: EventBus) -> None:
    async with bus.subscribe("never", start="earliest") as events:
        async for _ in events:
            pass


async def replay(bus: EventBus) -> None:
    while True:
        async for _ in bus.replay("a"):
            pass


async def query(bus: EventBus) -> None:
    while True:
        await bus.query(limit=None)


async def publish_again_and_again(bus: EventBus) -> None:
    while True:
        await bus.publish("b")


async def publish_groups(bus: EventBus) -> None:
    while True:
        await bus.publish_many([("b", None)] * 3)


async def flush_and_drain(bus: EventBus) -> None:
    while True:
        await bus.publish("b", ack="accepted")
        await bus.drain(60)


async def clear(bus: EventBus) -> None:
    while True:
        await bus.clear()


ACTS = [
    wait_for_an_event,
    iterate,
    replay,
    query,
    publish_again_and_again,
    publish_groups,
    flush_and_drain,
    clear,
]


@pytest.mark.parametrize("act", ACTS)
async def test_cancellation_is_never_swallowed(act: Callable[[EventBus], Coroutine[Any, Any, None]], log: Log) -> None:
    async with log.bus(inbox_capacity=4, recent_capacity=1) as bus:
        await bus.publish_many([("a", None)] * 4)
        for tick in range(12):
            acting = asyncio.create_task(act(bus))
            await ticks(tick)
            acting.cancel()
            await asyncio.wait([acting])
            assert acting.cancelled()
        assert bus.statistics().subscriptions == ()
        assert bus.health().ok
        assert (await bus.publish("a")).sequence > 4


@pytest.mark.parametrize("tick", range(6))
async def test_waiting_for_an_event_leaves_nothing_behind_when_cancelled(tick: int, log: Log) -> None:
    async with log.bus() as bus:
        waiting = asyncio.ensure_future(bus.wait_for("a"))
        await ticks(tick)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert bus.statistics().subscriptions == ()


async def test_a_handler_whose_task_is_cancelled_ends_its_subscription(log: Log) -> None:
    reached = asyncio.Event()

    async def handle(event: Event) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with log.bus() as bus:
        events = bus.subscribe("a", handle)
        await bus.publish("a")
        await reached.wait()
        (task,) = [task for task in asyncio.all_tasks() if "handler" in task.get_name()]
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert bus.statistics().subscriptions == ()
        await events.close()
        await bus.drain()
