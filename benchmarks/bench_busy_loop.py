"""Whether the bus lives on while somebody computes on its loop: the emulator it was made for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from time import thread_time

from benchmarks.bench_replay import replayed
from benchmarks.contained import contained
from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import accepted_to_handled, filled
from benchmarks.workload import working

PUBLISH = "publish to handled, the loop computes"
PUBLISH_IDLE = "publish to handled, the loop idle"
REPLAY = "replay, the loop computes"
REPLAY_IDLE = "replay, the loop idle"

_HARD_LIMIT = 25.0
"""Seconds of wall time for one run, start of the process included."""

_COMPUTING = 0.005


def question(setting: Setting) -> Question:
    count = setting.pick(full=200_000, quick=40_000, tiny=300)
    log = setting.directory / "history.db"

    def published(name: str, *, busy: bool) -> Contestant:
        return _contained(name, publish, lambda: setting.fresh("published"), count, busy=busy)

    def read(name: str, *, busy: bool) -> Contestant:
        return _contained(name, replay, lambda: log, count, busy=busy)

    return Question(
        title="a task of its own that computes 5 ms, then `sleep(0)`, for ever; FULL, wall time, with a hard limit",
        contestants=(
            published(PUBLISH, busy=True),
            published(PUBLISH_IDLE, busy=False),
            read(REPLAY, busy=True),
            read(REPLAY_IDLE, busy=False),
        ),
        targets=(
            Target("at least 0.5 of the idle-loop rate", PUBLISH, PUBLISH_IDLE, at_least=0.5),
            Target("and of the idle replay rate", REPLAY, REPLAY_IDLE, at_least=0.5),
        ),
        prepare=lambda: filled(log, count),
        notes=f"Every run is a process of its own, killed after {_HARD_LIMIT:g} s. The task computes until its thread "
        "has used 5 ms of processor time; a publisher and a handler, or a replay that reads the data, share its loop.",
    )


def publish(path: str, count: int, busy: bool) -> float:  # noqa: FBT001 - it comes as JSON
    """Events a second, publish to handled, in this process."""
    return asyncio.run(_publish(Path(path), count, busy=busy))


def replay(path: str, count: int, busy: bool) -> float:  # noqa: FBT001 - it comes as JSON
    """Events a second of a replay that reads the data, in this process."""
    return asyncio.run(_replay(Path(path), count, busy=busy))


async def _publish(path: Path, count: int, *, busy: bool) -> float:
    async with beside_a_computation(busy=busy):
        return await accepted_to_handled(path, count)


async def _replay(path: Path, count: int, *, busy: bool) -> float:
    async with beside_a_computation(busy=busy):
        return await replayed(path, count, read=True)


def beside_a_computation(*, busy: bool) -> AbstractAsyncContextManager[None]:
    return working(_compute()) if busy else nullcontext()


async def _compute() -> None:
    while True:
        end = thread_time() + _COMPUTING
        while thread_time() < end:
            sum(range(100))
        await asyncio.sleep(0)


def _contained(
    name: str,
    function: Callable[[str, int, bool], float],
    path: Callable[[], Path],
    count: int,
    *,
    busy: bool,
) -> Contestant:
    return single(
        name,
        "events/s",
        lambda: float(contained(function, str(path()), count, busy, limit=_HARD_LIMIT)),
        "ours" if busy else "limit",
    )
