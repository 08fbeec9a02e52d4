"""Durable consumers: a delivery has one outcome, given in time, by whom it was handed to."""

import asyncio
from typing import Any

import pytest

import asyncbus
from asyncbus import ConsumerClosedError, Delivery, InvalidOptionError, Retry, StaleAckError, UnknownAckError
from asyncbus.testing import FakeClock, FaultyStore
from tests.behaviour.consuming import FIVE_AT_ONCE, Handler, passing, publish_keys
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]


async def ack(delivery: Delivery) -> None:
    await delivery.ack()


async def nak(delivery: Delivery) -> None:
    await delivery.nak(delay=0)


async def reject(delivery: Delivery) -> None:
    await delivery.reject()


async def in_progress(delivery: Delivery) -> None:
    await delivery.in_progress()


OUTCOMES = pytest.mark.parametrize("outcome", [ack, nak, reject, in_progress], ids=lambda outcome: outcome.__name__)


async def test_with_automatic_acknowledgement_asking_for_the_next_one_is_the_ack(log: Log) -> None:
    again = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None, None, None)
        async with bus.consume("one", "a") as deliveries:
            got = []
            async for delivery in deliveries:
                got.append(delivery.event.sequence)
                assert deliveries.checkpoint == delivery.event.sequence - 1
                if len(got) == 3:
                    break
        await passing(bus.consume("one", "a", again), 3)
    assert got == [1, 2, 3]
    assert again.got == [(3, 2)], "whoever leaves has not said that he is done with the last one"


async def test_with_manual_acknowledgement_only_an_ack_is_an_ack(log: Log) -> None:
    async with log.bus() as bus:
        await publish_keys(bus, None, None, None)
        async with bus.consume("one", "a", ack="manual") as deliveries:
            got = [await anext(deliveries) for _ in range(3)]
            assert [(each.event.sequence, each.attempt, each.redelivered) for each in got] == [
                (sequence, 1, False) for sequence in (1, 2, 3)
            ]
            assert deliveries.checkpoint == 0
            for each in got:
                await each.ack()
            assert deliveries.checkpoint == 3


async def test_a_handler_with_manual_acknowledgement_may_leave_it_to_somebody_else(log: Log) -> None:
    handed_on: list[Delivery] = []

    async def hand_on(delivery: Delivery) -> None:
        handed_on.append(delivery)

    handler = Handler(hand_on)
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler, ack="manual")
        await until(lambda: handler.done == [1, 2])
        assert (consumer.checkpoint, consumer.statistics().in_flight) == (0, 2)
        for delivery in handed_on:
            await delivery.ack()
        assert consumer.checkpoint == 2


async def test_an_outcome_is_stored_when_it_returns(log: Log) -> None:
    async with log.bus() as bus:
        await publish_keys(bus, *[None] * 3)
        deliveries = bus.consume("one", "a", ack="manual", retry=Retry(backoff=60))
        first, second, third = [await anext(deliveries) for _ in range(3)]
        for outcome, checkpoint, waiting in ((first.ack, 1, 0), (second.nak, 1, 1), (third.reject, 1, 1)):
            await outcome()
            [state] = await bus._consumers._store.consumers()  # type: ignore[union-attr]  # this one has consumers
            assert state.checkpoint == checkpoint
            assert sum(owed.due > 0 for owed in state.owed.values()) == waiting
        assert [letter.error for letter in await bus.dead_letters()] == ["rejected"]


async def test_a_nak_says_when_the_event_comes_again(log: Log) -> None:
    clock = FakeClock()
    async with log.bus(clock=clock) as bus:
        await publish_keys(bus, None)
        deliveries = bus.consume("one", "a", ack="manual", retry=Retry(backoff=7, jitter=False))
        for attempt, delay, slept in ((1, 2.5, 2.5), (2, 0, 0), (3, None, 28)):
            delivery = await anext(deliveries)
            assert delivery.attempt == attempt
            await delivery.nak(delay, "not yet")
            await until(lambda: clock.sleeps)
            assert clock.sleeps.pop() == slept
            assert deliveries.statistics().last_error == "not yet"
            clock.advance(slept)


async def test_a_nak_at_the_last_attempt_parks_with_its_reason(log: Log) -> None:
    async with log.bus() as bus:
        await publish_keys(bus, None)
        deliveries = bus.consume("one", "a", ack="manual", retry=Retry(attempts=2, backoff=0))
        for reason in ("first", "second"):
            await (await anext(deliveries)).nak(reason=reason)
        [letter] = await bus.dead_letters()
    assert (letter.attempts, letter.error, [each.error for each in letter.history]) == (
        2,
        "second",
        ["first", "second"],
    )


@pytest.mark.parametrize("delay", [-1, float("nan"), "soon", True])
async def test_a_delay_that_is_none_is_refused_and_the_event_stays_in_flight(delay: Any, memory_log: Log) -> None:
    async with memory_log.bus() as bus:
        await publish_keys(bus, None)
        delivery = await anext(bus.consume("one", "a", ack="manual"))
        with pytest.raises(InvalidOptionError, match="delay"):
            await delivery.nak(delay)
        await delivery.ack()


# ----------------------------------------------------------------------------------------- an outcome too many, or late


@OUTCOMES
@pytest.mark.parametrize("first", [ack, nak, reject], ids=lambda outcome: outcome.__name__)
async def test_a_delivery_has_one_outcome(first: Any, outcome: Any, memory_log: Log) -> None:
    async with memory_log.bus() as bus:
        await publish_keys(bus, None)
        deliveries = bus.consume("one", "a", ack="manual", retry=FIVE_AT_ONCE)
        delivery = await anext(deliveries)
        await first(delivery)
        with pytest.raises(UnknownAckError) as caught:
            await outcome(delivery)
        assert (caught.value.name, caught.value.sequence) == ("one", 1)
        if first is nak:
            await (await anext(deliveries)).ack()
            with pytest.raises(UnknownAckError):
                await outcome(delivery)
        await passing(deliveries, 1)


@OUTCOMES
async def test_an_outcome_after_the_timeout_is_refused_and_that_of_the_next_attempt_counts(
    outcome: Any, memory_log: Log
) -> None:
    async with memory_log.bus() as bus:
        await publish_keys(bus, None)
        deliveries = bus.consume("one", "a", ack="manual", timeout=0.03, retry=FIVE_AT_ONCE)
        late = await anext(deliveries)
        again = await anext(deliveries)
        assert (late.event.sequence, again.event.sequence, again.attempt) == (1, 1, 2)
        with pytest.raises(UnknownAckError, match="before its timeout"):
            await outcome(late)
        await again.ack()
        assert deliveries.checkpoint == 1
        assert "HandlerTimeoutError" in str(deliveries.statistics().last_error)


async def test_in_progress_puts_the_timeout_off(memory_log: Log) -> None:
    async with memory_log.bus() as bus:
        await publish_keys(bus, None)
        deliveries = bus.consume("one", "a", ack="manual", timeout=0.1)
        delivery = await anext(deliveries)
        for _ in range(5):
            await asyncio.sleep(0.04)
            await delivery.in_progress()
        await delivery.ack()
        assert deliveries.statistics().failed == 0


@OUTCOMES
async def test_an_outcome_after_the_close_is_refused_and_the_event_comes_again(outcome: Any, memory_log: Log) -> None:
    async with memory_log.bus() as bus:
        await publish_keys(bus, None)
        deliveries = bus.consume("one", "a", ack="manual")
        delivery = await anext(deliveries)
        await deliveries.close()
        with pytest.raises(ConsumerClosedError):
            await outcome(delivery)
        again = await anext(bus.consume("one", "a", ack="manual"))
        assert (again.event.sequence, again.attempt) == (1, 2)
        with pytest.raises(ConsumerClosedError):
            await outcome(delivery)
        await again.ack()


@OUTCOMES
@pytest.mark.fault(68)
async def test_an_outcome_from_before_a_seek_is_stale(outcome: Any, memory_log: Log) -> None:
    async with memory_log.bus() as bus:
        await publish_keys(bus, None, None)
        deliveries = bus.consume("one", "a", ack="manual")
        before = await anext(deliveries)
        await bus.seek("one", start=1)
        after = await anext(deliveries)
        assert after.event.sequence == before.event.sequence == 1
        with pytest.raises(StaleAckError) as caught:
            await outcome(before)
        assert (caught.value.sequence, caught.value.epoch, caught.value.current) == (1, 1, 2)
        await after.ack()
        assert deliveries.checkpoint == 1


async def test_a_seek_waits_for_the_handlers_at_work_and_for_no_outcome_beyond(log: Log) -> None:
    kept: list[Delivery] = []

    async def keep(delivery: Delivery) -> None:
        kept.append(delivery)

    handler = Handler(keep)
    handler.hold(2)
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler, ack="manual")
        await until(lambda: handler.running == [2])
        seeking = asyncio.create_task(bus.seek("one", start=2))
        await ticks(50)
        assert not seeking.done()
        handler.release()
        await seeking
        for delivery in kept[:2]:
            with pytest.raises(StaleAckError):
                await delivery.ack()
        await until(lambda: len(kept) == 3)
        assert kept[2].event.sequence == 2
        await kept[2].ack()
        await passing(consumer, 2)


@pytest.mark.fault(68)
async def test_an_outcome_is_stale_also_where_a_commit_was_under_way_during_the_seek(log: Log) -> None:
    store = FaultyStore(log.store())
    async with asyncbus.EventBus(store) as bus:
        await publish_keys(bus, None, None)
        deliveries = bus.consume("one", "a", ack="manual")
        first, second = await anext(deliveries), await anext(deliveries)
        held = store.hang("commit")
        acking = asyncio.create_task(first.ack())
        await held.reached.wait()
        seeking = asyncio.create_task(bus.seek("one", start=1))
        await ticks(20)
        held.release()
        await asyncio.gather(acking, seeking)
        with pytest.raises(StaleAckError):
            await second.ack()


async def test_the_time_of_a_delivery_from_before_a_seek_does_not_run_out_on_what_comes_after(memory_log: Log) -> None:
    async with memory_log.bus() as bus:
        await publish_keys(bus, None, None, None)
        deliveries = bus.consume("one", "a", ack="manual", timeout=0.05, retry=FIVE_AT_ONCE)
        await anext(deliveries)
        await bus.seek("one", start=3)
        delivery = await anext(deliveries)
        await delivery.ack()
        waiting = asyncio.ensure_future(anext(deliveries))
        await asyncio.sleep(0.1)
        assert (deliveries.checkpoint, deliveries.statistics().failed, waiting.done()) == (3, 0, False)
        waiting.cancel()
