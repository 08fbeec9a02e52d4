"""What a consumer cannot handle is a dead letter: told in full, and no hindrance to what comes after."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from asyncbus import ConsumerStoppedError, Delivery, Event, InvalidOptionError, Reject, Retry
from tests.behaviour.consuming import ONCE, THREE_AT_ONCE, FailingHandler, parked, publish_batch, settled
from tests.behaviour.stage import HandClock, Log

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


# ------------------------------------------------------------------------------------------------------- what it tells


@pytest.mark.fault(56)
async def test_an_event_that_always_fails_is_parked_with_all_that_is_known_of_it(log: Log) -> None:
    clock = HandClock()

    def handle(event: Event) -> None:
        raise ValueError(f"no block at {event.data['address']}")

    async with log.bus(clock=clock) as bus:
        bus.consume("profile", "block.*", handle, retry=Retry(attempts=3, backoff=10, jitter=False))
        await bus.publish("block.run", {"address": 4096}, id="first", key="vm-1", metadata={"cpu": 0})
        await settled(bus, "profile")

        [letter] = await bus.dead_letters()
        [event] = await bus.query()

    assert letter.consumer == "profile"
    assert letter.attempts == 3
    assert letter.error == "ValueError: no block at 4096"
    assert letter.traceback.startswith("Traceback (most recent call last):")
    assert "in handle" in letter.traceback
    assert letter.traceback.endswith("ValueError: no block at 4096\n")
    assert [attempt.attempt for attempt in letter.history] == [1, 2, 3]
    assert [attempt.error for attempt in letter.history] == [letter.error] * 3
    first, second, third = (attempt.time for attempt in letter.history)
    assert (second - first, third - second) == (timedelta(seconds=10), timedelta(seconds=20))
    assert letter.time == third == datetime.fromtimestamp(clock.now() / 1e6, UTC)
    for field in ("sequence", "type", "data", "id", "key", "metadata", "time", "recorded_at"):
        assert getattr(letter.event, field) == getattr(event, field), field


@pytest.mark.fault(56)
async def test_events_before_and_after_it_are_handled(log: Log) -> None:
    handling = FailingHandler(failing=[2, 5])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=THREE_AT_ONCE)
        await publish_batch(bus, 6)
        await settled(bus)

        assert handling.done == [1, 3, 4, 6]
        assert sorted(handling.got) == [1, 2, 2, 2, 3, 4, 5, 5, 5, 6]
        assert parked(await bus.dead_letters("one")) == [2, 5]
        assert (consumer.checkpoint, consumer.statistics().dead_letters, consumer.statistics().failed) == (6, 2, 6)


async def test_other_consumers_of_the_same_event_know_nothing_of_it(log: Log) -> None:
    failing, fine = FailingHandler(failing=[1]), FailingHandler()
    async with log.bus() as bus:
        bus.consume("failing", "a", failing.handle, retry=ONCE)
        bus.consume("fine", "a", fine.handle, retry=ONCE)
        await publish_batch(bus, 2)
        await settled(bus, "failing")
        await settled(bus, "fine")

        assert (fine.done, await bus.dead_letters("fine")) == ([1, 2], [])
        assert parked(await bus.dead_letters()) == [1]


async def test_a_reject_parks_at_once_with_its_reason(log: Log) -> None:
    handling = FailingHandler(failing=[1], error=Reject("page 7 is not mapped"))
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, retry=THREE_AT_ONCE)
        await publish_batch(bus, 1)
        await settled(bus)

        [letter] = await bus.dead_letters()
        assert (handling.got, letter.attempts, letter.error) == ([1], 1, "page 7 is not mapped")


async def test_an_exception_that_is_not_to_be_retried_parks_at_once(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, retry=Retry(attempts=5, on=OSError))
        await publish_batch(bus, 1)
        await settled(bus)

        [letter] = await bus.dead_letters()
        assert (handling.got, letter.attempts) == ([1], 1)


@pytest.mark.fault(57)
async def test_a_handler_that_hangs_ends_as_a_dead_letter_that_says_so(log: Log) -> None:
    async def hang(event: Event) -> None:
        await asyncio.Event().wait()

    async with log.bus() as bus:
        bus.consume("one", "a", hang, retry=ONCE, timeout=0.01)
        await publish_batch(bus, 1)
        await settled(bus)

        [letter] = await bus.dead_letters()
        assert letter.error.startswith("HandlerTimeoutError: consumer 'one' took longer than 0.01 s over event 1")


async def test_who_iterates_parks_by_reject_and_by_a_last_nak(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "a", retry=ONCE, ack="manual") as deliveries:
        await publish_batch(bus, 3)
        await (await anext(deliveries)).reject("never")
        assert [letter.error for letter in await bus.dead_letters()] == ["never"], "stored when it returns"
        await (await anext(deliveries)).nak(reason="not now")
        await (await anext(deliveries)).ack()

        assert [(letter.event.sequence, letter.error) for letter in await bus.dead_letters()] == [
            (1, "never"),
            (2, "not now"),
        ]
        assert deliveries.checkpoint == 3


async def test_of_many_failures_the_last_are_kept(log: Log) -> None:
    handling = FailingHandler(failing=[1])
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, retry=Retry(attempts=50, backoff=0))
        await publish_batch(bus, 1)
        await settled(bus)

        [letter] = await bus.dead_letters()
        assert letter.attempts == 50
        assert [attempt.attempt for attempt in letter.history] == list(range(31, 51))


async def test_an_endless_traceback_is_cut_at_its_beginning(log: Log) -> None:
    handling = FailingHandler(failing=[1], error=ValueError("x" * 100_000 + "the end"))
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, retry=ONCE)
        await publish_batch(bus, 1)
        await settled(bus)

        [letter] = await bus.dead_letters()
        assert len(letter.traceback) < 20_000
        assert letter.traceback.endswith("the end\n")


async def test_it_is_logged_as_an_error_with_the_event(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    handling = FailingHandler(failing=[1])
    with caplog.at_level(logging.WARNING, "asyncbus"):
        async with log.bus() as bus:
            bus.consume("one", "a", handling.handle, retry=Retry(attempts=2, backoff=0))
            await publish_batch(bus, 1)
            await settled(bus)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        (
            "WARNING",
            "consumer one: attempt 1 of 2 failed at event 1 (a), again in 0 s: ValueError: no such block",
        ),
        ("ERROR", "consumer one parks event 1 (a): ValueError: no such block"),
    ]


# ------------------------------------------------------------------------------------------------ what else may be done


@pytest.mark.parametrize("again", [False, True])
async def test_a_consumer_that_is_to_stop_there_stops_and_begins_with_that_event(again: bool, log: Log) -> None:
    handling = FailingHandler(failing=[2])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=ONCE, on_exhausted="stop")
        await publish_batch(bus, 3)
        with pytest.raises(ConsumerStoppedError, match="at event 2: ValueError: no such block; mend the cause"):
            await settled(bus)
        await consumer.close()

        assert isinstance(consumer.error, ConsumerStoppedError)
        assert (consumer.error.name, consumer.error.sequence) == ("one", 2)
        assert (consumer.checkpoint, handling.got, await bus.dead_letters()) == (1, [1, 2], [])

        handling.failing = {2} if again else set()
        consumer = bus.consume("one", "a", handling.handle, retry=ONCE, on_exhausted="stop")
        if again:
            with pytest.raises(ConsumerStoppedError):
                await settled(bus)
            assert handling.got == [1, 2, 2]
        else:
            await settled(bus)
            assert handling.got == [1, 2, 2, 3]


async def test_a_consumer_that_is_to_skip_goes_on_and_says_so(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    handling = FailingHandler(failing=[2])
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", handling.handle, retry=ONCE, on_exhausted="skip")
        await publish_batch(bus, 3)
        await settled(bus)

        assert (handling.done, await bus.dead_letters()) == ([1, 3], [])
        assert (consumer.checkpoint, consumer.statistics().skipped) == (3, 1)
    assert "consumer one skips event 2 (a): ValueError: no such block" in caplog.text


async def test_one_dead_letter_more_than_there_may_be_stops_it_and_loses_nothing(log: Log) -> None:
    handling = FailingHandler(failing=range(1, 9))
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, retry=ONCE, max_dead_letters=2)
        await publish_batch(bus, 4)
        with pytest.raises(ConsumerStoppedError, match="it has 2 dead letters, retry or discard them"):
            await settled(bus)
    async with log.bus() as bus:
        assert parked(await bus.dead_letters("one")) == [1, 2]
        assert await bus.discard_dead_letters("one", limit=1) == 1

        bus.consume("one", "a", handling.handle, retry=ONCE, max_dead_letters=2)
        with pytest.raises(ConsumerStoppedError):
            await settled(bus)
        assert parked(await bus.dead_letters("one")) == [2, 3]


@pytest.mark.parametrize("mode", ["auto", "manual"])
async def test_a_handler_may_reject_by_its_delivery(mode: Literal["auto", "manual"], log: Log) -> None:
    async def handle(event: Event, delivery: Delivery) -> None:
        await delivery.reject("not mine")

    async with log.bus() as bus:
        bus.consume("one", "a", handle, retry=THREE_AT_ONCE, ack=mode)
        await publish_batch(bus, 2)
        await settled(bus)

        assert [(letter.attempts, letter.error) for letter in await bus.dead_letters()] == [(1, "not mine")] * 2


class SilentError(Exception):
    """One that refuses to be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.fault(56)
@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(SilentError(), "SilentError, whose text raised RuntimeError", id="an exception without a text"),
        pytest.param(Reject(ValueError("no such page")), "no such page", id="a reason that is an exception"),
        pytest.param(Reject(None), "None", id="a reason that is none"),
    ],
)
async def test_an_exception_of_whatever_kind_parks_its_event_and_no_other(
    error: Exception, text: str, log: Log
) -> None:
    handling = FailingHandler(failing=[1], error=error)
    async with log.bus() as bus:
        bus.consume("one", "*", handling.handle, retry=ONCE)
        await publish_batch(bus, 2)
        await settled(bus)
        [letter] = await bus.dead_letters("one")

    assert (letter.event.sequence, letter.error) == (1, text)
    assert handling.done == [2]


async def test_a_reason_that_is_no_text_is_refused_and_leaves_the_delivery_as_it_was(log: Log) -> None:
    async with log.bus() as bus, bus.consume("one", "*", ack="manual") as deliveries:
        await bus.publish("a")
        delivery = await anext(aiter(deliveries))
        for outcome in (delivery.nak, delivery.reject):
            with pytest.raises(InvalidOptionError, match="reason must be a string"):
                await outcome(reason=123)  # type: ignore[arg-type]  # that is what is wrong
        await delivery.ack()

        assert deliveries.statistics().failed == 0
