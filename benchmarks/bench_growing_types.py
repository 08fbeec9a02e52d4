"""Whether event types slow the pipe down as they grow in number."""

from __future__ import annotations

import asyncio
from functools import partial

from benchmarks.harness import Question, Setting, Size, growth, single
from benchmarks.ours import all_to_handled
from benchmarks.workload import Handled, payloads

SIZES = (1, 10, 100, 1_000, 10_000)


def question(setting: Setting) -> Question:
    sizes = {Size.FULL: SIZES, Size.QUICK: SIZES, Size.TINY: (1, 10)}[setting.size]
    count = setting.pick(full=100_000, quick=20_000, tiny=100)

    def run(types: int) -> float:
        events = [(f"optimization.stage_{number % types}", payload) for number, payload in enumerate(payloads(count))]
        return asyncio.run(all_to_handled(setting.fresh("types"), events, Handled(count)))

    return Question(
        title=f"{sizes[0]:,} to {sizes[-1]:,} event types in turn: publish to handled, SQLite FULL",
        contestants=[single(figure(size), "events/s", partial(run, size)) for size in sizes],
        targets=(growth("the most types to the fewest", figure, sizes),),
        notes=f"{count:,} events a round, of one pattern, which one subscriber with a handler takes. With one "
        "type, runs of events with the same receivers are handed on together, and so they are where types alternate "
        "but the receivers do not.",
    )


def figure(size: int) -> str:
    """The name of a figure."""
    return f"{size:,} event type{'s' if size > 1 else ''}"
