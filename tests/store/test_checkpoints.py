"""The write-ahead log is moved into the database, stays short, and when it cannot be, somebody is told."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from asyncbus import SQLiteStore
from asyncbus.store import checkpoints
from asyncbus.testing import record
from tests.store.files import opened

PAGE = 4096 + 24


@pytest.fixture(autouse=True)
def moved_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 20)


@pytest_asyncio.fixture(params=["full", "normal"])
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[SQLiteStore]:
    async with opened(tmp_path / "log.db", synchronous=request.param) as store:
        yield store


@pytest.fixture
def snapshot(tmp_path: Path, store: SQLiteStore) -> Iterator[sqlite3.Connection]:
    """Another program in the middle of a read that it does not end."""
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM events").fetchall()
        yield connection


async def append(store: SQLiteStore, batches: int) -> None:
    for _ in range(batches):
        await store.append([record("a.b", "x" * 100) for _ in range(100)])


@pytest.mark.fault(51)
@pytest.mark.asyncio
async def test_the_write_ahead_log_stays_short_while_events_come(store: SQLiteStore) -> None:
    await append(store, 100)

    assert store.statistics()["wal_checkpoints"] > 20
    assert store.statistics()["wal_bytes"] < 100 * PAGE


@pytest.mark.asyncio
async def test_small_commits_move_it_by_their_number(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 1_000_000)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_COMMITS", 10)

    for _ in range(25):
        await store.append([record("a.b")])

    assert store.statistics()["wal_checkpoints"] == 2


@pytest.mark.asyncio
async def test_a_removal_counts_as_what_it_writes(store: SQLiteStore) -> None:
    await store.append([record("a.b") for _ in range(300)])
    before = store.statistics()["wal_checkpoints"]
    await store.clear()
    await store.append([record("a.b")])

    assert store.statistics()["wal_checkpoints"] == before + 1


@pytest.mark.fault(51)
@pytest.mark.asyncio
async def test_a_reader_that_does_not_end_lets_it_grow_and_is_told_of_once(
    store: SQLiteStore, snapshot: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "asyncbus"):
        await append(store, 60)
        grown = store.statistics()["wal_bytes"]
        assert grown > 4 * 20 * PAGE
        assert caplog.text.count("has grown to") == 1

        snapshot.execute("COMMIT")
        await append(store, 20)
        assert store.statistics()["wal_bytes"] < grown + 100 * PAGE, "its room is used again"
        assert caplog.text.count("has grown to") == 1

        snapshot.execute("BEGIN")
        snapshot.execute("SELECT count(*) FROM events").fetchall()
        await append(store, 60)
        assert caplog.text.count("has grown to") == 2, "the next time is told of again"


@pytest.mark.fault(45)
@pytest.mark.asyncio
@pytest.mark.parametrize("store", ["normal"], indirect=True)
async def test_under_normal_the_watermark_passes_only_what_was_moved_and_so_synced(
    store: SQLiteStore, snapshot: sqlite3.Connection
) -> None:
    await append(store, 30)  # nothing more can be moved, so nothing is synced
    assert store._watermark.read() == 0

    snapshot.execute("COMMIT")
    await append(store, 10)
    assert store._watermark.read() > 3000
