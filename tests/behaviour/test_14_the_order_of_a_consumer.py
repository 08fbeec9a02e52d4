"""Durable consumers: who waits while an event is handled or waits for its retry, and how many go at once."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from asyncbus import Delivery, Event, NewEvent, Reject, Retry
from asyncbus.lanes import Order
from asyncbus.testing import FakeClock
from tests.behaviour.consuming import FIVE_AT_ONCE, Handler, failing, passing, publish_keys, quiet
from tests.behaviour.stage import HandClock, Log, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(40)]

KEYS = ("x", "y", "x", "x", "y", None)
ONCE_MORE = Retry(backoff=9, jitter=False)


@pytest.mark.parametrize(
    ("order", "beside", "after"),
    [
        ("none", [2, 3, 4, 5, 6], [1]),
        ("key", [2, 5, 6], [1, 3, 4]),
        ("strict", [], [1, 2, 3, 4, 5, 6]),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_who_goes_on_while_an_event_waits_for_its_retry(
    order: Order, beside: list[int], after: list[int], concurrency: int, log: Log
) -> None:
    clock = FakeClock()
    handler = Handler(failing(1))
    async with log.bus(clock=clock) as bus:
        await publish_keys(bus, *KEYS)
        consumer = bus.consume("one", "a", handler, order=order, concurrency=concurrency, retry=ONCE_MORE)
        await until(lambda: consumer.waiting_for_retry == 1)
        await quiet(bus)
        assert sorted(handler.done) == beside
        clock.advance(9)
        await passing(consumer, 6)
    assert sorted(handler.done[len(beside) :]) == after
    assert handler.got.count((1, 2)) == 1
    assert [attempt for sequence, attempt in handler.got if sequence != 1] == [1] * 5, "to wait is no attempt"
    if order == "strict":
        assert handler.done == after


@pytest.mark.parametrize(("order", "beside"), [("none", [2, 3, 4, 5, 6]), ("key", [2, 5, 6]), ("strict", [])])
async def test_who_goes_on_while_an_event_is_handled(order: Order, beside: list[int], log: Log) -> None:
    handler = Handler()
    handler.hold(1)
    async with log.bus() as bus:
        await publish_keys(bus, *KEYS)
        consumer = bus.consume("one", "a", handler, order=order, concurrency=4)
        await until(lambda: handler.running == [1])
        await quiet(bus)
        assert sorted(handler.done) == beside
        handler.release()
        await passing(consumer, 6)


async def test_without_keys_the_default_order_lets_all_go_on(log: Log) -> None:
    clock = FakeClock()
    handler = Handler(failing(1))
    async with log.bus(clock=clock) as bus:
        await publish_keys(bus, None, None, None)
        consumer = bus.consume("one", "a", handler, retry=ONCE_MORE)
        await until(lambda: handler.done == [2, 3] and clock.sleeps)
        clock.advance(9)
        await passing(consumer, 3)


@pytest.mark.parametrize("order", ["key", "strict"])
async def test_what_is_parked_lets_go_on_what_waited_for_it(order: Order, log: Log) -> None:
    async def refuse(delivery: Delivery) -> None:
        if delivery.event.sequence in {1, 3}:
            raise Reject

    handler = Handler(refuse)
    async with log.bus() as bus:
        await publish_keys(bus, "x", "x", "x", "x")
        await passing(bus.consume("one", "a", handler, order=order, concurrency=3), 4)
    assert (handler.sequences, handler.done) == ([1, 2, 3, 4], [2, 4])


@pytest.mark.parametrize("order", ["key", "strict"])
async def test_of_one_lane_one_is_handled_at_a_time_in_order_also_when_it_fails_again_and_again(
    order: Order, log: Log
) -> None:
    handler = Handler(failing(2, 3, times=3))
    async with log.bus(clock=HandClock()) as bus:
        await publish_keys(bus, *["x"] * 6)
        await passing(bus.consume("one", "a", handler, order=order, concurrency=5), 6)
    assert handler.most == 1
    four_times = [[(sequence, attempt) for attempt in (1, 2, 3, 4)] for sequence in (2, 3)]
    assert handler.got == [(1, 1), *four_times[0], *four_times[1], (4, 1), (5, 1), (6, 1)]


@pytest.mark.parametrize("order", ["none", "key", "strict"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.fault(63)
async def test_no_order_is_broken_by_retries_and_concurrency(order: Order, seed: int, log: Log) -> None:
    """And the checkpoint never passes what is not done."""
    chance = random.Random(seed)
    events = [NewEvent("a", key=chance.choice(["x", "y", "z", None])) for _ in range(60)]
    key_of = {sequence: event.key for sequence, event in enumerate(events, 1)}
    running: set[int] = set()

    async def work(delivery: Delivery) -> None:
        sequence = delivery.event.sequence
        lane = next((lane for lane in _lanes(order, key_of) if sequence in lane), [])
        assert not running.intersection(lane)
        running.add(sequence)
        try:
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
                assert consumer.checkpoint < min(running)
            if delivery.attempt < 4 and chance.random() < 0.3:
                raise RuntimeError("again")
        finally:
            running.remove(sequence)

    handler = Handler(work)
    async with log.bus(clock=HandClock()) as bus:
        await bus.publish_many(events)
        retry = Retry(backoff=0.001)
        consumer = bus.consume("one", "a", handler, order=order, concurrency=chance.randint(2, 9), retry=retry)
        await passing(consumer, 60)
        assert await bus.dead_letters() == []
    assert sorted(handler.done) == list(range(1, 61))
    for lane in _lanes(order, key_of):
        assert [sequence for sequence in handler.done if sequence in lane] == lane


def _lanes(order: Order, key_of: dict[int, str | None]) -> Sequence[list[int]]:
    if order == "strict":
        return [list(key_of)]
    keys = {"x", "y", "z"} if order == "key" else set()
    return [[sequence for sequence, key in key_of.items() if key == wanted] for wanted in keys]


# ----------------------------------------------------------------------------------------------------- how many at once


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_concurrency_is_how_many_handlers_run_at_once(concurrency: int, log: Log) -> None:
    handler = Handler()
    handler.hold(*range(1, 61))
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 60)
        consumer = bus.consume("one", "a", handler, concurrency=concurrency)
        await until(lambda: len(handler.running) == concurrency)
        await quiet(bus)
        assert handler.running == list(range(1, concurrency + 1))
        handler.release()
        await passing(consumer, 60)
    assert (handler.most, handler.sequences) == (concurrency, list(range(1, 61)))


async def test_max_in_flight_bounds_what_is_handed_out_and_what_waits_for_its_retry(log: Log) -> None:
    clock = FakeClock()
    handler = Handler(failing(*range(1, 11)))
    async with log.bus(clock=clock) as bus:
        await bus.publish_many([("a", None)] * 10)
        consumer = bus.consume("one", "a", handler, concurrency=5, max_in_flight=4, retry=ONCE_MORE)
        await until(lambda: consumer.waiting_for_retry == 4)
        await quiet(bus)
        assert handler.got == [(sequence, 1) for sequence in range(1, 5)]
        while consumer.checkpoint < 10:
            clock.advance(9)
            await ticks(20)
            assert consumer.held <= 4
    assert handler.most <= 4
    assert sorted(handler.done) == list(range(1, 11))


async def test_max_in_flight_bounds_deliveries_too(log: Log) -> None:
    async with log.bus() as bus:
        await publish_keys(bus, *[None] * 4)
        deliveries = bus.consume("one", "a", ack="manual", max_in_flight=2)
        first, _ = await anext(deliveries), await anext(deliveries)
        waiting = asyncio.ensure_future(anext(deliveries))
        await quiet(bus)
        assert not waiting.done()
        await first.ack()
        assert (await waiting).event.sequence == 3


async def test_two_consumers_do_not_hold_each_other_up(log: Log) -> None:
    stuck, free = Handler(failing(2, times=9)), Handler()
    stuck.hold(1)
    async with log.bus() as bus:
        held_up = bus.consume("stuck", "a", stuck, order="strict", retry=FIVE_AT_ONCE)
        consumer = bus.consume("free", "a", free)
        await bus.publish_many([("a", None)] * 3000)
        await passing(consumer, 3000)
        assert (stuck.sequences, held_up.checkpoint) == ([1], 0)
        stuck.release()
        await passing(held_up, 3000)
    assert len(free.done) == 3000


async def test_a_plain_handler_that_never_waits_gives_others_a_turn(log: Log) -> None:
    seen: list[int] = []
    async with log.bus() as bus:
        await bus.publish_many([("a", None)] * 8000)

        def busy(event: Event) -> None:
            seen.append(event.sequence)
            sum(range(500))

        consumer = bus.consume("one", "a", busy)
        turns = 0
        while consumer.checkpoint < 8000:
            await asyncio.sleep(0)
            turns += 1
    assert seen == list(range(1, 8001))
    assert turns > 10
