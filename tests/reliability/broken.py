"""Stores and consumers that break a promise on purpose: a tool that does not find them is worth nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from msgspec.structs import replace

from asyncbus import Appended, Bounds, Record, SQLiteStore, StoreFullError
from asyncbus.delivery import Delivery
from asyncbus.fence import Fence
from asyncbus.ledger import Ledger
from asyncbus.store.consumers import Change, ConsumerState
from asyncbus.storing import Storing


class HastyStore(SQLiteStore):
    """Answers before it has committed."""

    _late: asyncio.Task[Appended] | None = None

    async def append(self, records: Sequence[Record]) -> Appended:
        await self._catch_up()
        if any(record.id is not None for record in records):
            return await super().append(records)
        first = self._appender.head + 1
        copies = [replace(record) for record in records]
        for sequence, record in enumerate(records, first):
            record.sequence = sequence
        self._late = asyncio.create_task(self._commit(copies))
        return Appended(first, {}, self._appender.floor)

    async def clear(self) -> None:
        await self._catch_up()
        await super().clear()

    async def close(self) -> None:
        await self._catch_up()
        await super().close()

    async def _commit(self, records: Sequence[Record]) -> Appended:
        await asyncio.sleep(0.02)  # or the kill would have to hit a moment that is much shorter
        return await super().append(records)

    async def _catch_up(self) -> None:
        if self._late is not None:
            await self._late


class DroppingStore(SQLiteStore):
    """Removes the first event of a batch again, now and then."""

    async def append(self, records: Sequence[Record]) -> Appended:
        appended = await super().append(records)
        if appended.first % 7 == 0:
            await self._appender.connection.rows("DELETE FROM events WHERE sequence = ?", (appended.first,))
        return appended


class CarelessStore(SQLiteStore):
    """Has SQLite sync nothing, so that what is acknowledged is in the system's memory alone."""

    async def open(self) -> Bounds:
        bounds = await super().open()
        await self._appender.connection.rows("PRAGMA synchronous = OFF")
        return bounds


class HeedlessStore(SQLiteStore):
    """Moves the watermark after every checkpoint, though a reader kept some of it from being synced."""

    async def open(self) -> Bounds:
        bounds = await super().open()
        checkpointer = self._appender._checkpointer
        move = checkpointer.move

        async def always_all() -> bool:
            await move()
            return True

        checkpointer.move = always_all  # type: ignore[method-assign]  # that is what is broken
        return bounds


class OptimisticStore(SQLiteStore):
    """Takes a full disk for a good one."""

    async def append(self, records: Sequence[Record]) -> Appended:
        try:
            return await super().append(records)
        except StoreFullError:
            first = self._appender.head + 1
            for sequence, record in enumerate(records, first):
                record.sequence = sequence
            return Appended(first, {}, self._appender.floor)


class BitterStore(SQLiteStore):
    """Never gets over a full disk."""

    async def append(self, records: Sequence[Record]) -> Appended:
        try:
            return await super().append(records)
        except StoreFullError as error:
            self._appender._failure = error
            raise


def store_checkpoints_before_the_handler() -> None:
    """What was begun is stored as done."""
    state = Ledger.state

    def hasty(self: Ledger, before: ConsumerState, read_to: int, **others: Any) -> ConsumerState:
        stored = state(self, before, read_to, **others)
        return replace(stored, checkpoint=stored.begun_to, settled_to=stored.begun_to, owed={})

    Ledger.state = hasty  # type: ignore[method-assign]  # that is what is broken


def park_before_the_checkpoint() -> None:
    """Dead letters are stored by a commit of their own, and the loop is busy until the state is."""
    changes = Storing.changes
    behind = set[Storing]()

    def apart(self: Storing) -> Sequence[Change]:
        if self._parking.has_changes:
            self._around.saving.ask(self)
            behind.add(self)
            return self._parking.take()
        if self in behind:
            behind.remove(self)
            time.sleep(0.03)  # or too few kills come in between
        return changes(self)

    Storing.changes = apart  # type: ignore[method-assign]  # that is what is broken


def forget_attempts() -> None:
    """A handler has an event before it is stored that it may."""

    async def at_once(self: Storing) -> None:
        self._around.saving.ask(self)
        await asyncio.sleep(0)

    Storing._store_begun = at_once  # type: ignore[method-assign]  # that is what is broken


def lower_the_fence() -> None:
    """Whether an event has had its effect is not asked."""
    Fence.has = lambda self, sequence, *, retried=False: False  # type: ignore[method-assign]  # that is what is broken


def publish_under_new_ids() -> None:
    """What follows from an event is published anew by each attempt."""
    ids = map(str, count())
    init = Delivery.__init__

    def renamed(self: Delivery, settler: Any, held: Any, publish: Callable[..., Awaitable[Any]]) -> None:
        async def anew(type: str, data: Any, *, id: str, **fields: Any) -> Any:
            return await publish(type, data, id=f"{id}/{next(ids)}/{self.attempt}", **fields)

        init(self, settler, held, anew)

    Delivery.__init__ = renamed  # type: ignore[method-assign]  # that is what is broken
