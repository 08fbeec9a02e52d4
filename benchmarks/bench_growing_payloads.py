"""What larger payloads cost, beside inserting as much into SQLite by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from benchmarks import raw
from benchmarks.harness import Contestant, Question, Role, Setting, Size, Target
from benchmarks.ours import all_to_handled
from benchmarks.workload import TYPE, Handled, Readable

SIZES = (10, 100, 1_000, 10_000, 100_000)
OURS, LIMIT = "asyncbus", "executemany, reference schema"
RATE, VOLUME = "events", "megabytes"

_BYTES_A_COMMIT = 8_000_000
_AROUND = len('{"a":""}')


class Decoded(Handled):
    """Counts events whose data was decoded, whatever is in it."""

    async def handle(self, event: Readable) -> None:
        """The handler: what it reads is there in every size."""
        event.data["a"]
        self.counted()


def question(setting: Setting) -> Question:
    sizes = {Size.FULL: SIZES, Size.QUICK: SIZES, Size.TINY: SIZES[:3]}[setting.size]
    volume = setting.pick(full=40_000_000, quick=8_000_000, tiny=20_000)
    most = setting.pick(full=100_000, quick=20_000, tiny=50)

    def count(size: int) -> int:
        return max(2, min(most, volume // size))

    def ours(size: int) -> float:
        events = [(TYPE, {"a": "x" * (size - _AROUND)})] * count(size)
        return asyncio.run(all_to_handled(setting.fresh("ours"), events, Decoded(len(events))))

    def limit(size: int) -> float:
        table = raw.reference([f'{{"a":"{"x" * (size - _AROUND)}"}}'])
        rows = min(raw.ROWS_A_COMMIT, count(size), max(1, _BYTES_A_COMMIT // size))
        return raw.insert_rate(setting.fresh("raw"), table, count(size), rows_a_commit=rows)

    return Question(
        title="payloads of 10 B to 100 kB: publish to handled, SQLite FULL",
        contestants=[
            contestant
            for size in sizes
            for contestant in (
                _both(OURS, size, partial(ours, size), "ours"),
                _both(LIMIT, size, partial(limit, size), "limit"),
            )
        ],
        targets=[
            Target(f"({size:,} B: for orientation)", figure(OURS, RATE, size), figure(LIMIT, RATE, size))
            for size in sizes
        ],
        notes=f"{count(sizes[0]):,} events a round, fewer where they are large: {volume / 1e6:g} MB at most. JSON of "
        "one string, decoded by the handler. The limit commits 4,096 rows at a time, or 8 MB where that is less.",
    )


def figure(who: str, what: str, size: int) -> str:
    """The name of a figure."""
    return f"{who}, {size:,} B, {what}"


def _both(who: str, size: int, run: Callable[[], float], role: Role) -> Contestant:
    """Events a second, and what that is in megabytes of data."""

    def measure() -> tuple[float, float]:
        rate = run()
        return rate, rate * size / 1e6

    return Contestant({figure(who, RATE, size): "events/s", figure(who, VOLUME, size): "MB/s"}, measure, role)
