"""The whole pipe: publish, commit durably, deliver, handle; beside raw inserting and beside bubus."""

from __future__ import annotations

import asyncio
import importlib
import os
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from benchmarks import raw
from benchmarks.harness import Question, Setting, Target, UnavailableError, single
from benchmarks.ours import accepted_to_handled, filled
from benchmarks.workload import payloads

OURS = "asyncbus, async handler"
PLAIN = "asyncbus, plain handler"
LIMIT = "executemany, reference schema"
SHIPPED = "executemany, schema as shipped"
BARE = "executemany, bare two-column table"
BUBUS = "bubus, default history of 50"
BUBUS_TUNED = "bubus, history of 5"
BUBUS_LOG = "bubus, default history, with its log file"

_DEADLINE = 60
"""Seconds that bubus is given: its `wait_until_idle` did not return in every trial, so its events are counted."""


def question(setting: Setting) -> Question:
    count = setting.pick(full=300_000, quick=40_000, tiny=300)
    few = setting.pick(full=1_500, quick=500, tiny=50)
    sample = setting.directory / "sample.db"
    log_file = setting.directory / "bubus.jsonl"

    def ours(*, plain: bool) -> float:
        return asyncio.run(accepted_to_handled(setting.fresh("ours"), count, plain=plain))

    def limit(table: raw.Table) -> float:
        return raw.insert_rate(setting.fresh("raw"), table, count)

    def bubus(history: int, log: Path | None = None) -> float:
        return asyncio.run(bubus_to_handled(few, history, log))

    rate = "events/s"
    return Question(
        title='publish with `ack="accepted"`, 90-byte JSON, one pattern subscriber with a handler, SQLite FULL: '
        "publish to handled",
        contestants=(
            single(OURS, rate, lambda: ours(plain=False)),
            single(PLAIN, rate, lambda: ours(plain=True), "beside"),
            single(LIMIT, rate, lambda: limit(raw.REFERENCE), "limit"),
            single(SHIPPED, rate, lambda: limit(raw.shipped(sample)), "beside"),
            single(BARE, rate, lambda: limit(raw.BARE), "beside"),
            single(BUBUS, rate, lambda: bubus(50), "peer"),
            single(BUBUS_TUNED, rate, lambda: bubus(5), "beside"),
            single(BUBUS_LOG, rate, lambda: bubus(50, log_file), "beside"),
        ),
        targets=(
            Target("at least 0.6 of raw `executemany`, 4,096 rows a commit, FULL", OURS, LIMIT, at_least=0.6),
            Target("at least 200 times bubus's rate", OURS, BUBUS, at_least=200),
            Target("(bubus tuned by a history of 5: for orientation)", OURS, BUBUS_TUNED),
            Target("(of raw `executemany` into the schema as shipped: for orientation)", OURS, SHIPPED),
        ),
        prepare=lambda: filled(sample, 1),
        notes=f"bubus ran {few:,} events a round, dispatched in lots of as many as its history holds, the fastest way "
        "found with its limit of 100 pending events; nothing is stored, except in its log file where that is said.",
    )


async def bubus_to_handled(count: int, history: int, log: Path | None) -> float:
    """Events a second from the first dispatch to the last event handled."""
    bubus = _bubus()
    event_class: Any = type(
        "StageCompleted",
        (bubus.BaseEvent,),
        {
            "__annotations__": {
                "stage_name": str,
                "execution_time_ms": int,
                "memory_usage_mb": float,
                "success": bool,
            },
            "__module__": __name__,
        },
    )
    bus = bubus.EventBus(max_history_size=history, wal_path=log)
    handled = 0
    all_handled = asyncio.Event()

    async def handle(event: Any) -> None:
        nonlocal handled
        event.execution_time_ms  # noqa: B018 - reading it is what the handler does
        handled += 1
        if handled == count:
            all_handled.set()

    bus.on(event_class, handle)
    try:
        async with asyncio.timeout(_DEADLINE):
            start = perf_counter()
            lot: list[Any] = []
            for payload in payloads(count):
                lot.append(bus.dispatch(event_class(**payload)))
                if len(lot) == history:
                    for event in lot:
                        await event
                    lot.clear()
            await all_handled.wait()
            return count / (perf_counter() - start)
    finally:
        await bus.stop(timeout=0, clear=True)


def _bubus() -> ModuleType:
    # It reads this once, at its import: its log of every event would be most of what is measured.
    os.environ["BUBUS_LOGGING_LEVEL"] = "CRITICAL"
    try:
        return importlib.import_module("bubus")
    except ImportError as error:
        raise UnavailableError(str(error)) from error
