"""What an emulator pays for telling everything it does: the demo's, with the bus and with a hook that does nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness import Question, Setting, Target, single
from benchmarks.ours import opened
from benchmarks.peers import imported

NOTHING = "a hook that does nothing"
KEPT = "a hook that appends to a deque"
ALONE = "asyncbus, nobody subscribes"
WHOLE = "asyncbus, the demo's four subscribers"


def question(setting: Setting) -> Question:
    limit = setting.pick(full=50_000, quick=10_000, tiny=200)

    return Question(
        title="the demo's x86-64 emulator, publishing every basic block from its own thread: time an event; FULL",
        contestants=(
            single(NOTHING, "µs/event", lambda: hooked(limit, _nothing), "limit"),
            single(KEPT, "µs/event", lambda: hooked(limit, _keeping()), "beside"),
            single(ALONE, "µs/event", lambda: asyncio.run(published(setting.fresh("alone"), limit)), "beside"),
            single(WHOLE, "µs/event", lambda: asyncio.run(demonstrated(setting.fresh("whole"), limit))),
        ),
        targets=(
            Target("(times a hook that does nothing: for orientation)", WHOLE, NOTHING),
            Target("(the same, nobody subscribed: for orientation)", ALONE, NOTHING),
            Target("(what a hook pays that only keeps the event: for orientation)", KEPT, NOTHING),
        ),
        notes=f"The sieve up to {limit:,} on the Unicorn engine; a call of the hook takes the type and a dict made for "
        "it, whatever becomes of them. With the bus: until everything is stored. The four subscribers are two handlers "
        "of few events, one of every event that is kept slow until the guest has halted, and one that comes half-way "
        "and replays from the first event; they share the interpreter with the emulator.",
    )


def hooked(limit: int, hook: Callable[[Any], object]) -> float:
    """Microseconds an event, with this hook."""
    machine = _machine(hook, limit)
    start = perf_counter()
    machine.run()
    return _each(perf_counter() - start, machine)


async def published(path: Path, limit: int) -> float:
    """Microseconds an event, published from the emulator's thread until all is stored."""
    async with opened(path) as bus:
        machine = _machine(bus.publish_from_thread, limit)
        start = perf_counter()
        await asyncio.to_thread(machine.run)
        await bus.flush()
        return _each(perf_counter() - start, machine)


async def demonstrated(path: Path, limit: int) -> float:
    """Microseconds an event of the demo itself, until the guest has halted and all is stored."""
    demo, display = imported("examples.emulator.run"), imported("examples.emulator.display")
    async with opened(path) as bus:
        outcome = await demo.run(bus, display.PlainDisplay(StringIO()), limit=limit)
        return _each(outcome.publishing_seconds, outcome.machine)


def _machine(hook: Callable[[Any], object], limit: int) -> Any:
    return imported("examples.emulator.machine").Machine(hook, limit=limit)


def _each(seconds: float, machine: Any) -> float:
    return seconds / float(machine.published().total()) * 1e6


def _nothing(event: object) -> None:
    """The hook that does nothing."""


def _keeping() -> Callable[[Any], object]:
    kept: deque[object] = deque()
    return kept.append
