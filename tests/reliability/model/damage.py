"""Damage to the file of a log, and what must be told of it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from asyncbus import (
    Event,
    EventBus,
    SQLiteStore,
    StoreCorruptError,
    StoreTruncatedError,
)
from tests.reliability.model.log import same, same_events, told
from tests.reliability.model.stage import Stage
from tests.reliability.trials import Violation

COLUMNS: Final = ("recorded_at", "time", "type", "data", "checksum", "id", "key", "metadata")
"""Of a row, those in which a bit may flip; another sequence is a missing event, which is another matter."""


async def flip_a_bit(stage: Stage, which: int, column: str, bit: int) -> None:
    """Flip a bit of one stored event, see that this event is told by all who want it and harms no others; mend it."""
    await stage.close()
    events = stage.log.retained()
    if not events:  # a `clear` waited for a reader that blocked, until the bus was closed
        await stage.open()
        return
    bad = events[which % len(events)].sequence
    mended = _flip(stage.path, bad, column, bit)
    stage.figures["flipped bits"] += mended is not None
    await stage.open()
    if mended is not None:
        await _compare_damaged(stage, bad)
        await stage.close()
        _write(stage.path, bad, column, mended)
        await stage.open()
    await stage.compare_all()


async def _compare_damaged(stage: Stage, bad: int) -> None:
    before = [event for event in stage.log.retained() if event.sequence < bad]
    after = [event for event in stage.log.retained() if event.sequence > bad]
    bus = stage.bus
    for reader in (bus.replay(), bus.subscribe("*", start="earliest")):
        found: list[Event] = []
        try:
            async for event in reader:
                found.append(event)  # noqa: PERF401  # what came before an error is to be kept
        except StoreCorruptError as error:
            same(error.sequence, bad, "the event that is said to be damaged")
            same_events(found, before, "read before the damage")
        else:
            raise Violation(f"event {bad} is damaged, and nobody was told")
    same_events([event async for event in bus.replay(start=bad + 1)], after, "read after the damage")
    same_events(await bus.query(start=bad + 1, limit=None), after, "found after the damage")
    try:
        await bus.query(limit=None)
    except StoreCorruptError as error:
        same(error.sequence, bad, "the event that a query says is damaged")
    else:
        raise Violation(f"event {bad} is damaged, and the query that found it says nothing")


def _flip(path: Path, sequence: int, column: str, bit: int) -> Any:
    """Flip a bit and return the value that was there; None: nothing was, or the flipped one cannot be there."""
    with closing(sqlite3.connect(path)) as database, database:
        row = database.execute(f"SELECT {column}, CAST({column} AS BLOB) FROM events WHERE sequence = ?", (sequence,))
        value, encoded = row.fetchone()
        if value is None or (not isinstance(value, int) and not encoded):
            return None
        if isinstance(value, int):
            flipped: Any = value ^ (1 << bit % 62)
            changed = database.execute(f"UPDATE events SET {column} = ? WHERE sequence = ?", (flipped, sequence))
        else:
            place, offset = divmod(bit % (len(encoded) * 8), 8)
            flipped = encoded[:place] + bytes([encoded[place] ^ 1 << offset]) + encoded[place + 1 :]
            kind = "TEXT" if isinstance(value, str) else "BLOB"
            changed = database.execute(
                f"UPDATE OR IGNORE events SET {column} = CAST(? AS {kind}) WHERE sequence = ?", (flipped, sequence)
            )
        return value if changed.rowcount else None


def _write(path: Path, sequence: int, column: str, value: Any) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE events SET {column} = ? WHERE sequence = ?", (value, sequence))


async def cut_the_wal(stage: Stage, part: int, *, read_only: bool) -> None:
    """Copy the open log, cut the copy's write-ahead log to a part (of 100), and open it.

    Whatever the copy holds was stored; if some of the end is missing it says so, as far as the watermark can know.
    """
    copy = stage.path.with_name("copy") / stage.path.name
    copy.parent.mkdir()
    try:
        for name in ("", "-wal", "-watermark"):
            # Other files than SQLite's own may be read beside it in a process that has nobody else to lock out.
            shutil.copy(f"{stage.path}{name}", f"{copy}{name}")
        wal = Path(f"{copy}-wal")
        wal.write_bytes(wal.read_bytes()[: wal.stat().st_size * part // 100])
        await _open_copy(stage, copy, read_only=read_only)
    finally:
        shutil.rmtree(copy.parent)


async def _open_copy(stage: Stage, copy: Path, *, read_only: bool) -> None:
    try:
        async with EventBus(SQLiteStore(copy, read_only=read_only)) as bus:
            head = await bus.latest_sequence()
            found = await bus.query(limit=None)
    except StoreTruncatedError as error:
        same(error.expected, stage.log.head, "the head that the watermark knows")
        if not error.found < stage.log.head:
            raise Violation(f"nothing is missing, and yet: {error}") from None
        stage.figures["lost tails"] += 1
        return
    for event in found:
        same(told(event), stage.log.ever[event.sequence], "an event of a log whose tail is lost")
    same([event.sequence for event in found], list(range(head - len(found) + 1, head + 1)), "the log without its tail")
    if stage.world.kind == "sqlite":
        same(head, stage.log.head, "the head of a log that says nothing of a lost tail")
