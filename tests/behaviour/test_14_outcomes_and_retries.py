"""Durable consumers: what a handler returns or raises is the outcome of an event, and when it comes again."""

import asyncio
import logging
from typing import Any

import pytest

from asyncbus import Delivery, Event, Reject, Retry
from asyncbus.testing import FakeClock
from tests.behaviour.consuming import FIVE_AT_ONCE, Handler, failing, passing, publish_keys, quiet
from tests.behaviour.stage import HandClock, Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]

PATIENT = Retry(attempts=3, backoff=5, jitter=False)


async def test_returning_is_an_ack(log: Log) -> None:
    handler = Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler)
        await passing(consumer, 2)
        seen = consumer.statistics()
    assert handler.got == [(1, 1), (2, 1)]
    assert (seen.handled, seen.failed, seen.in_flight, seen.backlog, seen.last_error) == (2, 0, 0, 0, None)


async def test_a_plain_function_is_a_handler_too_and_may_return_something_to_wait_for(log: Log) -> None:
    seen: list[tuple[str, int]] = []

    def plain(event: Event) -> int:
        seen.append(("plain", event.sequence))
        return 1

    def later(event: Event) -> Any:
        async def wait() -> None:
            await asyncio.sleep(0)
            seen.append(("later", event.sequence))

        return wait()

    def both(event: Event, delivery: Delivery) -> None:
        seen.append((f"both {delivery.attempt}", event.sequence))

    async with log.bus() as bus:
        consumers = [bus.consume(handler.__name__, "a", handler) for handler in (plain, later, both)]
        await publish_keys(bus, None)
        for consumer in consumers:
            await passing(consumer, 1)
    assert sorted(seen) == [("both 1", 1), ("later", 1), ("plain", 1)]


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.fault(56)
async def test_an_exception_has_the_event_come_again_and_nobody_else_is_affected(
    timeout: float | None, log: Log
) -> None:
    handler, other = Handler(failing(2, times=2)), Handler()
    async with log.bus() as bus:
        await publish_keys(bus, None, None, None)
        consumers = [
            bus.consume("fails", "a", handler, retry=FIVE_AT_ONCE, timeout=timeout),
            bus.consume("other", "a", other),
        ]
        for consumer in consumers:
            await passing(consumer, 3)
        seen = consumers[0].statistics()
        assert await bus.dead_letters() == []
    assert [attempt for sequence, attempt in handler.got if sequence == 2] == [1, 2, 3]
    assert sorted(handler.done) == other.sequences == [1, 2, 3]
    assert (seen.handled, seen.failed, seen.redelivered, seen.waiting_for_retry) == (3, 2, 2, 0)
    assert seen.last_error == "RuntimeError: event 2, attempt 2"


@pytest.mark.fault(56)
async def test_after_the_last_attempt_an_event_is_a_dead_letter_with_its_traceback(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler(failing(1, times=9))
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler, retry=Retry(attempts=3, backoff=0))
        await passing(consumer, 2)
        await quiet(bus)
        [letter] = await bus.dead_letters("one")
        assert consumer.statistics().dead_letters == 1
    assert [attempt for sequence, attempt in handler.got if sequence == 1] == [1, 2, 3]
    assert (letter.event.sequence, letter.attempts, letter.error) == (1, 3, "RuntimeError: event 1, attempt 3")
    assert "in act" in letter.traceback
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(messages) == 3, "each failure is told, once"
    assert "attempt 1 of 3 failed at event 1 (a), again in 0 s: RuntimeError" in messages[0]
    assert "parks event 1 (a)" in messages[2]


async def test_a_reject_parks_at_once_with_its_reason(log: Log) -> None:
    async def refuse(delivery: Delivery) -> None:
        if delivery.event.sequence == 1:
            raise Reject("no such block")

    handler = Handler(refuse)
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        await passing(bus.consume("one", "a", handler), 2)
        await quiet(bus)
        [letter] = await bus.dead_letters()
    assert handler.got == [(1, 1), (2, 1)]
    assert (letter.attempts, letter.error) == (1, "no such block")


async def test_only_the_exceptions_that_are_named_are_tried_again(log: Log) -> None:
    async def fail(delivery: Delivery) -> None:
        raise {1: ConnectionResetError, 2: ValueError, 3: TimeoutError}[delivery.event.sequence]("on purpose")

    handler = Handler(fail)
    retry = Retry(attempts=3, backoff=0, on=(ConnectionError, TimeoutError))
    async with log.bus() as bus:
        await publish_keys(bus, None, None, None)
        await passing(bus.consume("one", "a", handler, retry=retry), 3)
        await quiet(bus)
        letters = {letter.event.sequence: letter.attempts for letter in await bus.dead_letters()}
    assert letters == {1: 3, 2: 1, 3: 3}


async def test_what_it_awaits_may_be_cancelled_which_is_a_failure_and_not_its_end(log: Log) -> None:
    async def await_what_is_gone(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone

    handler = Handler(await_what_is_gone)
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        await passing(bus.consume("one", "a", handler, retry=FIVE_AT_ONCE), 2)
    assert sorted(handler.got) == [(1, 1), (1, 2), (2, 1), (2, 2)]


# ------------------------------------------------------------------------------------------------- when it comes again


async def test_the_delays_grow_up_to_the_maximum(memory_log: Log) -> None:
    clock = HandClock()
    handler = Handler(failing(1, times=5))
    async with memory_log.bus(clock=clock) as bus:
        await publish_keys(bus, None)
        retry = Retry(attempts=6, backoff=1, factor=3, maximum=20, jitter=False)
        await passing(bus.consume("one", "a", handler, retry=retry), 1)
    assert clock.sleeps == [1, 3, 9, 20, 20]


async def test_jitter_shortens_each_delay_by_up_to_a_half(memory_log: Log) -> None:
    clock = HandClock()
    handler = Handler(failing(*range(1, 41)))
    async with memory_log.bus(clock=clock) as bus:
        await publish_keys(bus, *[None] * 40)
        await passing(bus.consume("one", "a", handler, retry=Retry(backoff=10)), 40)
    assert len(clock.sleeps) == 40
    assert all(5 <= delay <= 10 for delay in clock.sleeps)
    assert len(set(clock.sleeps)) > 20, "what failed together does not come again together"


async def test_no_event_comes_again_before_its_time(log: Log) -> None:
    clock = FakeClock()
    handler = Handler(failing(1, times=2))
    async with log.bus(clock=clock) as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler, retry=PATIENT)
        await until(lambda: handler.done == [2] and clock.sleeps == [5])
        clock.advance(4.9)
        await ticks(50)
        assert (handler.got, consumer.checkpoint) == ([(1, 1), (2, 1)], 0)
        assert consumer.statistics().waiting_for_retry == 1
        clock.advance(0.1)
        await until(lambda: handler.got[2:] == [(1, 2)] and clock.sleeps == [5, 10])
        clock.advance(10)
        await passing(consumer, 2)
    assert handler.got[2:] == [(1, 2), (1, 3)]


# ----------------------------------------------------------------------------------------------- a handler that hangs


@pytest.mark.fault(57)
async def test_a_handler_that_hangs_is_cancelled_which_is_a_failure_and_its_place_is_free(log: Log) -> None:
    cancelled: list[int] = []

    async def hang(delivery: Delivery) -> None:
        if delivery.event.sequence == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(delivery.attempt)
                raise

    handler = Handler(hang)
    async with log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("one", "a", handler, timeout=0.03, retry=Retry(attempts=2, backoff=0))
        await passing(consumer, 2)
        await quiet(bus)
        [letter] = await bus.dead_letters()
        assert consumer.statistics().failed == 2
    assert cancelled == [1, 2]
    assert sorted(handler.got) == [(1, 1), (1, 2), (2, 1)], "the only hand there is was free for the other event"
    assert letter.error.startswith("HandlerTimeoutError")
    assert "took longer than 0.03 s over event 1" in letter.error


@pytest.mark.fault(57)
async def test_work_that_says_that_it_goes_on_is_given_its_time_anew(memory_log: Log) -> None:
    async def work(delivery: Delivery) -> None:
        for _ in range(5):
            await asyncio.sleep(0.03)
            await delivery.in_progress()

    handler = Handler(work)
    async with memory_log.bus() as bus:
        await publish_keys(bus, None)
        await passing(bus.consume("one", "a", handler, timeout=0.1), 1)
    assert handler.got == [(1, 1)]


@pytest.mark.fault(58)
async def test_a_handler_that_ignores_its_end_is_named_and_holds_up_neither_the_next_event_nor_the_close(
    memory_log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbus.working.GRACE", 0.02)
    released = asyncio.Event()
    ended: list[int] = []

    async def ignore(delivery: Delivery) -> None:
        if delivery.event.sequence == 1:
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue
            ended.append(1)

    handler = Handler(ignore)
    async with memory_log.bus() as bus:
        await publish_keys(bus, None, None)
        consumer = bus.consume("ignorant", "a", handler, timeout=0.02, retry=Retry(attempts=1))
        await passing(consumer, 2)
        assert handler.running == [1]
    assert handler.done == [2]
    assert any(
        "a handler of consumer ignorant ignored its cancellation" in each.getMessage() for each in caplog.records
    )
    released.set()
    await until(lambda: ended)
    await ticks(5)


@pytest.mark.fault(58)
@pytest.mark.parametrize("error", [None, RuntimeError("at last")])
async def test_a_close_ends_though_a_handler_without_a_time_limit_ignores_it_and_its_event_comes_again(
    error: Exception | None, memory_log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbus.living.GRACE", 0.02)
    released = asyncio.Event()
    again = Handler()

    async def ignore(event: Event) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        if error is not None:
            raise error

    async with memory_log.bus(close_timeout=0) as bus:
        await publish_keys(bus, None)
        consumer = bus.consume("ignorant", "a", ignore)
        await until(lambda: consumer.in_flight)
    assert "asyncbus consumer ignorant worker 0 ignored its cancellation" in caplog.text
    released.set()
    await until(lambda: all(worker.done() for worker in consumer._workers))
    assert [worker.exception() for worker in consumer._workers] == [None]
    async with memory_log.bus() as bus:
        await passing(bus.consume("ignorant", "a", again), 1)
    assert again.sequences == [1]


async def test_a_failure_after_the_outcome_was_given_changes_nothing(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async def ack_and_fail(delivery: Delivery) -> None:
        await delivery.ack()
        raise RuntimeError("too late")

    handler = Handler(ack_and_fail)
    async with log.bus() as bus:
        await publish_keys(bus, None)
        consumer = bus.consume("one", "a", handler, ack="manual")
        await passing(consumer, 1)
        await until(lambda: not handler.running)
        await ticks(5)
        assert consumer.statistics().failed == 0
    assert handler.got == [(1, 1)]
    assert any("error after the outcome" in record.getMessage() for record in caplog.records)
