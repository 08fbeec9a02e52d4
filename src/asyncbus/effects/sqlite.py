"""Effects in a SQLite database."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Sequence
from typing import Any, Final

import aiosqlite

from asyncbus.effects.connection import CREATE, ENDED, OPEN, OTHER, OnConnection
from asyncbus.errors import EffectsError

_STATE: Final = "SELECT CAST(state AS BLOB) FROM asyncbus_checkpoints WHERE consumer = ?"


class SQLiteEffects(OnConnection):
    """Effects in a SQLite database: the handler's statements on the same connection are part of the transaction.

    The connection is the consumers' own while they are active: what another task does on it meanwhile would be part of
    their transactions. How durable a commit is, its `PRAGMA synchronous` says.

    Args:
        connection: open; any isolation level and `autocommit=True` will do. Of `aiosqlite`: each statement is a hop to
            its thread. Of `sqlite3` itself: statements run on the loop's thread, where a small database that nobody
            else writes takes many times as many events; what it waits for, a lock or a slow disk, everybody waits for.
    """

    def __init__(self, connection: aiosqlite.Connection | sqlite3.Connection) -> None:
        super().__init__(connection)
        self._connection = connection

    async def _prepare(self, consumer: str) -> None:
        if self._connection.in_transaction:
            raise EffectsError(consumer, OPEN)
        await self._execute(CREATE)

    async def _read(self, consumer: str) -> str | None:
        # Whatever the connection makes of rows and of text.
        cursor = await _done(self._connection.cursor())
        cursor.row_factory = None
        await _done(cursor.execute(_STATE, (consumer,)))
        row = await _done(cursor.fetchone())
        await _done(cursor.close())
        return None if row is None else row[0].decode()

    async def _execute(self, sql: str, bound: Sequence[object] = ()) -> aiosqlite.Cursor | sqlite3.Cursor:
        done: aiosqlite.Cursor | sqlite3.Cursor = await _done(self._connection.execute(sql, bound))
        return done

    async def _begin(self, consumer: str) -> None:
        try:
            await self._execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if self._connection.in_transaction:
                raise EffectsError(consumer, OPEN) from error
            raise
        self._is_open = True

    async def _save(self, consumer: str, state: str) -> None:
        saved = await self._execute(
            "INSERT INTO asyncbus_checkpoints (consumer, state) VALUES (?, ?) ON CONFLICT (consumer)"
            " DO UPDATE SET state = excluded.state WHERE asyncbus_checkpoints.state = ?",
            (consumer, state, self._saved.get(consumer)),
        )
        if not saved.rowcount:
            raise EffectsError(consumer, OTHER)
        await self._execute("SAVEPOINT asyncbus_effect")

    async def _commit(self, consumer: str) -> None:
        try:
            await self._execute("RELEASE asyncbus_effect")
        except sqlite3.OperationalError as error:
            if "no such savepoint" in str(error):
                raise EffectsError(consumer, ENDED) from error
            raise
        await self._execute("COMMIT")

    async def _roll_back(self) -> None:
        try:
            await self._execute("ROLLBACK")
        except sqlite3.OperationalError:
            if self._connection.in_transaction:
                raise
        self._is_open = False


async def _done(outcome: Any) -> Any:
    """What a connection of either kind returns."""
    return await outcome if isinstance(outcome, Awaitable) else outcome
