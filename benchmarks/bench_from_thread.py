"""What a worker thread gets that publishes into a loop which has nothing else to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import TypeVarTuple

from benchmarks.harness import Question, Setting, Target, single
from benchmarks.ours import accepted_to_handled, thread_to_handled

THREAD = "asyncbus, `publish_from_thread`"
LOOP = 'asyncbus, `publish(ack="accepted")` (the first row)'
WAKE_UPS = "wake-ups of the loop from other threads"

Arguments = TypeVarTuple("Arguments")


def question(setting: Setting) -> Question:
    count = setting.pick(full=200_000, quick=40_000, tiny=300)
    counted = setting.pick(full=50_000, quick=20_000, tiny=300)

    return Question(
        title="`publish_from_thread` from one worker thread, the loop idle: publish to handler",
        contestants=(
            single(THREAD, "events/s", lambda: asyncio.run(thread_to_handled(setting.fresh("thread"), count))),
            single(LOOP, "events/s", lambda: asyncio.run(accepted_to_handled(setting.fresh("loop"), count)), "limit"),
            single(WAKE_UPS, "an event", lambda: wake_ups(setting.fresh("counted"), counted)),
        ),
        targets=(
            Target("at least 0.75 of the first row", THREAD, LOOP, at_least=0.75),
            Target("no wake-up of the loop an event: at most 0.1 an event", WAKE_UPS, at_most=0.1),
        ),
        notes="Wake-ups are calls of `call_soon_threadsafe`, those of the SQLite thread included, in a run of its own.",
    )


def wake_ups(path: Path, count: int) -> float:
    """Calls of the loop's `call_soon_threadsafe` for each event published from a thread."""
    calls = 0

    class Counting(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(
            self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
        ) -> asyncio.Handle:
            nonlocal calls
            calls += 1
            return super().call_soon_threadsafe(callback, *args, context=context)

    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(thread_to_handled(path, count))
    return calls / count
