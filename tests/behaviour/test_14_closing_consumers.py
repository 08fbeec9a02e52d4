"""Closing ends consumers in time: handlers at work finish, checkpoints are stored, and what hangs is given back."""

import asyncio
import logging
from contextlib import suppress

import pytest

from asyncbus import ConsumerError, Delivery, Event, EventBus
from asyncbus.testing import FaultyStore
from tests.behaviour.consuming import ONCE, FailingHandler, handled_events, publish_batch, settled, states
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.timeout(20)]


@pytest.mark.asyncio
async def test_leaving_the_bus_finishes_handlers_and_stores_checkpoints(log: Log) -> None:
    handling = FailingHandler()
    handling.gate.clear()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle)
        bus.consume("rare", "rare", handling.handle)
        await publish_batch(bus, 3)
        await until(lambda: handling.got)
        asyncio.get_running_loop().call_soon(handling.gate.set)
    assert handling.done == [1]
    found = await states(log)
    assert [(state.checkpoint, state.active_since, state.owed) for state in found.values()] == [(1, 0, {}), (3, 0, {})]


@pytest.mark.asyncio
async def test_what_a_handler_publishes_while_the_bus_waits_for_it_is_refused(log: Log) -> None:
    """Publishers are refused first, and what the event led to is not half done: it comes again."""
    begun, may_go_on = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    async def handle(event: Event, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        begun.set()
        await may_go_on.wait()
        await delivery.publish("followed")

    async with log.bus() as bus:
        bus.consume("one", "a", handle)
        await publish_batch(bus, 1)
        await begun.wait()
        asyncio.get_running_loop().call_soon(may_go_on.set)
    async with log.bus() as bus:
        assert await bus.query("followed") == []
        bus.consume("one", "a", handle)
        await settled(bus)
        assert (attempts, len(await bus.query("followed"))) == ([1, 2], 1)


@pytest.mark.asyncio
async def test_the_time_for_closing_is_shared_and_what_hangs_is_given_back(log: Log) -> None:
    handling = FailingHandler()
    handling.gate.clear()
    async with log.bus(close_timeout=0.05) as bus:
        bus.consume("one", "a", handling.handle, concurrency=2)
        await publish_batch(bus, 3)
        await until(lambda: len(handling.got) == 2)
    assert handling.done == []
    state = (await states(log))["one"]
    assert (state.checkpoint, state.active_since) == (0, 0)


@pytest.mark.asyncio
async def test_an_exception_that_leaves_the_bus_waits_for_no_handler(log: Log) -> None:
    handling = FailingHandler()
    handling.gate.clear()

    async def fail() -> None:
        async with log.bus() as bus:
            bus.consume("one", "a", handling.handle)
            await publish_batch(bus, 2)
            await until(lambda: handling.got)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail()
    state = (await states(log))["one"]
    assert (state.checkpoint, state.active_since) == (0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["closed", "stopped"])
async def test_the_bus_ends_a_consumer_that_was_ending_and_hangs(how: str, log: Log) -> None:
    handling = FailingHandler(failing=[2])

    async def handle(event: Event) -> None:
        if event.sequence == 1:
            await asyncio.Event().wait()
        await handling.handle(event)

    async with log.bus(close_timeout=0.05) as bus:
        consumer = bus.consume("one", "a", handle, concurrency=2, retry=ONCE, on_exhausted="stop")
        handling.gate.clear()
        await publish_batch(bus, 2)
        await until(lambda: handling.got)
        ending = asyncio.create_task(consumer.close()) if how == "closed" else None
        handling.gate.set()
        await until(lambda: not consumer.is_open)
    if ending is not None:
        await ending
    assert (await states(log))["one"].active_since == 0


@pytest.mark.fault(58)
@pytest.mark.asyncio
async def test_a_handler_that_ignores_its_cancellation_is_named_and_left_behind(
    log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbus.living.GRACE", 0.02)
    may_end, begun = asyncio.Event(), asyncio.Event()

    async def ignore(event: Event) -> None:
        begun.set()
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    with caplog.at_level(logging.ERROR, "asyncbus"):
        async with log.bus(close_timeout=0.01) as bus:
            bus.consume("one", "a", ignore)
            await publish_batch(bus, 1)
            await begun.wait()
    assert "asyncbus consumer one worker 0 ignored its cancellation" in caplog.text
    may_end.set()
    await until(lambda: not any("consumer one" in task.get_name() for task in asyncio.all_tasks()))
    state = (await states(log))["one"]
    assert (state.checkpoint, state.active_since) == (0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", [None, 10])
@pytest.mark.parametrize("what", ["bus.close", "bus.drain", "consumer.close", "consumer.drain"])
async def test_a_handler_may_end_the_bus_or_its_consumer(what: str, timeout: float | None, log: Log) -> None:
    ended = asyncio.Event()

    async def handle(event: Event) -> None:
        owner, call = what.split(".")
        await getattr(bus if owner == "bus" else consumer, call)()
        ended.set()

    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handle, timeout=timeout)
        await publish_batch(bus, 2)
        async with asyncio.timeout(5):
            await ended.wait()
    state = (await states(log))["one"]
    assert (state.checkpoint in {0, 1}, state.active_since) == (True, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("what", ["bus.close", "bus.drain", "consumer.close", "consumer.drain"])
async def test_who_iterates_may_end_the_bus_or_the_consumer(what: str, log: Log) -> None:
    async with log.bus() as bus:
        consumer = bus.consume("one", "a")
        await publish_batch(bus, 2)
        async with asyncio.timeout(5):
            async for _ in consumer:
                owner, call = what.split(".")
                await getattr(bus if owner == "bus" else consumer, call)()
    assert (await states(log))["one"].active_since == 0


@pytest.mark.asyncio
async def test_a_consumer_may_be_closed_twice_and_its_name_is_free_then(log: Log) -> None:
    handling = FailingHandler()
    async with log.bus() as bus:
        for _ in range(3):
            consumer = bus.consume("one", "a", handling.handle)
            last = await publish_batch(bus, 1)
            await bus.wait_processed("one", last)
            await asyncio.gather(consumer.close(), consumer.close())
            await consumer.close()
    assert handling.done == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_consumer_whose_worker_is_cancelled_by_somebody_ends_and_can_be_consumed_again(log: Log) -> None:
    async with log.bus() as bus:
        ended, handling = await handled_events(bus, 1)
        [worker] = [task for task in asyncio.all_tasks() if task.get_name() == "asyncbus consumer one worker 0"]
        worker.cancel()
        await until(lambda: bus.statistics().consumers == ())
        assert type(ended.error) is ConsumerError
        assert str(ended.error) == "consumer 'one' cannot go on: its worker was cancelled; consume it again"
        bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 1)
        await settled(bus)
    assert handling.done == [1, 2]


@pytest.mark.asyncio
async def test_a_close_that_is_cancelled_goes_on(log: Log) -> None:
    handling = FailingHandler()
    handling.gate.clear()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        await publish_batch(bus, 1)
        await until(lambda: handling.got)
        ending = asyncio.create_task(consumer.close())
        await until(lambda: not consumer.is_open)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        handling.gate.set()
        await consumer.close()
        assert consumer.checkpoint == 1


@pytest.mark.asyncio
async def test_a_consumer_closes_before_it_has_begun(log: Log) -> None:
    store = FaultyStore(log.store())
    async with EventBus(store) as bus:
        await publish_batch(bus, 1)
        held = store.hang("consumers")
        handling = FailingHandler()
        consumer = bus.consume("one", "a", handling.handle)
        await held.reached.wait()
        ending = asyncio.create_task(consumer.close())
        await ticks(10)
        held.release()
        await ending
        assert handling.got == []
        bus.consume("one", "a", handling.handle)
        await settled(bus)
        assert handling.got == [1]


@pytest.mark.asyncio
async def test_closing_ends_in_time_also_where_a_checkpoint_cannot_be_stored(
    memory_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbus.closing._GRACE", 0.05)
    store = FaultyStore(memory_log.store())
    async with EventBus(store, close_timeout=0.05) as bus:
        bus.consume("one", "a", FailingHandler().handle)
        await publish_batch(bus, 1)
        await settled(bus)
        held = store.hang("commit")
    assert bus.health().status == "closed"
    held.release()
    await until(lambda: len(asyncio.all_tasks()) == 1)


@pytest.mark.asyncio
async def test_consumers_of_a_bus_that_is_never_opened_are_no_trouble(log: Log) -> None:
    bus = log.bus()
    consumer = bus.consume("one", "a", FailingHandler().handle)
    await bus.close()
    await consumer.close()
