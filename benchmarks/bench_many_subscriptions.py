"""What subscriptions that do not match cost those that do, and what an event type costs the first time it is seen."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from itertools import count as numbers
from time import perf_counter

from benchmarks.harness import Question, Setting, Target, single
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

ONE = "1 subscription"
MANY = "100,000 subscriptions, 1 matches"
ONE_COLD = "1 subscription, cold types"
MANY_COLD = "100,000 subscriptions, 1 matches, cold types"


def question(setting: Setting) -> Question:
    events = setting.pick(full=200_000, quick=40_000, tiny=300)
    others = setting.pick(full=99_999, quick=9_999, tiny=99)
    kinds = setting.pick(full=10_000, quick=10_000, tiny=100)
    unseen = numbers()  # a type is cold once in a process, so no two runs share one

    def warm(subscriptions: int) -> float:
        return asyncio.run(microseconds_an_event(subscriptions, [TYPE] * events))

    def cold(subscriptions: int) -> float:
        types = [f"optimization.stage_{next(unseen)}" for _ in range(kinds)]
        return asyncio.run(microseconds_an_event(subscriptions, types))

    return Question(
        title="100,000 subscriptions of which 1 matches; and 10,000 event types never seen before",
        contestants=(
            single(ONE, "µs/event", lambda: warm(0), "limit"),
            single(MANY, "µs/event", lambda: warm(others)),
            single(ONE_COLD, "µs/event", lambda: cold(0), "beside"),
            single(MANY_COLD, "µs/event", lambda: cold(others)),
        ),
        targets=(
            Target("at most 1.1 times the cost of 1 subscription", MANY, ONE, at_most=1.1),
            Target("(the cold types, 100,000 subscriptions: for orientation)", MANY_COLD, ONE),
            Target("(the cold types, 1 subscription: for orientation)", ONE_COLD, ONE),
        ),
        notes=f"Memory store, where no disk hides the difference. Half of the {others:,} others are exact types, half "
        f"prefixes, all different. Cold: {kinds:,} events, each of a type never seen before.",
    )


async def microseconds_an_event(others: int, types: Sequence[str]) -> float:
    """Publish to handled, for each event, beside so many subscriptions that match nothing."""
    handled = Handled(len(types))
    async with opened(None) as bus:
        for number in range(others):
            bus.subscribe(f"vm_lifecycle.vm_{number}.{'*' if number % 2 else 'started'}")
        bus.subscribe(PATTERN, handled.handle)
        gc.collect()
        start = perf_counter()
        for type_, payload in zip(types, payloads(len(types)), strict=True):
            await bus.publish(type_, payload, ack="accepted")
        await handled.all_handled.wait()
        return (perf_counter() - start) / len(types) * 1e6
