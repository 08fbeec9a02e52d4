"""How fast history comes back, beside reading the same rows with nothing but sqlite3."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

from benchmarks import raw
from benchmarks.harness import Question, Setting, Target, single
from benchmarks.ours import filled, opened

OURS = "asyncbus replay, not reading the data"
OURS_READING = "asyncbus replay, reading the data"
CAUGHT_UP = 'asyncbus subscribe(start="earliest"), reading the data'
LIMIT = "fetchall"
LIMIT_DECODING = "fetchall and decode"
PAGED = "fetchall, 4,096 rows at a time"
PAGED_DECODING = "fetchall and decode, 4,096 rows at a time"

_PAGE = 4096


def question(setting: Setting) -> Question:
    count = setting.pick(full=1_000_000, quick=100_000, tiny=300)
    log = setting.directory / "history.db"

    return Question(
        title="replay of 1,000,000 events, not reading / reading the data",
        contestants=(
            single(OURS, "events/s", lambda: asyncio.run(replayed(log, count, read=False))),
            single(LIMIT, "events/s", lambda: raw.read_rate(log, decode=False), "limit"),
            single(OURS_READING, "events/s", lambda: asyncio.run(replayed(log, count, read=True))),
            single(LIMIT_DECODING, "events/s", lambda: raw.read_rate(log, decode=True), "limit"),
            single(PAGED, "events/s", lambda: raw.read_rate(log, decode=False, page=_PAGE), "beside"),
            single(PAGED_DECODING, "events/s", lambda: raw.read_rate(log, decode=True, page=_PAGE), "beside"),
            single(CAUGHT_UP, "events/s", lambda: asyncio.run(caught_up(log, count)), "beside"),
        ),
        targets=(
            Target("not reading: at least 0.6 of raw `fetchall` of the same columns", OURS, LIMIT, at_least=0.6),
            Target("reading: at least 0.5 of `fetchall` and decode", OURS_READING, LIMIT_DECODING, at_least=0.5),
            Target("(not reading, of `fetchall` by pages: for orientation)", OURS, PAGED),
            Target("(reading, of `fetchall` by pages and decode: for orientation)", OURS_READING, PAGED_DECODING),
        ),
        prepare=lambda: filled(log, count),
        notes="`fetchall` of a million rows at once spends much of its time on the memory for them; by pages it is "
        "faster, which is shown beside it.",
    )


async def replayed(log: Path, count: int, *, read: bool) -> float:
    """Events a second of a whole replay, from the call to its end."""
    seen = 0
    async with opened(log) as bus:
        start = perf_counter()
        if read:
            async for event in bus.replay():
                event.data["execution_time_ms"]
                seen += 1
        else:
            async for _ in bus.replay():
                seen += 1
        seconds = perf_counter() - start
    assert seen == count, f"replayed {seen} of {count}"
    return count / seconds


async def caught_up(log: Path, count: int) -> float:
    """Events a second of a subscription that starts at the earliest event, until it has them all."""
    async with opened(log) as bus:
        start = perf_counter()
        seen = 0
        async with bus.subscribe("*", start="earliest") as events:
            async for event in events:
                event.data["execution_time_ms"]
                seen += 1
                if seen == count:
                    break
        return count / (perf_counter() - start)
