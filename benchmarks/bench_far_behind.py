"""Whether a subscriber that falls far behind costs memory."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

from benchmarks.contained import contained
from benchmarks.harness import Contestant, Question, Setting, Target, single
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, TEXTS, TYPE, payloads

GROWTH = "asyncbus, highest growth over the run"
BEHIND = "asyncbus, of it while falling behind"
QUEUE = "asyncio.Queue without a bound, the same events encoded"

_HARD_LIMIT = 60.0
_LOOKS = 1000
"""Events from one look at the resident memory to the next."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 1e6


def question(setting: Setting) -> Question:
    count = setting.pick(full=1_000_000, quick=100_000, tiny=2_000)

    def ours() -> tuple[float, float]:
        total, behind = contained(fall_behind_and_catch_up, str(setting.fresh("behind")), count, limit=_HARD_LIMIT)
        return total, behind

    return Question(
        title="a subscriber 1,000,000 events behind",
        contestants=(
            Contestant({GROWTH: "MB", BEHIND: "MB"}, ours),
            single(QUEUE, "MB", lambda: float(contained(queue_up, count, limit=_HARD_LIMIT)), "beside"),
        ),
        targets=(Target("resident memory grows by less than 12 MB over the run", GROWTH, at_most=12),),
        notes=f"A process of its own; {count:,} events are published while one subscriber reads nothing, then it reads "
        f"them all. Resident memory is looked at every {_LOOKS:,} events, against that of the bus just opened and "
        "subscribed to, with nothing published yet.",
    )


def resident() -> float:
    """Resident memory of this process, in MB.

    Raises:
        OSError: this system does not tell.
    """
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE / _MB


def fall_behind_and_catch_up(path: str, count: int) -> tuple[float, float]:
    """The highest growth in MB over the run, and over its first half, in this process."""
    return asyncio.run(_fall_behind_and_catch_up(Path(path), count))


async def _fall_behind_and_catch_up(path: Path, count: int) -> tuple[float, float]:
    async with opened(path) as bus, bus.subscribe(PATTERN) as events:
        gc.collect()
        start = highest = resident()
        for number, payload in enumerate(payloads(count)):
            await bus.publish(TYPE, payload, ack="accepted")
            if number % _LOOKS == 0:
                highest = max(highest, resident())
        await bus.flush()
        assert events.backlog == count, f"only {events.backlog} behind"
        behind = highest = max(highest, resident())
        seen = 0
        async for event in events:
            event.data["execution_time_ms"]
            seen += 1
            if seen % _LOOKS == 0:
                highest = max(highest, resident())
            if seen == count:
                break
        return highest - start, behind - start


def queue_up(count: int) -> float:
    """What as many encoded events take in a queue that has no bound, in MB."""
    waiting = asyncio.Queue[bytes]()
    start = resident()
    for number in range(count):
        waiting.put_nowait(TEXTS[number % len(TEXTS)].encode())
    return resident() - start
