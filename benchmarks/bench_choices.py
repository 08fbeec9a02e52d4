"""What single choices of the design are worth, with one of them undone at a time; and what one wait costs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import aiosqlite

from asyncbus.store import statements
from asyncbus.store.connection import Connection
from asyncbus.store.gil import GilYielder
from benchmarks.bench_busy_loop import beside_a_computation
from benchmarks.harness import Contestant, Question, Setting, single
from benchmarks.ours import accepted_to_handled, opened
from benchmarks.workload import TYPE, payloads

AS_BUILT = "as built: one statement for up to 4,096 events"
BATCHES = {2048: "batches of at most 2,048", 1024: "batches of at most 1,024", 256: "batches of at most 256"}
BY_ROW = "a statement an event, in one transaction a batch"
BUSY = "beside a loop that computes, as built"
BUSY_BY_ROW = "beside it, a statement an event"
BUSY_KEPT = "beside it, the GIL never given up"
TURN = "one turn of the loop"
HOP = "one aiosqlite call"

_WAITS = 2_000


def question(setting: Setting) -> Question:
    count = setting.pick(full=200_000, quick=40_000, tiny=300)
    tenths = setting.pick(full=30, quick=10, tiny=1)

    def piped(name: str, **undone: Any) -> Contestant:
        def run() -> float:
            with without(**undone):
                return asyncio.run(accepted_to_handled(setting.fresh("pipe"), count))

        return single(name, "events/s", run, "beside" if undone else "ours")

    def beside(name: str, **undone: Any) -> Contestant:
        def run() -> float:
            with without(**undone):
                return asyncio.run(stored_beside(setting.fresh("busy"), tenths / 10))

        return single(name, "events/s", run, "beside" if undone else "ours")

    return Question(
        title="what single choices of the design are worth, and what one wait costs",
        contestants=(
            piped(AS_BUILT),
            *(piped(name, batch_limit=limit) for limit, name in BATCHES.items()),
            piped(BY_ROW, one_statement=False),
            beside(BUSY),
            beside(BUSY_BY_ROW, one_statement=False),
            beside(BUSY_KEPT, giving_up=False),
            single(TURN, "µs", lambda: asyncio.run(one_turn()), "beside"),
            single(HOP, "µs", lambda: asyncio.run(one_hop()), "beside"),
        ),
        targets=(),
        notes="The pipe is that of the first question, the loop that computes that of `busy_loop`: there it is counted "
        f"what is stored within {tenths / 10:g} s.",
    )


@contextmanager
def without(
    *, batch_limit: int = statements.BATCH_LIMIT, one_statement: bool = True, giving_up: bool = True
) -> Iterator[None]:
    """The library with a choice undone, for as long as this is held."""
    with ExitStack() as undone:
        undone.enter_context(patch.object(statements, "BATCH_LIMIT", batch_limit))
        if not one_statement:
            undone.enter_context(patch.object(Connection, "insert", _insert_by_row))
        if not giving_up:
            undone.enter_context(patch.object(GilYielder, "give_up", lambda self: None))
        yield


async def _insert_by_row(self: Connection, sql: str, bound: Sequence[Any]) -> int:
    """As `Connection.insert`, with `executemany` in a transaction of its own."""
    recorded_at, *values = bound
    rows = [(recorded_at, *values[at : at + 4]) for at in range(0, len(values), 4) if values[at] is not None]
    sql = "INSERT INTO events (recorded_at, time, type, data, checksum) VALUES (?, ?, ?, ?, ?)"
    async with self.transaction():
        with self._gil:
            await self._connection.executemany(sql, rows)
    [(last,)] = await self.rows("SELECT last_insert_rowid()")
    return int(last)


async def stored_beside(path: Path, seconds: float) -> float:
    """Events a second that are stored within so many seconds, while a task computes on the loop."""
    async with opened(path) as bus, beside_a_computation(busy=True):
        start = perf_counter()
        for payload in cycle(payloads(1000)):
            await bus.publish(TYPE, payload, ack="accepted")
            if perf_counter() - start > seconds:
                break
        return bus.statistics().stored / (perf_counter() - start)


async def one_turn() -> float:
    """Microseconds from one turn of an idle loop to the next."""
    start = perf_counter()
    for _ in range(_WAITS):
        await asyncio.sleep(0)
    return (perf_counter() - start) / _WAITS * 1e6


async def one_hop() -> float:
    """Microseconds of a call that does next to nothing on the SQLite thread."""
    async with aiosqlite.connect(":memory:") as connection:
        start = perf_counter()
        for _ in range(_WAITS):
            await connection.execute("SELECT 1")
        return (perf_counter() - start) / _WAITS * 1e6
