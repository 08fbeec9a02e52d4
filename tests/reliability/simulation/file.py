"""The store of files in a simulated scene: all of it but the threads, which are lanes of the loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import aiosqlite.core
import anyio.to_thread
from msgspec.structs import replace

from asyncbus import Appended, Features, ParkedFilter, Record, SQLiteStore
from asyncbus.store.consumers import Change
from asyncbus.store.gil import GilYielder
from tests.reliability.simulation.disk import Faults, Lane, Ledger, Row
from tests.reliability.simulation.loop import SimulatedLoop

_NEW = (
    "SELECT sequence, type, data, recorded_at, id, key, causation_id FROM events WHERE sequence > ? ORDER BY sequence"
)
_REMOVED = "SELECT coalesce(max(last), 0) FROM removals"


class File(SQLiteStore):
    """A log in a file, whose disk is full or fails now and then.

    Attributes:
        ledger: what is durable in the file, as a connection of nobody's sees it after each step of SQLite.
    """

    def __init__(self, path: Path, ledger: Ledger, faults: Faults, batch_limit: int) -> None:
        super().__init__(path, synchronous="normal")
        self._gil = GilYielder(pause=lambda seconds: None)  # there is no other thread to give it to
        self.ledger = ledger
        self._place = path
        self._faults = faults
        self._batch_limit = batch_limit
        self._alive: set[_NoThread] = set()
        self._looking = ExitStack()
        self._look: sqlite3.Connection | None = None

    @property
    def features(self) -> Features:
        return replace(super().features, batch_limit=self._batch_limit)

    @property
    def opened(self) -> bool:
        """Whether a connection was left open."""
        return bool(self._alive)

    async def append(self, records: Sequence[Record]) -> Appended:
        self.ledger.given.update(record.data for record in records)
        self._faults.before()
        appended = await super().append(records)
        self._faults.after()
        return appended

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.ledger.given.update(self.ledger.taken())
        return await super().last_sequences(keys)

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        self.ledger.given.update(record.data for record in records)
        self._faults.before()
        appended = await super().commit(records, changes)
        self.ledger.note(changes, await super().dead_letters(ParkedFilter()))
        self._faults.after()
        return appended

    async def clear(self) -> None:
        self._faults.before()
        await super().clear()

    @contextmanager
    def on_lanes(self, loop: SimulatedLoop, random: Random) -> Iterator[None]:
        """Have what SQLite does done by the loop itself, some time after it was asked."""

        async def run_sync(act: Callable[[], Any]) -> Any:
            return await Lane(loop, random).do(act)

        def queue() -> _LaneQueue:
            return _LaneQueue(Lane(loop, random), self._observe)

        def thread(*, target: object, args: tuple[_LaneQueue]) -> _NoThread:
            return _NoThread(args[0], self._alive)

        with (
            patch.object(aiosqlite.core, "SimpleQueue", queue),
            patch.object(aiosqlite.core, "Thread", thread),
            patch.object(anyio.to_thread, "run_sync", run_sync),
            self._looking,
        ):
            yield

    def _observe(self) -> None:
        if self._look is None:
            self._look = sqlite3.connect(f"{self._place.as_uri()}?mode=ro", uri=True, isolation_level=None)
            self._looking.callback(self._look.close)
        for row in self._look.execute(_NEW, (self.ledger.head,)).fetchall():
            self.ledger.add(Row(*row))
        self.ledger.remove(self._look.execute(_REMOVED).fetchone()[0])


class _LaneQueue:
    """Where a connection of aiosqlite puts what its thread is to do."""

    def __init__(self, lane: Lane, on_done: Callable[[], None]) -> None:
        self._lane = lane
        self._on_done = on_done
        self.on_stop: Callable[[], None] = lambda: None

    def put_nowait(self, asked: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        answer, act = asked
        self._lane.begin(lambda: self._do(act), answer)

    def _do(self, act: Callable[[], Any]) -> Any:
        value = act()
        if value is aiosqlite.core._STOP_RUNNING_SENTINEL:
            self.on_stop()
        else:
            self._on_done()
        return value


class _NoThread:
    """It lives from its start until the queue is told to stop."""

    daemon = False

    def __init__(self, queue: _LaneQueue, alive: set[_NoThread]) -> None:
        self._alive = alive
        queue.on_stop = lambda: alive.discard(self)

    def start(self) -> None:
        self._alive.add(self)

    def is_alive(self) -> bool:
        return self in self._alive

    def join(self) -> None:
        pass
