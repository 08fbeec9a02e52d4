"""Exactly-once effects: what a consumer does to a database, and how far it has got, commit together or not at all.

Begin, save the state, run the block, commit: the state saved says already that this event has had its effect, so
whoever loads it later knows exactly what the database holds.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol, runtime_checkable
from weakref import WeakValueDictionary

import aiosqlite
from anyio import CancelScope

from asyncbus.errors import EffectsError

_CREATE: Final = "CREATE TABLE IF NOT EXISTS asyncbus_checkpoints (consumer TEXT PRIMARY KEY, state TEXT NOT NULL)"

_OPEN: Final = (
    "cannot begin a transaction, for one is open on its connection: commit or roll back first, give the effects a"
    " connection that nobody else uses, and do not connect with autocommit=False"
)
_ENDED: Final = (
    "had the transaction ended inside its handler (commit, rollback, executescript, or an error after which the"
    " database rolls back by itself): let it be committed when the handler returns, and see what the database holds of"
    " this event before going on"
)
_OTHER: Final = (
    "has another state in the database than when it was loaded: another process or bus uses its name with the same"
    " database; stop that one, or give this one a name of its own"
)

# By the id of the connection, which lives as long as the effects that hold the lock.
_locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()


@runtime_checkable
class Effects(Protocol):
    """The database in which a consumer has its effects: two methods make any database one.

    What `transaction` saves for a consumer, `load` must return once it is committed, and only then. A consumer begins
    one transaction after the other, never two at once.
    """

    async def load(self, consumer: str) -> str | None:
        """What was saved for this consumer with its last effect that was committed; None: nothing yet.

        Called before the first transaction, and again where the outcome of one is not known.
        """
        ...

    def transaction(self, consumer: str, state: str) -> AbstractAsyncContextManager[object]:
        """Begin a transaction; save `state` in it for the consumer; commit when the block ends.

        Where the block raises or is cancelled, all of it is rolled back and the exception goes on. An exception though
        the block has ended means that nothing is known before `load` is asked, unless it says more.
        """
        ...


class _OnConnection(ABC):
    """What both ready-made ones share: when what is done, whoever is cancelled."""

    def __init__(self, connection: object) -> None:
        # A connection has one transaction at a time, however many consumers use it.
        self._lock = _locks.setdefault(id(connection), asyncio.Lock())
        # A transaction of ours, until it has ended.
        self._is_open = False
        # By consumer, as far as is known here: what others saved meanwhile is not to be replaced.
        self._saved: dict[str, str | None] = {}

    async def load(self, consumer: str) -> str | None:
        """What was saved for this consumer with its last effect that was committed; None: nothing yet.

        The first time it creates the table `asyncbus_checkpoints`.

        Raises:
            EffectsError: a transaction is open on the connection.
        """
        async with self._lock:
            await self._end_the_last_one()
            await self._prepare(consumer)
            self._saved[consumer] = state = await self._read(consumer)
            return state

    @asynccontextmanager
    async def transaction(self, consumer: str, state: str) -> AsyncIterator[None]:
        """Begin a transaction, save `state` in it for the consumer, and commit when the block ends.

        It waits for its turn on the connection. Where the block raises or is cancelled, all of it is rolled back, and
        the exception goes on unchanged. Beginning, committing and rolling back are waited for also where this is
        cancelled, so nothing is left open or half done; the cancellation goes on afterwards.

        Raises:
            EffectsError: a transaction was open already; or the block has ended this one by itself; or the state was
                changed since `load` by somebody else. Nothing was committed, but by the block itself.
        """
        async with self._lock:
            await self._end_the_last_one()
            try:
                await _to_its_end(self._begin(consumer))
                await self._save(consumer, state)
                yield
            except BaseException as error:
                if self._is_open:
                    await self._undo(self._give_up(consumer, state), error)
                raise
            await _to_its_end(self._finish(consumer, state))

    async def _end_the_last_one(self) -> None:
        if self._is_open:  # it could not be rolled back at the time
            await _to_its_end(self._roll_back())

    async def _give_up(self, consumer: str, state: str) -> None:
        await self._roll_back()
        if state != self._saved.get(consumer) and state == await self._read(consumer):
            raise EffectsError(consumer, _ENDED)

    async def _finish(self, consumer: str, state: str) -> None:
        try:
            await self._commit(consumer)
        except BaseException as error:
            await self._undo(self._roll_back(), error)
            raise
        self._is_open = False
        self._saved[consumer] = state

    async def _undo(self, work: Coroutine[Any, Any, None], error: BaseException) -> None:
        """Roll back because of `error`; what goes wrong with that is noted there, for it is no reason of its own."""
        try:
            await _to_its_end(work)
        except Exception as failed:
            if isinstance(failed, EffectsError) and isinstance(error, Exception):
                raise
            error.add_note(f"rolling back: {failed!r}")

    @abstractmethod
    async def _prepare(self, consumer: str) -> None:
        """See that no transaction is open, and that the table is there."""

    @abstractmethod
    async def _read(self, consumer: str) -> str | None:
        """What is saved."""

    @abstractmethod
    async def _begin(self, consumer: str) -> None:
        """Begin a transaction, and note that it is open."""

    @abstractmethod
    async def _save(self, consumer: str, state: str) -> None:
        """Replace the state that is known, and set a savepoint: it is gone if the transaction ends before its time."""

    @abstractmethod
    async def _commit(self, consumer: str) -> None:
        """Commit if the savepoint is there."""

    @abstractmethod
    async def _roll_back(self) -> None:
        """Leave no transaction open, and note that."""


class SQLiteEffects(_OnConnection):
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
            raise EffectsError(consumer, _OPEN)
        await self._connection.execute(_CREATE)

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
                raise EffectsError(consumer, _OPEN) from error
            raise
        self._is_open = True

    async def _save(self, consumer: str, state: str) -> None:
        saved = await self._connection.execute(
            "INSERT INTO asyncbus_checkpoints (consumer, state) VALUES (?, ?) ON CONFLICT (consumer)"
            " DO UPDATE SET state = excluded.state WHERE asyncbus_checkpoints.state = ?",
            (consumer, state, self._saved.get(consumer)),
        )
        if not saved.rowcount:
            raise EffectsError(consumer, _OTHER)
        await self._connection.execute("SAVEPOINT asyncbus_effect")

    async def _commit(self, consumer: str) -> None:
        try:
            await self._connection.execute("RELEASE asyncbus_effect")
        except sqlite3.OperationalError as error:
            if "no such savepoint" in str(error):
                raise EffectsError(consumer, _ENDED) from error
            raise
        await self._connection.execute("COMMIT")

    async def _roll_back(self) -> None:
        try:
            await self._connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            if self._connection.in_transaction:
                raise
        self._is_open = False


class _PostgresConnection(Protocol):
    """What is used of an `asyncpg.Connection`."""

    def is_in_transaction(self) -> bool: ...
    def transaction(self) -> Any: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...


class PostgresEffects(_OnConnection):
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
            raise EffectsError(consumer, _OPEN)
        if await self._connection.fetchval("SELECT to_regclass('asyncbus_checkpoints')") is None:
            # One transaction, and a lock: of two that create it at once, one would fail.
            await self._connection.execute(f"SELECT pg_advisory_xact_lock(hashtext('asyncbus_checkpoints')); {_CREATE}")

    async def _read(self, consumer: str) -> str | None:
        state: str | None = await self._connection.fetchval(
            "SELECT state FROM asyncbus_checkpoints WHERE consumer = $1", consumer
        )
        return state

    async def _begin(self, consumer: str) -> None:
        if self._connection.is_in_transaction():
            raise EffectsError(consumer, _OPEN)
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
            raise EffectsError(consumer, _OTHER)
        self._savepoint = self._connection.transaction()
        await self._savepoint.start()

    async def _commit(self, consumer: str) -> None:
        try:
            await self._savepoint.commit()
        except Exception as error:
            # No such savepoint; no transaction. asyncpg, which has names for them, need not be installed.
            if getattr(error, "sqlstate", None) in {"3B001", "25P01"}:
                raise EffectsError(consumer, _ENDED) from error
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


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do some work and wait for it, however often this is cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    cancelled = None
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    failed = None if task.cancelled() else task.exception()
    if cancelled is not None:
        raise cancelled from failed
    task.result()
