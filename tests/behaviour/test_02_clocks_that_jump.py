"""Promise 2 under a wall clock that jumps: the order is that of the sequences, and no waiting goes by that clock."""

import asyncio
from datetime import UTC, datetime

import pytest

from asyncbus import EventBus, Retry
from tests.behaviour.consuming import FailingHandler, publish_batch
from tests.behaviour.stage import HandClock, Log, payloads, sequences, take, ticks, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]

DAY = 24 * 3600


@pytest.mark.fault(55)
@pytest.mark.parametrize("jump", [-DAY, -0.001, DAY])
async def test_a_jump_changes_no_order_and_no_event_is_recorded_before_another(jump: float, log: Log) -> None:
    clock = HandClock()
    async with log.bus(clock=clock) as bus:
        live = bus.subscribe("a")
        for number in range(6):
            await bus.publish("a", number)
            clock.advance(jump if number == 2 else 1)
        assert payloads(await take(live, 6)) == list(range(6))
        assert [event.data async for event in bus.replay()] == list(range(6))
        recorded = [event.recorded_at for event in await bus.query()]
        assert recorded == sorted(recorded)


@pytest.mark.fault(55)
async def test_a_log_whose_last_event_is_of_tomorrow_goes_on_in_order_after_a_restart(log: Log) -> None:
    clock = HandClock()
    clock.advance(DAY)
    async with log.bus(clock=clock) as bus:
        await bus.publish("a", "tomorrow")
    clock.advance(-DAY)
    async with log.bus(clock=clock) as bus:
        await bus.publish("a", "today")
        first, second = await bus.query()
        assert (first.data, second.data) == ("tomorrow", "today")
        assert first.recorded_at <= second.recorded_at
        assert second.time < first.time, "when it occurred is what the clock said"
        moment = datetime.fromtimestamp(clock.now() / 1e6, UTC)
        assert sequences(await take(bus.subscribe("a", start=moment), 2)) == [1, 2]


@pytest.mark.fault(55)
@pytest.mark.parametrize("jump", [-DAY, DAY])
async def test_no_timeout_ends_early_or_late_because_the_clock_jumped(jump: float, log: Log) -> None:
    clock, store = HandClock(), log.staged()
    async with EventBus(store, clock=clock) as bus:
        store.gate.clear()
        patient = asyncio.create_task(bus.publish("a", timeout=60))
        hasty = asyncio.ensure_future(bus.wait_for("never", timeout=0.01))
        await store.appending.wait()
        clock.advance(jump)
        with pytest.raises(TimeoutError):
            await hasty
        await ticks(5)
        assert not patient.done()
        store.gate.set()
        assert (await patient).sequence == 1


class LongClock(HandClock):
    """Whoever sleeps, sleeps until it is cancelled."""

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.Event().wait()


@pytest.mark.fault(55)
@pytest.mark.parametrize(("jump", "waits"), [(0, 10), (4, 6), (-DAY, 10), (DAY, 0)])
async def test_an_event_that_waits_for_its_retry_waits_no_longer_because_the_clock_was_put_back(
    jump: float, waits: float, log: Log
) -> None:
    clock, handling = LongClock(), FailingHandler(failing=[1])
    retry = Retry(backoff=10, jitter=False)
    async with log.bus(clock=clock) as bus:
        bus.consume("one", "a", handling.handle, retry=retry)
        await publish_batch(bus, 1)
        await until(lambda: len(clock.sleeps) == 1)
    clock.advance(jump)
    async with log.bus(clock=clock) as bus:
        bus.consume("one", "a", handling.handle, retry=retry)
        await until(lambda: len(clock.sleeps) == 2)
    assert clock.sleeps == [10, waits]
    assert handling.got == [1]
