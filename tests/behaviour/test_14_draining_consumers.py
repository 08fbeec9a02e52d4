"""A drain ends consumers in order: nothing new is handed out, what is in flight ends, checkpoints are stored."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asyncbus import ConsumerClosedError, Delivery, DrainReport, DrainTimeoutError, Event
from tests.behaviour.consuming import FailingHandler, handled_events, publish_batch, settled, states
from tests.behaviour.stage import Log, ticks, until

pytestmark = [pytest.mark.timeout(20)]


# ------------------------------------------------------------------------------------------------------------- drain


@pytest.mark.asyncio
async def test_a_drain_waits_for_what_is_in_flight_hands_out_nothing_more_and_stores_it(log: Log) -> None:
    handling = FailingHandler()
    handling.gate.clear()
    async with log.bus() as bus:
        bus.consume("one", "a", handling.handle, concurrency=2)
        await publish_batch(bus, 5)
        await until(lambda: len(handling.got) == 2)
        draining = asyncio.create_task(bus.drain(timeout=10))
        await ticks(10)
        assert not draining.done()
        handling.gate.set()
        report = await draining

        assert (report, report.ok) == (DrainReport(), True)
        assert handling.done == [1, 2]
        [one] = await bus.consumers()
        assert (one.checkpoint, one.backlog, one.in_flight, one.active_since) == (2, 3, 0, None)
        assert bus.statistics().consumers == ()
        await bus.publish("a")
    assert (await states(log))["one"].checkpoint == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_what_is_not_done_in_time_is_given_back_and_told(timeout: float, log: Log) -> None:
    hanging, fine = FailingHandler(), FailingHandler()
    hanging.gate.clear()
    async with log.bus() as bus:
        bus.consume("hanging", "a", hanging.handle, concurrency=3)
        bus.consume("fine", "a", fine.handle)
        await publish_batch(bus, 4)
        await settled(bus, "fine")
        await until(lambda: len(hanging.got) == 3)
        report = await bus.drain(timeout=timeout)
        assert (report.unfinished, report.ok) == ({"hanging": 3}, False)
        assert [one.checkpoint for one in await bus.consumers()] == [4, 0]
    hanging.gate.set()
    hanging.got.clear()
    attempts: list[int] = []
    async with log.bus() as bus:

        async def handle(event: Event, delivery: Delivery) -> None:
            attempts.append(delivery.attempt)

        bus.consume("hanging", "a", handle)
        await settled(bus, "hanging")
    assert attempts == [1, 1, 1, 1], "a handler that was cancelled by nobody's fault has made no attempt"


@pytest.mark.asyncio
async def test_a_drain_of_one_consumer_leaves_the_others_alone(log: Log) -> None:
    one, two = FailingHandler(), FailingHandler()
    one.gate.clear()
    async with log.bus() as bus:
        consumer = bus.consume("one", "a", one.handle)
        bus.consume("two", "a", two.handle)
        await publish_batch(bus, 2)
        await until(lambda: one.got)
        assert await consumer.drain(timeout=0.01) == 1
        assert await consumer.drain() == 1, "as before"
        await publish_batch(bus, 1)
        await settled(bus, "two")
        assert two.done == [1, 2, 3]
        one.gate.set()
        bus.consume("one", "a", one.handle)
        await settled(bus)
        assert one.done == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_drain_waits_for_the_outcomes_of_an_iterating_consumer(log: Log) -> None:
    async with log.bus() as bus:
        deliveries = bus.consume("one", "a", ack="manual")
        await publish_batch(bus, 4)
        first, second, third = [await anext(deliveries) for _ in range(3)]
        draining = asyncio.create_task(bus.drain(timeout=10))
        await until(lambda: not deliveries.is_open)
        with pytest.raises(StopAsyncIteration):
            await anext(deliveries)
        await ticks(10)
        assert not draining.done()
        acking = [asyncio.create_task(outcome) for outcome in (second.ack(), first.ack(), third.reject("no"))]
        assert (await draining).ok
        await asyncio.gather(*acking)
        with pytest.raises(ConsumerClosedError):
            await first.ack()
        assert len(await bus.dead_letters()) == 1
    assert (await states(log))["one"].checkpoint == 3


@pytest.mark.asyncio
async def test_a_drain_waits_for_outcomes_that_come_after_the_handler(log: Log) -> None:
    given: list[Delivery] = []

    async def handle(event: Event, delivery: Delivery) -> None:
        given.append(delivery)

    async with log.bus() as bus:
        bus.consume("one", "a", handle, ack="manual")
        await publish_batch(bus, 2)
        await until(lambda: len(given) == 2)
        draining = asyncio.create_task(bus.drain(timeout=10))
        await ticks(20)
        assert not draining.done()
        await asyncio.gather(*(delivery.ack() for delivery in given))
        assert (await draining).ok
    assert (await states(log))["one"].checkpoint == 2


@pytest.mark.asyncio
async def test_subscriptions_that_are_not_done_in_time_are_named_and_consumers_end_all_the_same(log: Log) -> None:
    subscribed = FailingHandler()
    subscribed.gate.clear()
    async with log.bus() as bus:
        subscription = bus.subscribe("a", subscribed.handle)
        consumer, _ = await handled_events(bus, 2)
        with pytest.raises(DrainTimeoutError) as late:
            await bus.drain(timeout=0.02)
        assert late.value.unfinished == {subscription.name: 2}
        assert not consumer.is_open
        subscribed.gate.set()
    assert (await states(log))["one"].active_since == 0


# -------------------------------------------------------------------------------------------------------------- signals

SERVICE = """
import asyncio, json, signal, sys
import asyncbus

handled = []

async def main(path):
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with asyncbus.connect(path) as bus:

        @bus.consumer("quick", "task", concurrency=4)
        async def quick(event):
            await asyncio.sleep(0)
            handled.append(event.sequence)
            if len(handled) == 100:
                print("ready", flush=True)

        @bus.consumer("slow", "task")
        async def slow(event):
            await asyncio.Event().wait()

        async def work():
            while True:
                await bus.publish("task")

        working = asyncio.create_task(work())
        await stopping.wait()
        working.cancel()
        report = await bus.drain(timeout=0.5)
    print(json.dumps({"unfinished": report.unfinished, "handled": sorted(handled)}))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.fault(73)
def test_a_program_that_heeds_sigterm_tells_what_was_not_finished_and_goes_on_there(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    command = [sys.executable, "-c", SERVICE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            said, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    told = json.loads(said)
    assert (process.returncode, errors, told["unfinished"]) == (0, "", {"slow": 1})

    found = asyncio.run(states(Log("sqlite", tmp_path)))
    quick, slow = found["quick"], found["slow"]
    assert told["handled"] == list(range(1, quick.checkpoint + 1)), "each once, and none that was handled is owed"
    assert (slow.checkpoint, slow.active_since, quick.active_since) == (0, 0, 0)
