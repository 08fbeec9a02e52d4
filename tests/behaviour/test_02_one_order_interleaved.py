"""Promise 2, at random: every subscription gets exactly its matching events, each once, in order.

Whatever the mix of publishers, threads, batches, overflows, slow readers, cancellations, removals and failing commits.
`-k "seed-17"` plays a scene again.
"""

import asyncio
from typing import Any

import pytest
import uvloop

from asyncbus import MemoryStore
from tests.behaviour.scenes import play
from tests.behaviour.stage import Log, StagedStore

pytestmark = pytest.mark.timeout(20)


@pytest.mark.fault(70)
@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(150), ids="seed-{}".format)
async def test_every_subscription_gets_its_events_once_in_order(seed: int, memory_log: Log) -> None:
    await play(seed, memory_log.staged)


@pytest.mark.fault(70)
@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(50), ids="seed-{}".format)
async def test_every_subscription_gets_its_events_once_in_order_from_a_file(seed: int, file_log: Log) -> None:
    await play(seed, file_log.staged)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(40), ids="seed-{}".format)
async def test_what_clear_removes_is_told_to_whoever_was_owed_it(seed: int, log: Log) -> None:
    await play(seed, log.staged, removes=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(40), ids="seed-{}".format)
async def test_what_a_bounded_log_removes_is_told_to_whoever_was_owed_it(seed: int) -> None:
    def bounded(**options: Any) -> StagedStore:
        return StagedStore(MemoryStore(max_events=1 + seed % 7), **options)

    await play(seed, bounded, removes=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(25), ids="seed-{}".format)
async def test_threads_that_publish_beside_the_loop_change_nothing(seed: int, log: Log) -> None:
    await play(seed, log.staged, threads=2)


@pytest.fixture(scope="module")
def _uvloop_has_run() -> None:
    """Its first loop opens a pipe that belongs to the process, and is not left behind by a test."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.mark.usefixtures("_uvloop_has_run")
@pytest.mark.parametrize("seed", range(10), ids="seed-{}".format)
def test_it_is_the_same_under_uvloop(seed: int, log: Log) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play(seed, log.staged, threads=1))
