import asyncio
import itertools
from collections.abc import Sequence

import pytest

from asyncbus.events import Event
from asyncbus.handlers import SLICE, run
from tests.fakes import ManualClock, opened, until

pytestmark = pytest.mark.asyncio


async def turns_of_others(seconds: Sequence[float]) -> list[float]:
    """The moments at which another task got a turn while events were handled that take so many seconds each."""
    log = await opened()
    clock = ManualClock()
    left = list(reversed(seconds))
    subscription = log.subscription(capacity=len(seconds), handled=True)
    await log.commit(*["a"] * len(seconds))
    running = asyncio.create_task(run(lambda event: clock.pass_by(left.pop()), subscription, clock))
    turns = [0.0]
    while left:
        await asyncio.sleep(0)
        turns.append(clock.monotonic())
    subscription.end()
    await running
    return turns


@pytest.mark.parametrize("seconds", [0.00001, 0.0001, 0.001, 0.01, 0.1])
async def test_a_handler_that_never_waits_gives_the_others_a_turn_after_its_slice(seconds: float) -> None:
    """However slow or fast it is; what it began it may finish."""
    turns = await turns_of_others([seconds] * 1000)

    longest = max(later - earlier for earlier, later in itertools.pairwise(turns))
    assert longest <= 2 * SLICE + 2 * seconds


async def test_a_handler_that_becomes_slow_is_noticed_soon() -> None:
    turns = await turns_of_others([0.000001] * 4000 + [0.001] * 1000)

    longest = max(later - earlier for earlier, later in itertools.pairwise(turns))
    assert longest <= 0.07


async def test_a_fast_handler_is_not_held_up_by_turns() -> None:
    assert len(await turns_of_others([0.000001] * 1000)) <= 4


async def test_the_time_spent_in_the_handler_is_counted_its_waiting_included() -> None:
    log = await opened()
    clock = ManualClock()

    async def handler(event: Event) -> None:
        clock.pass_by(0.25)
        await clock.sleep(0.5)

    subscription = log.subscription(handled=True)
    running = asyncio.create_task(run(handler, subscription, clock))
    await log.commit("a", "a")
    await until(lambda: subscription.delivered == 2 and subscription._waiter is not None)
    clock.pass_by(100)
    subscription.end()
    await running

    assert subscription.handler_time == 1.5


# --- what a drain waits for ------------------------------------------------------------------------------------------


async def test_an_event_is_passed_when_its_handler_is_done_with_it() -> None:
    log = await opened()
    go_on = asyncio.Event()

    async def handler(event: Event) -> None:
        await go_on.wait()

    subscription = log.subscription(handled=True)
    running = asyncio.create_task(run(handler, subscription, ManualClock()))
    await log.commit("a")
    await until(lambda: subscription.delivered)
    passed = asyncio.create_task(subscription.passed(1))
    await asyncio.sleep(0)
    assert not passed.done()

    go_on.set()
    await passed
    subscription.end()
    await running


async def test_what_was_passed_already_is_not_waited_for() -> None:
    log = await opened("a")
    subscription = log.subscription(handled=True)
    running = asyncio.create_task(run(print, subscription, ManualClock()))
    await until(lambda: subscription._waiter is not None)

    await asyncio.wait_for(subscription.passed(1), 1)

    subscription.end()
    await running


async def test_events_are_passed_while_it_is_catching_up_too() -> None:
    log = await opened(*["a"] * 2000)
    seen: list[int] = []
    subscription = log.subscription(start="earliest", handled=True)
    running = asyncio.create_task(run(lambda event: seen.append(event.sequence), subscription, ManualClock()))

    await asyncio.wait_for(subscription.passed(2000), 5)

    assert seen == list(range(1, 2001))
    subscription.end()
    await running


async def test_who_waits_for_one_event_need_not_wait_for_those_behind_it() -> None:
    log = await opened()
    clock = ManualClock()
    subscription = log.subscription(capacity=1000, handled=True)
    await log.commit(*["a"] * 1000)
    running = asyncio.create_task(run(lambda event: clock.pass_by(0.001), subscription, clock))

    await asyncio.wait_for(subscription.passed(100), 5)

    assert 100 <= subscription.delivered <= 200
    subscription.end()
    await running


async def test_nobody_waits_for_a_handler_that_has_ended() -> None:
    log = await opened()
    begun = asyncio.Event()

    async def handler(event: Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    subscription = log.subscription(handled=True)
    running = asyncio.create_task(run(handler, subscription, ManualClock()))
    await log.commit("a", "a")
    await begun.wait()
    passed = asyncio.create_task(subscription.passed(2))
    await asyncio.sleep(0)

    running.cancel()
    await asyncio.wait([running])

    await asyncio.wait_for(passed, 1)


async def test_an_event_that_is_being_handled_is_waited_for_though_the_subscription_was_closed() -> None:
    log = await opened()
    go_on = asyncio.Event()

    async def handler(event: Event) -> None:
        await go_on.wait()

    subscription = log.subscription(handled=True)
    running = asyncio.create_task(run(handler, subscription, ManualClock()))
    await log.commit("a")
    await until(lambda: subscription.delivered)
    subscription.end()
    passed = asyncio.create_task(subscription.passed(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not passed.done()

    go_on.set()
    await passed
    await running
