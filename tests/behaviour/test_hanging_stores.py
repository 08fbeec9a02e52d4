"""What a bus does with a store that hangs: closing ends all the same."""

import asyncio
import logging

import pytest

from asyncbus import EventBus, MemoryStore
from asyncbus.testing import FaultyStore


@pytest.mark.fault(58)
@pytest.mark.asyncio
async def test_a_store_that_hangs_as_it_closes_is_left_behind_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyStore(MemoryStore())
    async with EventBus(store, close_timeout=0.01) as bus:
        await bus.publish("a")
        held = store.hang("close")

    assert held.reached.is_set()
    assert "the store has not closed" in caplog.text
    assert bus.health().status == "closed"
    [left] = [task for task in asyncio.all_tasks() if task.get_name() == "asyncbus close store"]
    held.release()
    await left


@pytest.mark.asyncio
async def test_what_a_store_raises_as_it_closes_comes_out_of_the_close(caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyStore(MemoryStore())
    bus = EventBus(store)
    await bus.__aenter__()
    store.fail("close", OSError("the disk is gone"))

    with caplog.at_level(logging.ERROR, "asyncbus"), pytest.raises(OSError, match="the disk is gone"):
        await bus.close()
    await store.close()
