"""The hop to a SQLite thread: one aiosqlite connection, its errors translated, the GIL yielded to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiosqlite

from asyncbus.store.failures import translated
from asyncbus.store.gil import GilYielder
from asyncbus.store.migrations import uri

BUSY_TIMEOUT: Final = 5.0
"""Seconds SQLite waits for a lock that somebody else holds on the file."""


class Connection:
    """One connection and its thread; calls are served in order. Made by `Connection.open`."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, gil: GilYielder) -> None:
        self._connection = connection
        self._path = path
        self._gil = gil

    @classmethod
    async def open(cls, path: Path, mode: str, gil: GilYielder) -> Connection:
        """Connect; `mode` is "ro" or "rw". The file must exist."""
        with gil, translated(path):
            connection = await aiosqlite.connect(uri(path, mode), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)
        return cls(connection, path, gil)

    async def rows(self, sql: str, bound: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run one statement and fetch what it returns: one hop."""
        with self._gil, translated(self._path):
            return list(await self._connection.execute_fetchall(sql, bound))

    async def row(self, sql: str, bound: Sequence[Any] = ()) -> Any:
        """Run one statement that returns one row."""
        return (await self.rows(sql, bound))[0]

    async def insert(self, sql: str, bound: Sequence[Any]) -> int:
        """Run one INSERT; return the last rowid it gave: one hop."""
        with self._gil, translated(self._path):
            cursor = await self._connection.execute(sql, bound)
        return cursor.lastrowid or 0

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    async def close(self) -> None:
        """Close it and end its thread."""
        with self._gil, translated(self._path):
            await self._connection.close()
