"""The process that `crash_states` traces: carries out a plan and notes, between the system calls, what it was told.

`python -m tests.reliability.crash_states_child FOLDER MARKS SEED RUN SYNCHRONOUS FAULT`. A note is a line of JSON
written to the file MARKS: "begins" (numbers of operations), "stored" (one that was acknowledged), "opened" (what the
log was found to hold).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import msgspec

from asyncbus import EventBus, SQLiteStore
from asyncbus.store import checkpoints
from tests.reliability.crash_states_plan import Act, Operation, Synchronous, events_of, plan


class Worker:
    """Carries out the acts of one session."""

    def __init__(self, bus: EventBus, path: Path, seed: int, marks: int) -> None:
        self._bus = bus
        self._path = path
        self._seed = seed
        self._marks = marks
        self._pin = ExitStack()

    def note(self, **what: Any) -> None:
        os.write(self._marks, msgspec.json.encode(what))

    async def note_opened(self) -> None:
        head = await self._bus.latest_sequence()
        first = await self._bus.query(limit=1)
        self.note(opened=head, floor=first[0].sequence - 1 if first else head)

    async def carry_out(self, act: Act) -> None:
        if act.operations:
            self.note(begins=[operation.number for operation in act.operations])
        if act.kind == "beside":
            await asyncio.gather(*map(self._publish, act.operations))
        for operation in act.operations if act.kind in ("together", "clear") else ():
            await (self._publish_many(operation) if operation.events else self._clear(operation))
        if act.kind in ("pin", "unpin"):
            self._pin.close()
        if act.kind == "pin":
            reader = self._pin.enter_context(closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)))
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()

    async def _publish(self, operation: Operation) -> None:
        [event] = events_of(self._seed, operation)
        receipt = await self._bus.publish(event.type, event.data, id=event.id, key=event.key)
        self.note(stored=operation.number, sequence=receipt.sequence)

    async def _publish_many(self, operation: Operation) -> None:
        receipts = await self._bus.publish_many(events_of(self._seed, operation))
        self.note(stored=operation.number, sequence=receipts[-1].sequence)

    async def _clear(self, operation: Operation) -> None:
        await self._bus.clear()
        self.note(stored=operation.number, sequence=await self._bus.latest_sequence())

    def close(self) -> None:
        self._pin.close()


async def break_it(store: SQLiteStore, fault: str) -> None:
    """Break a promise on purpose, for the controls."""
    if fault == "never syncs":
        await store._writer.rows("PRAGMA synchronous = OFF")
    elif fault == "watermark ahead":
        move = store._checkpointer.move

        async def always_all() -> bool:
            await move()
            return True

        store._checkpointer.move = always_all  # type: ignore[method-assign]


async def main(*arguments: str) -> None:
    folder, marks, seed, run, synchronous, fault = arguments
    path = Path(folder, "log.db")
    descriptor = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    todo = plan(int(seed), int(run))
    checkpoints.CHECKPOINT_PAGES = todo.checkpoint_pages  # type: ignore[misc]  # so that there are many
    for acts in todo.sessions:
        store = SQLiteStore(path, synchronous=cast("Synchronous", synchronous))
        bus = EventBus(store)
        worker = Worker(bus, path, int(seed), descriptor)
        # A reader that still holds its pin when the log is closed keeps SQLite from folding the -wal file in.
        with closing(worker):
            async with bus:
                await break_it(store, fault)
                await worker.note_opened()
                for act in acts:
                    await worker.carry_out(act)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
