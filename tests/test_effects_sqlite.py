"""Exactly-once effects in SQLite."""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio

from asyncbus.effects import Effects, SQLiteEffects
from asyncbus.errors import EffectsError
from tests.effects import TABLES, Client, EffectsContract


class SQLiteClient(Client):
    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection
        self.effects = SQLiteEffects(connection)

    async def execute(self, statement: str) -> None:
        match statement:
            case "commit()":
                await self.connection.commit()
            case "rollback()":
                await self.connection.rollback()
            case "script":
                await self.connection.executescript("SELECT 1; SELECT 2")
            case _:
                await self.connection.execute(statement)

    async def numbers(self) -> list[int]:
        async with self.connection.cursor() as cursor:
            cursor.row_factory = None
            await cursor.execute("SELECT number FROM numbers ORDER BY number")
            return [number for (number,) in await cursor.fetchall()]

    @property
    def is_in_transaction(self) -> bool:
        return self.connection.in_transaction

    def more_effects(self) -> Effects:
        return SQLiteEffects(self.connection)

    async def close(self) -> None:
        await self.connection.close()


@pytest.mark.asyncio
class TestSQLiteEffects(EffectsContract):
    ends: tuple[str, ...] = ("COMMIT", "ROLLBACK", "commit()", "rollback()", "script")
    options: Mapping[str, Any] = MappingProxyType({})

    @pytest.fixture(autouse=True)
    def database(self, tmp_path: Path) -> None:
        self.path = tmp_path / "effects.db"
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for table in TABLES:
                connection.execute(table)

    async def connect(self) -> SQLiteClient:
        connection = await aiosqlite.connect(self.path, **self.options)
        await connection.execute("PRAGMA foreign_keys = ON")
        return SQLiteClient(connection)


class TestWithoutIsolationLevel(TestSQLiteEffects):
    options = MappingProxyType({"isolation_level": None})


class TestExclusive(TestSQLiteEffects):
    options = MappingProxyType({"isolation_level": "EXCLUSIVE"})


if sys.version_info >= (3, 12):  # before, connections have no autocommit

    class TestAutocommit(TestSQLiteEffects):
        ends = ("COMMIT", "ROLLBACK")  # the other ways end nothing there
        options = MappingProxyType({"autocommit": True})

    @pytest.mark.asyncio
    async def test_a_connection_that_is_always_in_a_transaction_is_refused(tmp_path: Path) -> None:
        async with aiosqlite.connect(tmp_path / "effects.db", autocommit=False) as connection:
            with pytest.raises(EffectsError, match="do not connect with autocommit=False"):
                await SQLiteEffects(connection).load("projector")


class DirectClient(Client):
    """As the other, with a connection of `sqlite3` itself."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.effects = SQLiteEffects(connection)

    async def execute(self, statement: str) -> None:
        await asyncio.sleep(0)  # as a handler waits for something else
        self.connection.execute(statement)

    async def numbers(self) -> list[int]:
        return [number for (number,) in self.connection.execute("SELECT number FROM numbers ORDER BY number")]

    @property
    def is_in_transaction(self) -> bool:
        return self.connection.in_transaction

    def more_effects(self) -> Effects:
        return SQLiteEffects(self.connection)

    async def close(self) -> None:
        self.connection.close()


class TestOnTheLoopsThread(TestSQLiteEffects):
    ends = ("COMMIT", "ROLLBACK")
    waits = 1

    async def connect(self) -> DirectClient:  # type: ignore[override]  # another client of the same database
        connection = sqlite3.connect(self.path, timeout=0)
        connection.execute("PRAGMA foreign_keys = ON")
        return DirectClient(connection)


class TestRowsAndTextOfItsOwn(TestSQLiteEffects):
    async def connect(self) -> SQLiteClient:
        client = await super().connect()
        client.connection.row_factory = lambda cursor, row: {"not": "a row"}  # type: ignore[assignment]  # any callable
        client.connection.text_factory = bytes
        return client


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[SQLiteClient]:
    async with aiosqlite.connect(tmp_path / "effects.db", timeout=0) as connection:
        for table in TABLES:
            await connection.execute(table)
        client = SQLiteClient(connection)
        await client.effects.load("projector")
        yield client


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.asyncio
async def test_where_sqlite_rolls_back_by_itself_there_is_no_effect(client: SQLiteClient, swallow: bool) -> None:
    async def handle() -> None:
        async with client.effects.transaction("projector", "one"):
            await client.write(1)
            try:
                await client.execute("INSERT OR ROLLBACK INTO numbers VALUES (1)")
            except sqlite3.IntegrityError:
                if not swallow:
                    raise

    with pytest.raises(EffectsError if swallow else sqlite3.IntegrityError):
        await handle()

    assert (await client.numbers(), await client.effects.load("projector")) == ([], None)


@pytest.mark.asyncio
async def test_an_error_that_the_handler_has_dealt_with_is_none(client: SQLiteClient) -> None:
    async with client.effects.transaction("projector", "one"):
        await client.write(1)
        with pytest.raises(sqlite3.IntegrityError):
            await client.write(1)

    assert (await client.numbers(), await client.effects.load("projector")) == ([1], "one")


@pytest.mark.asyncio
async def test_savepoints_are_the_handlers_to_use(client: SQLiteClient) -> None:
    await client.handle("one", 1, "SAVEPOINT attempt", 2, "ROLLBACK TO attempt", 3)

    assert await client.numbers() == [1, 3]


@pytest.mark.asyncio
async def test_a_database_that_another_one_writes_says_so_and_nothing_is_left_open(
    client: SQLiteClient, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "effects.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            await client.handle("one", 1)

        assert not client.is_in_transaction
        other.execute("COMMIT")
    await client.handle("one", 1)
    assert await client.numbers() == [1]


@pytest.mark.asyncio
async def test_a_commit_that_a_reader_keeps_waiting_is_rolled_back(client: SQLiteClient, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "effects.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM numbers").fetchall()  # without a write-ahead log it keeps writers out
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            await client.handle("one", 1)

        assert not client.is_in_transaction
    assert (await client.numbers(), await client.effects.load("projector")) == ([], None)


def test_a_loop_that_is_shut_down_leaves_no_transaction(tmp_path: Path) -> None:
    async def main() -> SQLiteClient:
        connection = await aiosqlite.connect(tmp_path / "effects.db")
        client = SQLiteClient(connection)
        await connection.execute(TABLES[0])
        await client.effects.load("projector")
        has_begun = asyncio.Event()

        async def handle() -> None:
            async with client.effects.transaction("projector", "one"):
                await client.write(1)
                has_begun.set()
                await asyncio.get_running_loop().create_future()

        handling.append(asyncio.create_task(handle()))
        await has_begun.wait()
        return client

    async def leave(client: SQLiteClient) -> None:
        assert handling[0].cancelled()
        assert not client.is_in_transaction
        assert await client.numbers() == []
        await client.close()

    handling: list[asyncio.Task[None]] = []
    asyncio.run(leave(asyncio.run(main())))
