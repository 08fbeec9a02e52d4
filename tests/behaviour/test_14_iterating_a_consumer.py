"""Iterating a consumer loses none, whoever waits and whoever is cancelled."""

import asyncio

import pytest

import asyncbus
from asyncbus import BusClosedError, Delivery, SubscriptionBusyError
from asyncbus.testing import FaultyStore
from tests.behaviour.consuming import Handler, publish_keys
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]


@pytest.mark.fault(72)
@pytest.mark.parametrize("turns", range(12))
async def test_cancelling_who_waits_for_the_next_one_loses_none(turns: int, memory_log: Log) -> None:
    got: list[tuple[int, int]] = []
    async with memory_log.bus() as bus:
        deliveries = bus.consume("one", "a")
        publishing = asyncio.create_task(publish_keys(bus, *[None] * 10))
        while len(got) < 10:
            waiting = asyncio.ensure_future(anext(deliveries))
            await ticks(turns)
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                got.append((waiting.result().event.sequence, waiting.result().attempt))
            elif turns < 4:  # it never gets that far
                delivery = await anext(deliveries)
                got.append((delivery.event.sequence, delivery.attempt))
        await publishing
    assert got == [(sequence, 1) for sequence in range(1, 11)]


async def test_where_several_tasks_wait_what_one_was_woken_for_goes_to_another_when_it_is_cancelled(log: Log) -> None:
    async with log.bus() as bus:
        deliveries = bus.consume("one", "a", ack="manual")
        first, second = [asyncio.ensure_future(anext(deliveries)) for _ in range(2)]
        await until(lambda: len(deliveries._hungry) == 2)
        publishing = asyncio.create_task(bus.publish("a"))
        await until(lambda: deliveries._ready or first.done())
        first.cancel()
        await until(lambda: first.done() and (second.done() or not first.cancelled()))
        await (second if first.cancelled() else first).result().ack()
        await publishing
        second.cancel()


async def test_an_ack_lets_the_next_of_its_key_go_to_who_waits_already(log: Log) -> None:
    async with log.bus() as bus:
        await publish_keys(bus, "x", "x", "x")
        deliveries = bus.consume("one", "a", ack="manual")
        delivery = await anext(deliveries)
        for outcome, sequence in ((Delivery.ack, 2), (Delivery.reject, 3)):
            waiting = asyncio.ensure_future(anext(deliveries))
            await ticks(50)
            assert not waiting.done()
            await outcome(delivery)
            delivery = await waiting
            assert delivery.event.sequence == sequence


async def test_an_outcome_lets_the_next_one_go_also_where_it_was_begun_ahead(log: Log) -> None:
    """As it is where commits take longer than what is done with an event."""
    store = FaultyStore(log.store())
    store.slow("commit", 0.002)
    async with asyncbus.EventBus(store) as bus:
        await bus.publish_many([("a", None)] * 80)
        deliveries = bus.consume("one", "a", ack="manual", order="strict")
        delivery = await anext(deliveries)
        for sequence in range(2, 81):
            waiting = asyncio.ensure_future(anext(deliveries))
            await ticks(3)
            saying = asyncio.create_task(delivery.reject() if sequence % 3 else delivery.ack())
            delivery = await waiting
            await saying
            assert delivery.event.sequence == sequence


async def test_what_is_iterated_has_no_handler_and_a_bus_that_is_open(log: Log) -> None:
    bus = log.bus()
    early = bus.consume("early", "a")
    with pytest.raises(BusClosedError):
        await anext(early)
    async with bus:
        await publish_keys(bus, None)
        assert (await anext(early)).event.sequence == 1
        with pytest.raises(SubscriptionBusyError, match="handler"):
            await anext(bus.consume("handled", "a", Handler()))


async def test_closing_ends_the_iteration(log: Log) -> None:
    async with log.bus() as bus:
        deliveries = bus.consume("one", "a")
        waiting = asyncio.ensure_future(anext(deliveries, None))
        await ticks(20)
        await deliveries.close()
        assert await waiting is None
        assert [delivery async for delivery in deliveries] == []


async def test_a_delivery_that_was_held_on_to_counts_as_an_attempt(log: Log) -> None:
    """It was handed out, and nobody has said that nothing was done with it."""
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        for attempt in (1, 2, 3):
            async with bus.consume("one", "a", ack="manual") as deliveries:
                first, second = await anext(deliveries), await anext(deliveries)
                assert (first.attempt, second.attempt) == (attempt, attempt)
