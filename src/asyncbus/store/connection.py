"""The hop to a SQLite thread: one aiosqlite connection, its errors translated, the GIL yielded to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, Final, TypeVar, cast

import aiosqlite
from anyio import to_thread

from asyncbus.errors import ForkedProcessError, StoreCorruptError, StoreFailedError
from asyncbus.store.begun import Begun
from asyncbus.store.failures import meaning, translated, without_frames
from asyncbus.store.files import uri
from asyncbus.store.gil import GilYielder
from asyncbus.store.statements import Statement

T = TypeVar("T")

BUSY_TIMEOUT: Final = 5.0
"""Seconds SQLite waits for a lock that somebody else holds on the file."""


MAX_LENGTH: Final = 160 * 2**20
"""Bytes that a row, and a page as JSON, may have; beyond it SQLite says "too big" before memory runs out."""


class _Bounded(sqlite3.Connection):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LENGTH)

    def transact(self, changes: Sequence[Statement]) -> list[int]:
        """Run statements as one transaction, on the thread that calls; return the last rowid after each."""
        self.execute("BEGIN IMMEDIATE")
        try:
            given = [self.execute(sql, bound).lastrowid or 0 for sql, bound in changes]
            self.execute("COMMIT")
        except BaseException:
            # What keeps it from being rolled back is less than what it failed of, and is looked for before the next.
            with suppress(sqlite3.Error):
                self.rollback()
            raise
        return given


class Connection:
    """One connection and its thread; calls are served in order. Made by `Connection.open`."""

    def __init__(self, connection: aiosqlite.Connection, thread: Thread, path: Path, gil: GilYielder) -> None:
        self._connection = connection
        self._thread = thread
        self._path = path
        self._gil = gil
        self._process = os.getpid()

    @classmethod
    async def open(cls, path: Path, mode: str, gil: GilYielder) -> Connection:
        """Connect; `mode` is "rw" or a `reading_mode`. The file must exist."""
        with gil, translated(path):
            opening = aiosqlite.connect(
                uri(path, mode), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT, factory=_Bounded
            )
            thread = opening._thread  # noqa: SLF001  # aiosqlite neither makes it a daemon nor says whether it lives
            # A bus that nobody closed must not keep the process from ending; SQLite's file bears being left like that.
            thread.daemon = True
            try:
                connection = await opening
            except BaseException:
                # Its thread was told to end, and answers the loop once more: the loop must not end before it.
                await to_thread.run_sync(thread.join)
                raise
            if mode != "rw":  # pages are read once, one after the other
                try:
                    await connection.execute_fetchall("PRAGMA cache_size = -500")
                except BaseException:
                    await connection.close()
                    raise
        return cls(connection, thread, path, gil)

    async def rows(self, sql: str, bound: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run one statement and fetch what it returns: one hop."""
        self._check_alive()
        try:
            with self._gil:
                return list(await self._connection.execute_fetchall(sql, bound))
        except sqlite3.Error as error:
            raise meaning(self._path, error) from without_frames(error)

    async def row(self, sql: str, bound: Sequence[Any] = ()) -> Any:
        """Run one statement that returns one row."""
        rows = await self.rows(sql, bound)
        if not rows:
            raise StoreCorruptError(f"{self._path} has lost a row that every log has; restore a backup")
        return rows[0]

    async def data_version(self) -> int:
        """A number that is another one when another connection has committed.

        It is asked for often, where nothing happens: so without looking after the GIL.
        """
        self._check_alive()
        try:
            [(version,)] = await self._connection.execute_fetchall("PRAGMA data_version")
        except sqlite3.Error as error:
            raise meaning(self._path, error) from without_frames(error)
        return int(version)

    def _transact(self, changes: Sequence[Statement]) -> list[int]:
        return cast("_Bounded", self._connection._conn).transact(changes)  # noqa: SLF001  # on the thread it belongs to

    def begin(self, operation: Coroutine[Any, Any, T]) -> Begun[T]:
        """Hand `rows(…)`, `insert(…)` or `transact(…)` to the thread now; await the result for what it returns.

        It gives the GIL up for a moment, for the thread would have to wait for it until the loop has nothing to do:
        worth it for what takes longer than that moment, or is not awaited at once.
        """
        begun = Begun(operation)
        self._gil.give_up()
        return begun

    async def insert(self, sql: str, bound: Sequence[Any]) -> int:
        """Run one INSERT; return the last rowid it gave: one hop."""
        self._check_alive()
        try:
            with self._gil:
                cursor = await self._connection.execute(sql, bound)
        except sqlite3.Error as error:
            raise meaning(self._path, error) from without_frames(error)
        return cursor.lastrowid or 0

    async def transact(self, changes: Sequence[Statement]) -> list[int]:
        """Run statements as one transaction, all of them or none; return the last rowid after each: one hop."""
        self._check_alive()
        try:
            with self._gil:
                # A hop for each statement would take longer than the statement, and aiosqlite hands on no function.
                on_its_thread = cast("Any", self._connection)._execute  # noqa: SLF001  # as said
                given: list[int] = await on_its_thread(self._transact, changes)
        except sqlite3.Error as error:
            raise meaning(self._path, error) from without_frames(error)
        return given

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Several statements as one: all of them count, or none. Not to be cancelled."""
        await self.rows("BEGIN IMMEDIATE")
        try:
            yield
            await self.rows("COMMIT")
        except BaseException:
            # The thread may still be at the statement at which somebody was cancelled: it is asked when that is done.
            await self.rows("SELECT NULL")
            await self.roll_back()
            raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        self._check_alive()
        return self._connection.in_transaction

    async def roll_back(self) -> None:
        """End a transaction that is still open, so that nothing of it is ever committed."""
        if self.in_transaction:
            await self.rows("ROLLBACK")

    def _check_alive(self) -> None:
        """Refuse to wait for a thread that is no more: nobody would ever answer."""
        if self._thread.is_alive():
            return
        if self._process != os.getpid():
            raise ForkedProcessError
        raise StoreFailedError(f"{self._path}: the thread of this connection has died; close the bus and open it again")

    async def close(self) -> None:
        """Close it and end its thread."""
        if not self._thread.is_alive():
            return  # there is nobody to close it, and in a forked child it is the parent's
        with self._gil, translated(self._path):
            await self._connection.close()
