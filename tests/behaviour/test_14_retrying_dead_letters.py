"""Dead letters are tried again when somebody asks for it: each once a call, none is lost, and none is doubled."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncbus import (
    ConsumerClosedError,
    Delivery,
    Event,
    EventBus,
    Reject,
    RetriedLetters,
    Retry,
    UnknownConsumerError,
)
from tests.behaviour.consuming import ONCE, FailingHandler, parked, parked_events, publish_batch, settled
from tests.behaviour.stage import HandClock, Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def test_what_is_done_is_removed(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 3)
        assert await bus.retry_dead_letters("one") == RetriedLetters(done=3)
        assert (handling.done, await bus.dead_letters()) == ([1, 2, 3], [])
        assert bus.statistics().consumers[0].dead_letters == 0
    async with log.bus() as bus:
        assert await bus.dead_letters() == [], "that is stored"


@pytest.mark.fault(66)
async def test_what_fails_again_comes_back_with_its_history_and_one_attempt_more(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 3)
        before = await bus.dead_letters()
        for attempts in (2, 3):
            handling.failing, handling.error = {2}, OSError(f"attempt {attempts}")
            handling.got.clear()
            retried = await bus.retry_dead_letters("one")
            assert retried.failed == 1
            assert handling.got == ([1, 2, 3] if attempts == 2 else [2]), "each once: nothing loops"

            [letter] = await bus.dead_letters()
            assert (letter.event.sequence, letter.attempts) == (2, attempts)
            assert letter.number == before[1].number
            assert letter.error == f"OSError: attempt {attempts}"
            assert [attempt.attempt for attempt in letter.history] == list(range(1, attempts + 1))
            assert [attempt.error for attempt in letter.history[:2]] == [
                "ValueError: no such block",
                "OSError: attempt 2",
            ][: attempts - 1] + ([letter.error] if attempts == 2 else [])
    async with log.bus() as bus:
        [letter] = await bus.dead_letters()
        assert (letter.attempts, len(letter.history)) == (3, 3)


@pytest.mark.fault(66)
async def test_whatever_attempts_its_consumer_allows_a_letter_has_one_a_call(log: Log) -> None:
    handling = FailingHandler(failing=[1], error=Reject("no"))
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, retry=Retry(attempts=9, backoff=0))
        await publish_batch(bus, 1)
        await settled(bus)
        handling.error = ValueError("no")
        assert await bus.retry_dead_letters("one") == RetriedLetters(failed=1)
        assert handling.got == [1, 1]
        assert [letter.attempts for letter in await bus.dead_letters()] == [2]


async def test_only_those_that_are_asked_for_are_tried_again(log: Log) -> None:
    async with log.bus() as bus:
        handling = FailingHandler(failing=range(1, 9))
        bus.consume("one", "*", handling.handle, retry=ONCE)
        await bus.publish_many([("a", None), ("b", None)] * 4)
        await settled(bus)
        handling.failing.clear()

        assert (await bus.retry_dead_letters("one", "b", start=3, stop=8, limit=2)).done == 2
        assert handling.done == [4, 6]
        assert parked(await bus.dead_letters()) == [1, 2, 3, 5, 7, 8]


async def test_what_was_parked_after_a_moment_is_left_alone_by_stop(log: Log) -> None:
    clock = HandClock()
    handling = FailingHandler(failing=[1, 2])
    async with log.bus(clock=clock) as bus:
        bus.consume("one", "a", handling.handle, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)
        clock.advance(60)
        incident = datetime.fromtimestamp(clock.now() / 1e6, UTC)
        await publish_batch(bus, 1)
        await settled(bus)
        handling.failing.clear()

        assert (await bus.retry_dead_letters("one", stop=incident)).done == 1
        assert parked(await bus.dead_letters()) == [2]


@pytest.mark.fault(66)
async def test_what_is_parked_during_the_call_is_not_tried_again_by_it(log: Log) -> None:
    handling = FailingHandler(failing=range(1, 999))

    async def handle(event: Event) -> None:
        if len(handling.got) == 256:  # the first page of letters is full: there will be a second one
            await publish_batch(bus, 2)
        await handling.handle(event)

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=ONCE)
        await publish_batch(bus, 256)
        await settled(bus)

        assert await bus.retry_dead_letters("one") == RetriedLetters(failed=256)
        await settled(bus)
        assert [handling.got.count(sequence) for sequence in (1, 256, 257, 258)] == [2, 2, 1, 1]


async def test_a_handler_that_is_cancelled_by_a_drain_has_made_no_attempt_at_a_letter(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 1)
        handling.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: handling.got == [1])
        assert (await bus.drain(timeout=0)).unfinished == {"one": 1}
        with pytest.raises(ConsumerClosedError):
            await retrying
        [letter] = await bus.dead_letters()
        assert (letter.attempts, len(letter.history)) == (1, 1)


@pytest.mark.parametrize("way", ["close", "seek"])
async def test_wherever_a_retry_is_ended_a_letter_that_was_not_handed_out_has_no_attempt_more(
    way: str, log: Log
) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 3)
    handling = FailingHandler(failing=[1, 2, 3])
    async with log.bus() as bus:
        for turns in range(20):
            consumer = bus.consume("one", "a", handling.handle, retry=ONCE)
            await settled(bus)
            retrying = asyncio.create_task(bus.retry_dead_letters("one"))
            await ticks(turns)
            if way == "seek":
                await bus.seek("one", start="latest")
            await consumer.close()
            await asyncio.wait([retrying])
            letters = await bus.dead_letters()
            made = [1 + handling.got.count(sequence) for sequence in (1, 2, 3)]
            assert [letter.attempts for letter in letters] == made, f"{turns} turns later"
            retrying.exception()


@pytest.mark.fault(55)
async def test_they_are_found_also_where_the_clock_was_put_back(log: Log) -> None:
    clock = HandClock()
    async with log.bus(clock=clock) as bus:
        handling = await parked_events(bus, 2)
        clock.advance(-3600)
        assert (await bus.retry_dead_letters("one")).done == 2
        assert handling.done == [1, 2]


@pytest.mark.fault(67)
async def test_two_calls_at_the_same_time_try_each_once(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 600)
        first, second = await asyncio.gather(bus.retry_dead_letters("one"), bus.retry_dead_letters("one"))
        assert sorted(handling.got) == list(range(1, 601))
        assert first.done + second.done == 600
        assert bus.statistics().consumers[0].dead_letters == 0
        assert await bus.dead_letters() == []


@pytest.mark.fault(67)
@pytest.mark.parametrize("fails", [False, True])
async def test_a_call_that_comes_while_one_is_under_way_tries_none_a_second_time(fails: bool, log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 3)
        handling.failing = {1, 2, 3} if fails else set()
        handling.gate.clear()
        first = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: handling.got == [1])
        second = asyncio.create_task(bus.retry_dead_letters("one"))
        handling.gate.set()
        outcomes = [await first, await second]

        assert handling.got.count(1) == 1
        assert parked(await bus.dead_letters()) == ([1, 2, 3] if fails else [])
        assert sum(outcome.done for outcome in outcomes) == (0 if fails else 3)


@pytest.mark.fault(67)
async def test_a_call_that_ends_before_another_one_leaves_that_what_was_parked_meanwhile(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 1)
        handling.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: handling.got == [1])
        assert await bus.retry_dead_letters("one", start=2) == RetriedLetters(), "it comes second, and ends first"
        handling.failing = {2}
        await publish_batch(bus, 1)
        handling.gate.set()
        await settled(bus)
        assert await retrying == RetriedLetters(done=1)
        assert handling.got == [1, 2]


@pytest.mark.fault(67)
async def test_a_call_that_comes_as_a_letter_is_done_does_not_find_it_any_more(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 20)
        for turns, sequence in enumerate(range(1, 21)):
            first = asyncio.create_task(bus.retry_dead_letters("one", limit=1))
            await until(lambda: len(handling.done) == sequence)  # noqa: B023  # it is called at once
            await ticks(turns)
            assert await bus.retry_dead_letters("one", stop=sequence + 1) == RetriedLetters()
            assert await first == RetriedLetters(done=1)
            assert handling.got == list(range(1, sequence + 1)), f"{turns} turns later"


async def through_a_handler(bus: EventBus, got: list[Any]) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        got.append((event.sequence, delivery.attempt, delivery.redelivered))

    bus.consume("one", "a", handle)
    await bus.retry_dead_letters("one")


async def through_a_handler_that_acks(bus: EventBus, got: list[Any]) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        got.append((event.sequence, delivery.attempt, delivery.redelivered))
        await delivery.ack()

    bus.consume("one", "a", handle, ack="manual", timeout=10)
    await bus.retry_dead_letters("one")


async def through_a_handler_with_a_timeout(bus: EventBus, got: list[Any]) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        got.append((event.sequence, delivery.attempt, delivery.redelivered))

    bus.consume("one", "a", handle, timeout=10, concurrency=3)
    await bus.retry_dead_letters("one")


async def by_iterating(bus: EventBus, got: list[Any]) -> None:
    async with bus.consume("one", "a", ack="manual") as deliveries:
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        for _ in range(2):
            delivery = await anext(deliveries)
            got.append((delivery.event.sequence, delivery.attempt, delivery.redelivered))
            await delivery.ack()
        await retrying


async def by_iterating_with_automatic_acks(bus: EventBus, got: list[Any]) -> None:
    async with bus.consume("one", "a") as deliveries:
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        for _ in range(2):
            delivery = await anext(deliveries)
            got.append((delivery.event.sequence, delivery.attempt, delivery.redelivered))
        more = asyncio.ensure_future(anext(deliveries, None))
        await retrying
        more.cancel()


@pytest.mark.parametrize(
    "way",
    [
        through_a_handler,
        through_a_handler_that_acks,
        through_a_handler_with_a_timeout,
        by_iterating,
        by_iterating_with_automatic_acks,
    ],
)
async def test_they_take_the_way_of_every_event(
    way: Callable[[EventBus, list[Any]], Awaitable[None]], log: Log
) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 2)
    got: list[Any] = []
    async with log.bus() as bus:
        await way(bus, got)
        assert sorted(got) == [(1, 2, True), (2, 2, True)]
        assert await bus.dead_letters() == []
        [one] = await bus.consumers()
        assert one.checkpoint == 2


async def test_a_nak_is_an_attempt_that_failed(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 1)
    async with log.bus() as bus, bus.consume("one", "a", ack="manual") as deliveries:
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await (await anext(deliveries)).nak(delay=60, reason="not now")
        assert await retrying == RetriedLetters(failed=1)
        [letter] = await bus.dead_letters()
        assert (letter.attempts, letter.error) == (2, "not now")


async def test_new_events_go_on_while_letters_are_tried_again(log: Log) -> None:
    async with log.bus() as bus:
        handling = FailingHandler(failing=[1])

        async def handle(event: Event) -> None:
            if event.sequence == 1:
                await handling.handle(event)

        bus.consume("one", "a", handle, retry=ONCE, concurrency=2)
        await publish_batch(bus, 1)
        await settled(bus)
        handling.failing.clear()
        handling.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: len(handling.got) == 2)
        await publish_batch(bus, 5)
        await settled(bus)
        handling.gate.set()
        assert (await retrying).done == 1


async def test_a_letter_waits_for_the_events_of_its_key_and_keeps_its_count(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=Retry(attempts=3, backoff=0.02, jitter=False))
        await bus.publish("a", key="vm")
        await settled(bus)
        handling.failing = {2}
        await bus.publish("a", key="vm")
        await until(lambda: consumer.waiting_for_retry)
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await settled(bus)
        assert (await retrying).done == 1

        assert handling.got == [1, 1, 1, 2, 2, 2, 1]
        handling.failing = {1}
        [letter] = await bus.dead_letters()
        assert (letter.event.sequence, letter.attempts) == (2, 3)


@pytest.mark.fault(66)
async def test_the_attempts_of_a_letter_that_waited_for_its_key_are_counted(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=Retry(attempts=3, backoff=0.02, jitter=False))
        await bus.publish("a", key="vm")
        await settled(bus)
        handling.failing = {1, 2}
        await bus.publish("a", key="vm")
        await until(lambda: consumer.waiting_for_retry)
        assert (await bus.retry_dead_letters("one", stop=2)).failed == 1

        letter = (await bus.dead_letters())[0]
        assert (letter.event.sequence, letter.attempts) == (1, 4)
        assert [attempt.attempt for attempt in letter.history] == [1, 2, 3, 4]


async def test_the_consumer_must_be_active(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 1)
    async with log.bus() as bus:
        with pytest.raises(UnknownConsumerError, match="consumer 'one' is not active on this bus"):
            await bus.retry_dead_letters("one")
        assert parked(await bus.dead_letters()) == [1]


@pytest.mark.fault(67)
async def test_a_consumer_that_is_closed_meanwhile_leaves_what_was_not_done(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 3)
    handling = FailingHandler()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle)
        handling.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: handling.got == [1])
        ending = asyncio.create_task(consumer.close())
        await until(lambda: not consumer.is_open)
        handling.gate.set()
        await ending
        with pytest.raises(ConsumerClosedError):
            await retrying
        assert parked(await bus.dead_letters()) == [2, 3]


async def test_a_cancelled_call_leaves_no_letter_unsettled(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 3)
        handling.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: handling.got == [1])
        retrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await retrying
        handling.gate.set()
        await until(lambda: len(handling.done) == 3)
        assert (await bus.retry_dead_letters("one")).failed == 0
        assert handling.got == [1, 2, 3]
        assert await bus.dead_letters() == []


async def test_discarding_what_is_being_tried_again_removes_it_whatever_comes_of_it(log: Log) -> None:
    async with log.bus() as bus:
        handling = await parked_events(bus, 2)
        handling.failing = {1}
        handling.gate.clear()
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await until(lambda: handling.got == [1])
        assert await bus.discard_dead_letters("one") == 2
        handling.gate.set()
        assert await retrying == RetriedLetters(done=1, failed=1)
        assert await bus.dead_letters() == []
        assert bus.statistics().consumers[0].dead_letters == 0


async def test_a_seek_ends_the_wait_for_letters_and_keeps_them(log: Log) -> None:
    async with log.bus() as bus:
        await parked_events(bus, 2)
    async with log.bus() as bus, bus.consume("one", "a", ack="manual") as deliveries:
        retrying = asyncio.create_task(bus.retry_dead_letters("one"))
        await anext(deliveries)
        await bus.seek("one", start="latest")
        assert await retrying == RetriedLetters(failed=2)
        assert parked(await bus.dead_letters()) == [1, 2]


async def test_two_that_discard_the_same_dead_letters_remove_each_once(log: Log) -> None:
    handling = FailingHandler(failing=range(1, 11))
    async with log.bus() as bus:
        consumer = bus.consume("one", "*", handling.handle, retry=ONCE)
        await publish_batch(bus, 10)
        await settled(bus)
        removed = await asyncio.gather(bus.discard_dead_letters("one"), bus.discard_dead_letters("one"))

        assert sum(removed) == 10
        assert consumer.statistics().dead_letters == len(await bus.dead_letters("one")) == 0
