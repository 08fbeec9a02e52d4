"""Promise 4: what is dropped, fallen behind, failed or lost is counted, logged once at the right level, and visible."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from asyncbus import (
    DrainTimeoutError,
    Event,
    EventBus,
    EventsLostError,
    MemoryStore,
    StoreFailedError,
    StoreFullError,
    SubscriptionOverflowError,
)
from tests.behaviour.stage import Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


def logged(caplog: pytest.LogCaptureFixture, level: int, text: str = "") -> list[str]:
    found = [record for record in caplog.records if record.name.startswith("asyncbus") and record.levelno == level]
    return [record.getMessage() for record in found if text in record.getMessage()]


@pytest.mark.fault(60)
async def test_what_drop_oldest_drops_is_counted_and_logged_once(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("a", capacity=10, when_full="drop_oldest")
        for _ in range(5):
            await bus.publish_many([("a", None)] * 7)
        assert sequences(await take(events, 10)) == list(range(26, 36))
        assert events.statistics().dropped == 25
        assert (events.phase, events.backlog) == ("live", 0)
    assert len(logged(caplog, logging.WARNING)) == 1
    assert "4 (sequences 1 to 4)" in logged(caplog, logging.WARNING)[0]


@pytest.mark.fault(60)
async def test_a_reader_that_fails_when_full_gets_its_queue_and_then_the_error(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    async with log.bus() as bus:
        events = bus.subscribe("a", capacity=3, when_full="fail")
        handled = bus.subscribe("a", lambda event: seen.append(event.sequence), capacity=3, when_full="fail")
        await bus.publish_many([("a", None)] * 4)
        assert sequences(await take(events, 3)) == [1, 2, 3]
        for _ in range(2):
            with pytest.raises(SubscriptionOverflowError, match="3 events") as caught:
                await anext(events)
            assert (caught.value.capacity, caught.value.position) == (3, 3)
        await bus.drain()
        assert seen == [1, 2, 3]
        assert isinstance(handled.error, SubscriptionOverflowError)
        assert isinstance(events.error, SubscriptionOverflowError)
        assert (handled.position, events.position) == (3, 3)
        assert bus.statistics().subscriptions == ()
    assert len(logged(caplog, logging.ERROR, "has ended")) == 1  # of the handler; the other one was told


@pytest.mark.fault(60)
async def test_falling_behind_is_counted_and_logged_once(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asyncbus")
    async with log.bus() as bus:
        events = bus.subscribe("a", capacity=2)
        for turn in range(1, 4):
            await bus.publish_many([("a", None)] * 5)
            assert events.statistics().phase == "catching_up"
            assert events.statistics().overflows == turn
            await take(events, 5)
            waiting = asyncio.ensure_future(anext(events))
            await until(lambda: events.phase == "live")
            await bus.publish("a")
            await waiting
    told = [record for record in caplog.records if record.name == "asyncbus" and "behind" in record.getMessage()]
    assert len(told) == 1
    assert told[0].levelno < logging.WARNING, "nothing is lost, so nobody need wake up"


async def test_a_failure_nobody_waits_for_is_counted_and_logged_once_a_batch(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    store = log.staged()
    store.append_faults += [StoreFullError("no space is left"), StoreFullError("still none")]
    async with EventBus(store) as bus:
        accepted = [bus.publish_nowait("a", number) for number in range(5)]
        await until(lambda: accepted[-1].done)
        with pytest.raises(StoreFullError):
            await bus.publish("a")
        statistics = bus.statistics()
        assert (statistics.failed, statistics.failed_unawaited, statistics.stored) == (6, 5, 0)
        assert (await bus.publish("a")).sequence == 1
    errors = logged(caplog, logging.ERROR)
    assert len(errors) == 2
    assert ["5" in errors[0], "no space is left" in errors[0], "still none" in errors[1]] == [True] * 3


@pytest.mark.fault(56)
async def test_a_failing_handler_is_counted_and_logged_with_the_event(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise ValueError(f"I do not like {event.data}")

    async with log.bus() as bus:
        events = bus.subscribe("a.*", fail)
        await bus.publish_many([("a.b", "this"), ("b", None), ("a.c", "that")])
        await bus.drain()
        assert (events.statistics().errors, events.statistics().delivered) == (2, 2)
    errors = logged(caplog, logging.ERROR)
    assert ["event 1 (a.b)" in errors[0], "event 3 (a.c)" in errors[1]] == [True, True]
    assert "test_a_failing_handler" in errors[0]
    causes = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert causes == ["I do not like this", "I do not like that"]


async def test_what_a_handler_was_owed_and_lost_is_logged_and_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with EventBus(MemoryStore(max_events=3), recent_capacity=1, inbox_capacity=600) as bus:
        reading = asyncio.Event()
        seen: list[int] = []

        async def slow(event: Event) -> None:
            seen.append(event.sequence)
            await reading.wait()

        events = bus.subscribe("a", slow, capacity=1)
        await bus.publish("a")
        await until(lambda: seen == [1])
        for _ in range(3):
            await bus.publish_many([("a", None)] * 600)
        reading.set()
        await bus.drain()
        assert seen == [1, 2]
        assert isinstance(events.error, EventsLostError)
        assert (events.error.first, events.error.last) == (3, 1798)
        assert events.statistics().error is events.error
    (error,) = logged(caplog, logging.ERROR)
    assert "3 to 1798" in error


async def test_a_handler_that_cannot_start_is_logged_and_keeps_its_error(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    bus = log.bus()
    events = bus.subscribe("a", lambda event: None, start=7)
    async with bus:
        assert "7" in str(events.error)
        assert bus.statistics().subscriptions == ()
        await bus.drain()
    assert len(logged(caplog, logging.ERROR, "cannot start")) == 1


@pytest.mark.fault(57)
@pytest.mark.fault(73)
async def test_an_unfinished_drain_names_who_has_not_finished(log: Log) -> None:
    going = asyncio.Event()

    async def wait(event: Event) -> None:
        await going.wait()

    async with log.bus() as bus:
        bus.subscribe("a", wait)
        bus.subscribe("a", lambda event: None)
        await bus.publish_many([("a", None)] * 3)
        with pytest.raises(DrainTimeoutError, match="wait") as caught:
            await bus.drain(0.01)
        assert len(caught.value.unfinished) == 1
        (name,) = caught.value.unfinished
        assert name.endswith("wait")
        assert isinstance(caught.value, TimeoutError)
        going.set()
        await bus.drain(10)


@pytest.mark.fault(57)
async def test_a_handler_that_hangs_at_the_last_event_is_named_with_it(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(event: Event) -> None:
        await asyncio.Event().wait()

    async with log.bus(close_timeout=0.05) as bus:
        bus.subscribe("a", hang)
        await bus.publish("a")
        with pytest.raises(DrainTimeoutError) as caught:
            await bus.drain(0.01)
    assert list(caught.value.unfinished.values()) == [1]
    (told,) = logged(caplog, logging.WARNING, "not finished")
    assert "hang (1 events)" in told


async def test_withdrawn_publishes_are_counted(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        bus.publish_nowait("a", "in flight")
        await store.appending.wait()
        with pytest.raises(TimeoutError):
            await bus.publish("a", "given up", timeout=0)
        store.gate.set()
        await bus.flush()
        assert bus.statistics().withdrawn == 1
        assert payloads(await bus.query()) == ["in flight"]


async def test_statistics_tell_what_goes_on(log: Log) -> None:
    async with log.bus(inbox_capacity=16) as bus:
        assert bus.statistics().head == 0
        low = bus.subscribe("a", capacity=2, priority=-1)
        bus.subscribe(["a.b", "b*"], lambda event: None, start="earliest")
        await bus.publish_many([("a", None)] * 5)
        await bus.publish("a.b", id="once")
        await bus.publish("a.b", id="once")
        await bus.drain()
        await anext(low)
        statistics = bus.statistics()
    assert (statistics.published, statistics.stored, statistics.duplicates, statistics.head) == (7, 6, 1, 6)
    assert statistics.inbox_high_water == 5
    assert (statistics.inbox_depth, statistics.inbox_bytes, statistics.waiting_publishers) == (0, 0, 0)
    assert 1 <= statistics.batches <= 3
    assert statistics.commit_time >= statistics.slowest_commit_time >= statistics.last_commit_time > 0
    handled, iterated = statistics.subscriptions
    assert (handled.pattern, handled.phase, handled.position, handled.backlog) == ("a.b, b*", "live", 6, 0)
    assert (handled.queued, handled.delivered, handled.errors) == (0, 1, 0)
    assert handled.handler_time > 0
    assert (iterated.name, iterated.phase, iterated.position, iterated.backlog) == ("a", "catching_up", 1, 5)
    assert (iterated.queued, iterated.delivered, iterated.overflows) == (1, 1, 1)


async def test_health_tells_whether_it_can_work(log: Log) -> None:
    store = log.staged()
    bus = EventBus(store)
    assert bus.health().status == "closed"
    async with bus:
        assert bus.health().ok
        store.append_faults += [StoreFullError("no space"), StoreFailedError("broken", outcome_unknown=False)]
        for status in ("degraded", "failed"):
            bus.publish_nowait("a")
            await until(lambda status=status: bus.health().status == status)  # type: ignore[misc]
            assert not bus.health().ok
            assert bus.health().reason is not None
        await bus.publish("a")
        assert bus.health().ok
    assert bus.health().status == "closed"


async def test_everything_has_a_name_in_its_repr(log: Log) -> None:
    async with log.bus() as bus:
        events = bus.subscribe("a.*")
        receipt = bus.publish_nowait("a.b", 1, key="k", time=datetime(2020, 1, 1, tzinfo=UTC))
        assert repr(receipt) == "PendingReceipt('a.b', pending)"
        await receipt
        await ticks(1)
        assert repr(receipt) == "PendingReceipt('a.b', sequence=1)"
        assert repr(bus) == "<EventBus ok head=1 subscriptions=1>"
        assert repr(events) == "<Subscription 'a.*' live position=0 backlog=1>"
        assert repr(await anext(events)) == "Event(1, 'a.b', 1, time=2020-01-01T00:00:00+00:00, key='k')"
        await events.close()
        assert repr(events) == "<Subscription 'a.*' closed position=1 backlog=0>"
