"""Promise 5: a handler that blocks the loop loses nobody's events, and debug mode says which one it is."""

import asyncio
import logging
import time

import pytest

from asyncbus import Event
from asyncbus.handlers import Handler
from tests.behaviour.stage import Log, sequences, take

BLOCKED = 0.02


def hog_the_loop(event: Event) -> None:
    time.sleep(BLOCKED)


async def hog_the_loop_too(event: Event) -> None:
    time.sleep(BLOCKED)  # noqa: ASYNC251  # that is the fault


@pytest.mark.fault(59)
@pytest.mark.parametrize("handler", [hog_the_loop, hog_the_loop_too])
def test_debug_mode_names_a_handler_that_blocks_the_loop_and_nothing_is_lost(
    handler: Handler, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        asyncio.get_running_loop().slow_callback_duration = BLOCKED / 2
        async with log.bus() as bus:
            bus.subscribe("a", handler)
            other = bus.subscribe("a")
            receipts = await asyncio.gather(*(bus.publish("a") for _ in range(5)))
            await bus.drain()
            assert sequences(await take(other, 5)) == [receipt.sequence for receipt in receipts] == [1, 2, 3, 4, 5]
            assert bus.statistics().subscriptions[0].handler_time >= 5 * BLOCKED

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        asyncio.run(scene(), debug=True)

    slow = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert any(handler.__name__ in message and "took" in message for message in slow), slow
