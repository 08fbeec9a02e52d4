"""Whether a few events are found in a large log without reading the rest of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import perf_counter

import asyncbus
from benchmarks.harness import Contestant, Question, Setting, Target, UnavailableError
from benchmarks.ours import filled, opened

FIRST = "warm, first event"
WHOLE = "warm, whole"
COLD_FIRST = "cold, first event"
COLD_WHOLE = "cold, whole"
ALONE = "a log that holds nothing else, whole"

_EVERY = 1000
_RARE = ("tlb.entry_evicted", "tlb.entry_flushed", "tlb.flush_all", "tlb.flush_asid")
_COMMON = (
    "execution.block_executed",
    "execution.context_scheduled",
    "optimization.cache_hit",
    "optimization.cache_miss",
    "optimization.stage_completed",
    "page_table.page_fault",
    "translation.translation_planned",
    "vm_lifecycle.state_transition",
)


def question(setting: Setting) -> Question:
    count = setting.pick(full=5_000_000, quick=200_000, tiny=3_000)
    rare = count // _EVERY
    log, alone = setting.directory / "large.db", setting.directory / "alone.db"

    def prepare() -> None:
        filled(log, count, type_in_the_large_log)
        filled(alone, rare, lambda number: _RARE[number % len(_RARE)])

    return Question(
        title="replay of a pattern that matches 0.1 % of 5,000,000 events, warm",
        contestants=(
            Contestant({FIRST: "ms", WHOLE: "ms"}, lambda: asyncio.run(replayed_warm(log, rare))),
            Contestant({ALONE: "ms"}, lambda: asyncio.run(replayed_warm(alone, rare))[1:], "limit"),
            Contestant({COLD_FIRST: "ms", COLD_WHOLE: "ms"}, lambda: cold(log, rare), "beside"),
        ),
        targets=(
            Target("first event within 10 ms", FIRST, at_most=10),
            Target(
                "whole at most 3 times reading as many rows from a log that holds nothing else",
                WHOLE,
                ALONE,
                at_most=3,
            ),
            Target("(cold, first event: for orientation)", COLD_FIRST),
            Target("(cold, whole: for orientation)", COLD_WHOLE, ALONE),
        ),
        prepare=prepare,
        notes=f"{rare:,} events of `tlb.*` in 4 types, one every {_EVERY:,}, among 8 other types. Warm: replayed once "
        "before on the same bus. Cold: a bus just opened, and the file dropped from the system's page cache.",
    )


def type_in_the_large_log(number: int) -> str:
    """One of the rare types for every thousandth event, and one of the common ones for the others."""
    if number % _EVERY == _EVERY // 2:
        return _RARE[number // _EVERY % len(_RARE)]
    return _COMMON[number % len(_COMMON)]


async def replayed_warm(log: Path, expected: int) -> tuple[float, float]:
    """Milliseconds to the first event and to the end, of the second replay on a bus."""
    async with opened(log) as bus:
        await replayed(bus, expected)
        return await replayed(bus, expected)


async def replayed_at_once(log: Path, expected: int) -> tuple[float, float]:
    """Milliseconds to the first event and to the end, of the first replay on a bus."""
    async with opened(log) as bus:
        return await replayed(bus, expected)


async def replayed(bus: asyncbus.EventBus, expected: int) -> tuple[float, float]:
    """Milliseconds from the call to the first event, and to the end."""
    seen = 0
    first = 0.0
    start = perf_counter()
    async for event in bus.replay("tlb.*"):
        event.data["execution_time_ms"]
        if not seen:
            first = perf_counter() - start
        seen += 1
    whole = perf_counter() - start
    assert seen == expected, f"replayed {seen} of {expected}"
    return first * 1e3, whole * 1e3


def cold(log: Path, expected: int) -> tuple[float, float]:
    """The same without anything in memory: no process has the file open while the system is told to forget it."""
    if not hasattr(os, "posix_fadvise"):
        raise UnavailableError("this system cannot be told to forget a file")
    with log.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return asyncio.run(replayed_at_once(log, expected))
