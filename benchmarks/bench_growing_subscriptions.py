"""What an event costs, and what subscribing costs, as subscriptions grow in number of which one matches."""

from __future__ import annotations

import asyncio
import gc
from functools import partial
from time import perf_counter

from benchmarks.harness import Contestant, Question, Setting, Size, growth
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
EVENT, SUBSCRIBING = "an event", "subscribing"


def question(setting: Setting) -> Question:
    sizes = {Size.FULL: SIZES, Size.QUICK: SIZES[:5], Size.TINY: (1, 10)}[setting.size]
    count = setting.pick(full=50_000, quick=10_000, tiny=100)

    return Question(
        title=f"{sizes[0]:,} to {sizes[-1]:,} subscriptions of which 1 matches: an event, and subscribing",
        contestants=[
            Contestant({figure(EVENT, size): "µs", figure(SUBSCRIBING, size): "µs"}, partial(_run, size, count))
            for size in sizes
        ],
        targets=[
            growth(f"{what}, with the most subscriptions to the fewest", partial(figure, what), sizes)
            for what in (EVENT, SUBSCRIBING)
        ],
        notes=f"Memory store, {count:,} events, publish to handled. Half of the others are exact types, half prefixes, "
        "all different; subscribing is the mean over all of them.",
    )


def figure(what: str, size: int) -> str:
    """The name of a figure."""
    return f"{what}, {size:,} subscription{'s' if size > 1 else ''}"


def _run(subscriptions: int, count: int) -> tuple[float, float]:
    return asyncio.run(microseconds(subscriptions, count))


async def microseconds(subscriptions: int, count: int) -> tuple[float, float]:
    """Microseconds an event, publish to handled, and a call of `subscribe`."""
    handled = Handled(count)
    async with opened(None) as bus:
        await bus.subscribe(PATTERN).close()  # whatever the first one of all makes is not what one costs
        gc.collect()
        start = perf_counter()
        for number in range(1, subscriptions):
            bus.subscribe(f"vm_lifecycle.vm_{number}.{'*' if number % 2 else 'started'}")
        bus.subscribe(PATTERN, handled.handle)
        subscribing = (perf_counter() - start) / subscriptions
        gc.collect()
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload, ack="accepted")
        await handled.all_handled.wait()
        return (perf_counter() - start) / count * 1e6, subscribing * 1e6
