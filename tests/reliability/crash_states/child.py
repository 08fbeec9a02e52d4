"""The process that `crash_states` traces: carries out a plan and notes, between the system calls, what it was told.

`python -m tests.reliability.crash_states.child FOLDER MARKS SEED RUN SYNCHRONOUS FAULT`. A note is a line of JSON
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
from tests.reliability.broken import CarelessStore, HeedlessStore
from tests.reliability.crash_states.plan import Act, Operation, Synchronous, events_of, plan

STORES = {"none": SQLiteStore, "never syncs": CarelessStore, "watermark ahead": HeedlessStore}
"""Fault → a store that has it."""


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
        match act.kind:
            case "beside":
                await asyncio.gather(*map(self._publish, act.operations))
            case "together":
                for operation in act.operations:
                    await self._publish_many(operation)
            case "clear":
                for operation in act.operations:
                    await self._clear(operation)
            case "pin":
                self._pin_now()
            case "unpin":
                self._pin.close()

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

    def _pin_now(self) -> None:
        """Begin a transaction that reads, in place of the one that was begun before."""
        self._pin.close()
        reader = self._pin.enter_context(closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()

    def close(self) -> None:
        self._pin.close()


async def main(*arguments: str) -> None:
    folder, marks, seed, run, synchronous, fault = arguments
    path = Path(folder, "log.db")
    descriptor = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    todo = plan(int(seed), int(run))
    checkpoints.CHECKPOINT_PAGES = todo.checkpoint_pages  # type: ignore[misc]  # so that there are many
    for acts in todo.sessions:
        store = STORES[fault](path, synchronous=cast("Synchronous", synchronous))
        bus = EventBus(store)
        worker = Worker(bus, path, int(seed), descriptor)
        # A reader that still holds its pin when the log is closed keeps SQLite from folding the -wal file in.
        with closing(worker):
            async with bus:
                await worker.note_opened()
                for act in acts:
                    await worker.carry_out(act)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
