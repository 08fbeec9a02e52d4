"""Reading: replay, query, recent and wait_for, as the table of public names promises them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncbus import BusClosedError, Event, EventBus, InvalidOptionError, NewEvent
from tests.behaviour.stage import HandClock, Log, payloads, sequences, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def clock_at(moment: datetime) -> HandClock:
    return HandClock(int(moment.timestamp() * 1e6))


async def written(events: AsyncIterator[Event]) -> list[int]:
    return sequences([event async for event in events])


async def ten_events_a_second_apart(bus: EventBus, clock: HandClock) -> None:
    """Recorded at noon and each second after it; of types a.0, a.1, a.2, a.0, …; keys k0 to k3."""
    for number in range(10):
        await bus.publish(f"a.{number % 3}", number, key=f"k{number % 4}")
        clock.advance(1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, range(1, 11)),
        ({"start": 4}, range(4, 11)),
        ({"start": 11}, []),
        ({"stop": 4}, range(1, 4)),
        ({"stop": 1}, []),
        ({"stop": 100}, range(1, 11)),
        ({"start": 3, "stop": 6}, range(3, 6)),
        ({"start": 6, "stop": 3}, []),
        ({"start": NOON}, range(1, 11)),
        ({"start": NOON + timedelta(seconds=3)}, range(4, 11)),
        ({"start": NOON + timedelta(seconds=3, microseconds=1)}, range(5, 11)),
        ({"start": NOON + timedelta(days=1)}, []),
        ({"stop": NOON + timedelta(seconds=3)}, range(1, 4)),
        ({"stop": NOON}, []),
        ({"start": 2, "stop": NOON + timedelta(seconds=3)}, range(2, 4)),
        ({"start": NOON + timedelta(seconds=2), "stop": 5}, range(3, 5)),
        ({"start": "latest"}, []),
        ({"pattern": "a.0"}, [1, 4, 7, 10]),
        ({"pattern": "a.0", "start": 2, "stop": 10}, [4, 7]),
        ({"pattern": ["a.0", "a.1"], "stop": 6}, [1, 2, 4, 5]),
        ({"pattern": "b*"}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("again", [False, True], ids=["from memory", "from the store"])
async def test_replay_goes_from_start_to_before_stop(again: bool, options: Any, expected: Any, log: Log) -> None:
    clock = clock_at(NOON)
    async with log.bus(clock=clock) as bus:
        await ten_events_a_second_apart(bus, clock)
        if not again:
            assert await written(bus.replay(**options)) == list(expected)
    if again:
        async with log.bus(clock=clock) as bus:
            assert await written(bus.replay(**options)) == list(expected)


async def test_replay_ends_at_the_head_as_it_was_at_the_call(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 3)
        replay = bus.replay()
        await bus.publish_many([("a", None)] * 3)
        assert await written(replay) == [1, 2, 3]
        assert await written(bus.replay(stop=100)) == [1, 2, 3, 4, 5, 6]


async def test_a_long_replay_is_read_in_pages_while_others_go_on(log: Log) -> None:
    async with log.bus() as bus:
        for part in range(3):
            await bus.publish_many([(f"a.{number % 7}", number) for number in range(part, 5000)])
    async with log.bus() as bus:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        assert await written(bus.replay()) == list(range(1, 14_998))
        assert len(await written(bus.replay("a.3"))) == sum(len(range((3 - p) % 7 + p, 5000, 7)) for p in range(3))
        other.cancel()
        assert turns > 3


@pytest.mark.parametrize(
    ("speed", "sleeps"), [(1.0, [0, 1, 2.5, 0]), (10, [0, 0.1, 0.25, 0]), (0.5, [0, 2, 5, 0]), (None, [])]
)
async def test_speed_keeps_the_spacing_in_which_the_events_occurred(
    speed: float | None, sleeps: list[float], log: Log
) -> None:
    clock = clock_at(NOON)
    times = [NOON, NOON + timedelta(seconds=1), NOON + timedelta(seconds=3.5), NOON + timedelta(seconds=2)]
    async with log.bus(clock=clock) as bus:
        await bus.publish_many([NewEvent("a", time=time) for time in times])
        began = clock.monotonic()
        replay = bus.replay(speed=speed)
        clock.advance(100)  # it begins when it is first asked
        began += 100
        assert await written(replay) == [1, 2, 3, 4]
        assert [round(slept, 6) for slept in clock.sleeps if slept] == [slept for slept in sleeps if slept]
        assert clock.monotonic() - began == pytest.approx(sum(sleeps))


async def test_what_a_slow_reader_takes_is_not_waited_for_again(log: Log) -> None:
    clock = clock_at(NOON)
    async with log.bus(clock=clock) as bus:
        await bus.publish_many([NewEvent("a", time=NOON + timedelta(seconds=n)) for n in range(5)])
        began = clock.monotonic()
        async for _ in bus.replay(speed=1.0):
            clock.advance(0.75)
        assert clock.monotonic() - began == pytest.approx(4.75)


def odd(event: Event) -> bool:
    return bool(event.data % 2)


def worded(given: object) -> str:
    """A name for a test that is the same in every process."""
    if not isinstance(given, dict):
        return str(given)
    return str({option: getattr(value, "__name__", value) for option, value in given.items()})


QUERIES: list[tuple[dict[str, Any], Any]] = [
    ({}, range(1, 11)),
    ({"pattern": "a.1"}, [2, 5, 8]),
    ({"pattern": ["a.0", "a.1"]}, [1, 2, 4, 5, 7, 8, 10]),
    ({"pattern": "nothing"}, []),
    ({"start": 3}, range(3, 11)),
    ({"stop": 3}, [1, 2]),
    ({"start": 3, "stop": 5}, [3, 4]),
    ({"start": 1000}, []),
    ({"start": NOON + timedelta(seconds=3)}, range(4, 11)),
    ({"stop": NOON + timedelta(seconds=3)}, [1, 2, 3]),
    ({"start": NOON + timedelta(seconds=3), "stop": NOON + timedelta(seconds=5)}, [4, 5]),
    ({"key": "k1"}, [2, 6, 10]),
    ({"key": "k9"}, []),
    ({"limit": 3}, [1, 2, 3]),
    ({"limit": None}, range(1, 11)),
    ({"limit": 3, "newest_first": True}, [10, 9, 8]),
    ({"newest_first": True}, range(10, 0, -1)),
    ({"where": odd}, [2, 4, 6, 8, 10]),
    ({"where": odd, "limit": 2}, [2, 4]),
    ({"where": odd, "limit": 2, "newest_first": True}, [10, 8]),
    ({"pattern": "a.0", "key": "k2"}, [7]),
    ({"pattern": "a.*", "key": "k1", "start": 3, "limit": 1}, [6]),
    ({"pattern": "a.1", "stop": 8, "newest_first": True}, [5, 2]),
    ({"key": "k1", "newest_first": True, "limit": 2}, [10, 6]),
]


@pytest.mark.parametrize(("options", "expected"), QUERIES, ids=worded)
async def test_query_combines_its_filters(options: Any, expected: Any, log: Log) -> None:
    clock = clock_at(NOON)
    async with log.bus(clock=clock) as bus:
        await ten_events_a_second_apart(bus, clock)
        assert sequences(await bus.query(**options)) == list(expected)


@pytest.mark.fault(19)
@pytest.mark.parametrize("bound", [2**63 - 1, 2**63, 10**5000], ids=["2**63 - 1", "2**63", "10**5000"])
async def test_a_bound_no_log_will_reach_finds_nothing_or_is_refused(bound: int, log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 3)
        with contextlib.suppress(InvalidOptionError):
            assert await bus.query(start=bound) == []
        with contextlib.suppress(InvalidOptionError):
            assert sequences(await bus.query(stop=bound)) == [1, 2, 3]
        with contextlib.suppress(InvalidOptionError):
            assert len(await bus.query(limit=bound)) == 3
        with contextlib.suppress(InvalidOptionError):
            assert await written(bus.replay(stop=bound)) == [1, 2, 3]


async def test_since_and_until_go_by_when_the_events_occurred(log: Log) -> None:
    async with log.bus() as bus:
        moments = [NOON + timedelta(seconds=second) for second in (3, 1, 2, 0)]
        await bus.publish_many([NewEvent("a", time=moment) for moment in moments])
        assert sequences(await bus.query(since=NOON + timedelta(seconds=2))) == [1, 3]
        assert sequences(await bus.query(until=NOON + timedelta(seconds=2))) == [2, 4]
        assert sequences(await bus.query(since=NOON + timedelta(seconds=1), until=NOON + timedelta(seconds=3))) == [
            2,
            3,
        ]
        assert await bus.query(since=NOON, until=NOON) == []


async def test_a_predicate_over_many_pages_finds_all(log: Log) -> None:
    async with log.bus() as bus:
        for part in range(3):
            await bus.publish_many([("a", 2000 * part + number) for number in range(2000)])
        rare: dict[str, Any] = {"where": lambda event: event.data % 1999 == 0, "limit": None}
        assert payloads(await bus.query(**rare)) == [0, 1999, 3998, 5997]
        assert payloads(await bus.query(**rare, newest_first=True)) == [5997, 3998, 1999, 0]
        assert len(await bus.query(limit=None)) == 6000
        assert len(await bus.query(limit=4500)) == 4500


async def test_everything_else_than_publishing_needs_an_open_bus_too(log: Log) -> None:
    bus = log.bus()
    for _ in range(2):
        for read in (bus.replay, bus.recent):
            with pytest.raises(BusClosedError):
                read()
        for ask in (bus.query, bus.latest_sequence, bus.flush, bus.drain, bus.clear):
            with pytest.raises(BusClosedError):
                await ask()
        await bus.close()
    async with log.bus() as bus:
        replay = bus.replay()
        assert bus.recent() == []
    assert [event async for event in replay] == []


# ------------------------------------------------------------------------------------------------------------- wait_for


async def test_wait_for_registers_at_the_call(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", "too early")
        waiting = bus.wait_for("a")
        await bus.publish("b", "another type")
        await bus.publish("a", "this one")
        await bus.publish("a", "too late")
        assert (await waiting).data == "this one"
        assert bus.statistics().subscriptions == ()


async def test_wait_for_takes_the_first_event_that_fits(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", number) for number in range(5)])
        waiting = bus.wait_for("a", lambda event: event.data > 6)
        assert (await bus.wait_for("a", lambda event: event.data > 2, start="earliest")).data == 3
        assert (await bus.wait_for(["b", "a"], start=5)).data == 4
        await bus.publish_many([("a", number) for number in range(5, 10)])
        assert (await waiting).data == 7


async def test_wait_for_waits_as_long_as_it_is_told(log: Log) -> None:
    async with log.bus() as bus:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError):
                await bus.wait_for("a", timeout=timeout)
        assert bus.statistics().subscriptions == ()
        waiting = asyncio.ensure_future(bus.wait_for("a", timeout=60))
        await ticks(2)
        await bus.publish("a")
        assert (await waiting).sequence == 1


async def test_many_may_wait_for_one_event(log: Log) -> None:
    async with log.bus() as bus:
        waiting = [asyncio.ensure_future(bus.wait_for("a")) for _ in range(10)]
        await bus.publish("a")
        assert sequences(await asyncio.gather(*waiting)) == [1] * 10


async def test_flush_waits_for_what_was_accepted_and_for_nothing_else(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        await bus.flush()
        store.gate.clear()
        first = bus.publish_nowait("a")
        await store.appending.wait()
        second = bus.publish_nowait("a")
        flushing = asyncio.create_task(bus.flush())
        await ticks(10)
        assert not flushing.done()
        store.gate.set()
        await flushing
        assert first.done
        assert second.done


async def test_drain_waits_for_handlers_that_are_catching_up_too(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 1000)
    slow: list[int] = []

    async def handle(event: Event) -> None:
        await asyncio.sleep(0)
        slow.append(event.sequence)

    async with log.bus() as bus:
        handling = bus.subscribe("a", handle, start="earliest", capacity=10)
        bus.publish_nowait("a")
        iterated = bus.subscribe("*", start="earliest")  # nobody reads it, and drain does not wait for that
        await bus.drain()
        assert slow == list(range(1, 1002))
        assert (handling.phase, handling.position) == ("live", 1001)
        assert iterated.position == 0


async def test_a_handler_may_drain_and_does_not_wait_for_itself(log: Log) -> None:
    drained: list[int] = []
    other: list[int] = []

    async def slow(event: Event) -> None:
        await ticks(10)
        other.append(event.sequence)

    async with log.bus() as bus:

        async def drain(event: Event) -> None:
            await bus.drain()
            drained.append(len(other))

        bus.subscribe("a", drain)
        bus.subscribe("a", slow)
        await bus.publish_many([("a", None)] * 3)
        await until(lambda: len(drained) == 3)
        assert drained == [3, 3, 3]
