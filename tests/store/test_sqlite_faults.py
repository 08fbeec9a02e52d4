"""Faults of `SQLiteStore` that nobody may see twice: half a batch, a lock upgraded too late, a number given again."""

import ast
import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import asyncbus.store
from asyncbus import StoreFailedError
from asyncbus.store import connection, files, migrations
from asyncbus.testing import record
from tests.store.files import contents, make_log, opened, read_all, refused, sequences, sql

SOURCES = sorted(Path(asyncbus.store.__path__[0]).glob("*"))

pytestmark = pytest.mark.asyncio


@pytest.mark.fault(28)
@pytest.mark.parametrize("size", [3, 5000], ids=["one statement", "a transaction"])
async def test_a_batch_of_which_the_database_refuses_one_row_adds_none(size: int, path: Path) -> None:
    await make_log(path, 2)
    async with opened(path) as store:
        batch = [record("a.b", number) for number in range(size)]
        batch[-1].type = None  # type: ignore[assignment]  # which no publisher can do
        with pytest.raises(StoreFailedError, match="NOT NULL"):
            await store.append(batch)
        assert await store.latest_sequence() == 2
        with pytest.raises(StoreFailedError, match="failed before"):  # nobody knows how that could come about
            await store.append([record("a.b")])

    async with opened(path) as store:
        assert (await store.append([record("a.b")])).first == 3
        assert sequences((await read_all(store))[0]) == [1, 2, 3]


@pytest.mark.fault(30)
async def test_no_transaction_begins_without_the_lock_it_will_need() -> None:
    """One that reads first and then wants to write fails at once, however long it is ready to wait."""
    begun = [
        node.value
        for source in SOURCES
        if source.suffix == ".py" and source.name != "backup.py"  # its connection is read-only
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.upper().startswith("BEGIN")
    ]
    assert begun
    assert set(begun) == {"BEGIN IMMEDIATE"}
    for source in SOURCES:
        if source.suffix == ".py" and ".connect(" in source.read_text("utf-8"):
            # What the sqlite3 module would begin by itself is deferred.
            assert "isolation_level=None" in source.read_text("utf-8")


@pytest.mark.fault(30)
async def test_a_batch_that_reads_ids_first_waits_for_another_program_and_is_stored(path: Path) -> None:
    await make_log(path, 2)
    async with opened(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            for turn in range(20):
                other.execute("BEGIN IMMEDIATE")
                appending = asyncio.create_task(store.append([record("a.b", turn, id=f"turn-{turn}")]))
                await asyncio.sleep(0)
                other.execute("COMMIT")
                assert (await appending).first == 3 + turn


@pytest.mark.fault(36)
async def test_the_numbers_of_the_newest_events_are_not_given_again_when_those_are_removed(path: Path) -> None:
    await make_log(path, 5)
    sql(path, "INSERT INTO removals (first, last, removed_at, reason) VALUES (4, 5, 0, 'retention')")
    sql(path, "DELETE FROM events WHERE sequence >= 4")

    async with opened(path) as store:
        assert await store.latest_sequence() == 5
        assert (await store.append([record("a.b")])).first == 6


@pytest.mark.fault(43)
async def test_a_new_log_where_no_write_ahead_log_can_be_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_shared_memory(monkeypatch)

    error = await refused(path, StoreFailedError)

    assert "write-ahead log" in str(error)
    assert not path.exists()


@pytest.mark.fault(43)
async def test_a_log_that_falls_back_to_another_journal_is_refused_and_left_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_log(path, 3)
    assert sql(path, "PRAGMA journal_mode = DELETE") == [("delete",)]
    before = contents(path.parent)[path.name]
    without_shared_memory(monkeypatch)

    error = await refused(path, StoreFailedError)

    assert "write-ahead log" in str(error)
    assert contents(path.parent)[path.name] == before
    monkeypatch.undo()
    async with opened(path) as store:
        assert (await store.append([record("a.b")])).first == 4
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]


def without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none, as SQLite's own `unix-none` shows it: PRAGMA journal_mode = WAL fails in silence."""
    uri = files.uri
    for module in (connection, migrations):
        monkeypatch.setattr(module, "uri", lambda path, mode: f"{uri(path, mode)}&vfs=unix-none")
