"""Whether a whole log is checked in the time one is willing to wait."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from time import perf_counter

import asyncbus
from benchmarks.harness import Question, Setting, Target, single
from benchmarks.ours import filled

OURS = "asyncbus.verify"
SQLITE = "SQLite's own check alone, which sees no flipped bit in an event"


def question(setting: Setting) -> Question:
    count = setting.pick(full=1_000_000, quick=100_000, tiny=2_000)
    log = setting.directory / "verified.db"

    return Question(
        title="verify a log of 1,000,000 events",
        contestants=(
            single(OURS, "s", lambda: verified(log, count)),
            single(SQLITE, "s", lambda: checked(log), "beside"),
        ),
        targets=(Target("in under 3 s", OURS, at_most=3),),
        prepare=lambda: filled(log, count),
        notes=f"{count:,} events of 90 bytes, in the page cache: their checksums, order and density, the indexes, the "
        "tables, the head, and SQLite's own structure.",
    )


def verified(log: Path, expected: int) -> float:
    """Seconds for a sound log."""
    start = perf_counter()
    found = asyncbus.verify(log)
    seconds = perf_counter() - start
    assert found.sound, str(found)
    assert found.events == expected, f"{found.events} of {expected}"
    return seconds


def checked(log: Path) -> float:
    """Seconds that `PRAGMA integrity_check` takes."""
    with closing(sqlite3.connect(log)) as connection:
        start = perf_counter()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return perf_counter() - start
