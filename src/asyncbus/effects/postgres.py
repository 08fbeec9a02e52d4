"""Effects in a PostgreSQL database, by asyncpg, which need not be installed before somebody has such a connection."""

from __future__ import annotations

from typing import Any, Protocol

from asyncbus.effects.connection import CREATE, ENDED, OPEN, OTHER, OnConnection
from asyncbus.errors import EffectsError


class _PostgresConnection(Protocol):
    """What is used of an `asyncpg.Connection`."""

    def is_in_transaction(self) -> bool: ...
    def transaction(self) -> Any: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...


class PostgresEffects(OnConnection):
    """Effects in a PostgreSQL database: the handler's statements on the same connection are part of the transaction.

    The connection is the consumers' own while they are active. A commit is waited for however long it takes: a
    `command_timeout` of the connection bounds it. Serialization failures and deadlocks are raised as asyncpg raises
    them; a retry is the answer to both.

    Args:
        connection: an open `asyncpg.Connection`, also one of a pool, if it is kept.
    """

    def __init__(self, connection: _PostgresConnection) -> None:
        super().__init__(connection)
        self._connection = connection
        self._transaction: Any = None
        self._savepoint: Any = None

    async def _prepare(self, consumer: str) -> None:
        if self._connection.is_in_transaction():
            raise EffectsError(consumer, OPEN)
        if await self._connection.fetchval("SELECT to_regclass('asyncbus_checkpoints')") is None:
            # One transaction, and a lock: of two that create it at once, one would fail.
            await self._connection.execute(f"SELECT pg_advisory_xact_lock(hashtext('asyncbus_checkpoints')); {CREATE}")

    async def _read(self, consumer: str) -> str | None:
        state: str | None = await self._connection.fetchval(
            "SELECT state FROM asyncbus_checkpoints WHERE consumer = $1", consumer
        )
        return state

    async def _begin(self, consumer: str) -> None:
        if self._connection.is_in_transaction():
            raise EffectsError(consumer, OPEN)
        self._transaction = self._connection.transaction()
        await self._transaction.start()
        self._is_open = True

    async def _save(self, consumer: str, state: str) -> None:
        saved = await self._connection.fetchval(
            "INSERT INTO asyncbus_checkpoints (consumer, state) VALUES ($1, $2) ON CONFLICT (consumer)"
            " DO UPDATE SET state = excluded.state WHERE asyncbus_checkpoints.state = $3 RETURNING true",
            consumer,
            state,
            self._saved.get(consumer),
        )
        if not saved:
            raise EffectsError(consumer, OTHER)
        self._savepoint = self._connection.transaction()
        await self._savepoint.start()

    async def _commit(self, consumer: str) -> None:
        try:
            await self._savepoint.commit()
        except Exception as error:
            # No such savepoint; no transaction. asyncpg, which has names for them, need not be installed.
            if getattr(error, "sqlstate", None) in {"3B001", "25P01"}:
                raise EffectsError(consumer, ENDED) from error
            raise
        transaction, self._transaction = self._transaction, None
        await transaction.commit()

    async def _roll_back(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await transaction.rollback()
        elif self._connection.is_in_transaction():  # asyncpg commits or rolls back once, also where that fails
            await self._connection.execute("ROLLBACK")
        self._is_open = False
