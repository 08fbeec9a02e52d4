"""What awaiting each commit costs when many do it at once: group commit makes them share one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

from benchmarks import raw
from benchmarks.harness import Question, Setting, Target, single
from benchmarks.ours import accepted_to_handled, opened
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

ACCEPTED = 'asyncbus, `ack="accepted"` (the first row)'
STORED = 'asyncbus, 256 tasks awaiting `ack="stored"`'
LIMIT = "executemany, reference schema"

_TASKS = 256


def question(setting: Setting) -> Question:
    each = setting.pick(full=800, quick=100, tiny=2)
    count = each * _TASKS

    return Question(
        title='256 tasks each awaiting `ack="stored"`',
        contestants=(
            single(STORED, "events/s", lambda: asyncio.run(stored_to_handled(setting.fresh("ours"), each))),
            single(
                ACCEPTED,
                "events/s",
                lambda: asyncio.run(accepted_to_handled(setting.fresh("accepted"), count)),
                "limit",
            ),
            single(LIMIT, "events/s", lambda: raw.insert_rate(setting.fresh("raw"), raw.REFERENCE, count), "beside"),
        ),
        targets=(
            Target("at least 0.5 of the above", STORED, ACCEPTED, at_least=0.5),
            Target("(of raw `executemany`: for orientation)", STORED, LIMIT),
        ),
        notes="With the same subscriber and handler as the first row, until all is handled and every receipt is in.",
    )


async def stored_to_handled(path: Path, each: int) -> float:
    """Events a second until all tasks have their receipts and the subscriber has handled every event."""
    handled = Handled(each * _TASKS)
    async with opened(path) as bus:

        async def publish() -> None:
            for payload in payloads(each):
                await bus.publish(TYPE, payload)

        bus.subscribe(PATTERN, handled.handle)
        start = perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_TASKS):
                tasks.create_task(publish())
        await handled.all_handled.wait()
        return handled.expected / (perf_counter() - start)
