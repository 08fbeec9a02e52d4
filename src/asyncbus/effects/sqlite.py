"""Effects in a SQLite database."""

from __future__ import annotations

import sqlite3

import aiosqlite

from asyncbus.effects.connection import CREATE, ENDED, OPEN, OTHER, OnConnection
from asyncbus.errors import EffectsError


class SQLiteEffects(OnConnection):
    """Effects in a SQLite database: the handler's statements on the same connection are part of the transaction.

    The connection is the consumers' own while they are active: what another task does on it meanwhile would be part of
    their transactions. How durable a commit is, its `PRAGMA synchronous` says.

    Args:
        connection: open; any isolation level and `autocommit=True` will do.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        super().__init__(connection)
        self._connection = connection

    async def _prepare(self, consumer: str) -> None:
        if self._connection.in_transaction:
            raise EffectsError(consumer, OPEN)
        await self._connection.execute(CREATE)

    async def _read(self, consumer: str) -> str | None:
        # Whatever the connection makes of rows and of text.
        async with self._connection.cursor() as cursor:
            cursor.row_factory = None
            await cursor.execute("SELECT CAST(state AS BLOB) FROM asyncbus_checkpoints WHERE consumer = ?", (consumer,))
            row = await cursor.fetchone()
        return None if row is None else row[0].decode()

    async def _begin(self, consumer: str) -> None:
        try:
            await self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if self._connection.in_transaction:
                raise EffectsError(consumer, OPEN) from error
            raise
        self._is_open = True

    async def _save(self, consumer: str, state: str) -> None:
        saved = await self._connection.execute(
            "INSERT INTO asyncbus_checkpoints (consumer, state) VALUES (?, ?) ON CONFLICT (consumer)"
            " DO UPDATE SET state = excluded.state WHERE asyncbus_checkpoints.state = ?",
            (consumer, state, self._saved.get(consumer)),
        )
        if not saved.rowcount:
            raise EffectsError(consumer, OTHER)
        await self._connection.execute("SAVEPOINT asyncbus_effect")

    async def _commit(self, consumer: str) -> None:
        try:
            await self._connection.execute("RELEASE asyncbus_effect")
        except sqlite3.OperationalError as error:
            if "no such savepoint" in str(error):
                raise EffectsError(consumer, ENDED) from error
            raise
        await self._connection.execute("COMMIT")

    async def _roll_back(self) -> None:
        try:
            await self._connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            if self._connection.in_transaction:
                raise
        self._is_open = False
