"""The file of a `SQLiteStore`, as `sqlite3`, datasette and pandas find it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from asyncbus import SQLiteStore
from asyncbus.store.base import Page
from asyncbus.store.migrations import APPLICATION_ID, migrations
from asyncbus.store.pages import PageReader
from asyncbus.testing import record
from asyncbus.testing.appending import PAYLOADS
from asyncbus.testing.logs import everything
from tests.store.files import make_log, opened, sql

# 2023-11-14 22:13:20 UTC, and a millisecond more.
MOMENT = 1_700_000_000_001_000

LATEST = migrations()[-1][0]


@pytest.mark.asyncio
async def test_payloads_are_json_text_and_bytes_are_blobs(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as store:
        await store.append([record("a.b", data) for data in PAYLOADS])

    rows = sql(path, "SELECT typeof(data), data FROM events ORDER BY sequence")

    for payload, (kind, stored) in zip(PAYLOADS, rows, strict=True):
        if isinstance(payload, bytes):
            assert (kind, stored) == ("blob", payload)
        else:
            assert kind == "text"
            assert json.loads(stored) == payload


@pytest.mark.asyncio
async def test_sqlite_itself_reads_into_an_event(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as store:
        await store.append(
            [record("optimization.done", {"stage": "licm", "ms": 12}, key="vm-1", metadata={"by": "漢"}, time=MOMENT)]
        )

    [row] = sql(
        path,
        "SELECT sequence, type, data ->> '$.stage', json_extract(data, '$.ms'), key, metadata ->> '$.by',"
        " strftime('%Y-%m-%d %H:%M:%f', time / 1e6, 'unixepoch') FROM events",
    )

    assert row == (1, "optimization.done", "licm", 12, "vm-1", "漢", "2023-11-14 22:13:20.001")


@pytest.mark.asyncio
async def test_another_program_reads_the_file_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as store:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as other:
            for number in range(1, 4):
                await store.append([record("a.b", number)])
                assert other.execute("SELECT count(*), max(data) FROM events").fetchone() == (number, str(number))


@pytest.mark.asyncio
async def test_a_query_shows_no_event_behind_those_that_were_removed_while_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_page = PageReader._page
    async with opened(tmp_path / "events.db") as store:
        await store.append([record("a")])

        async def read_and_be_overtaken(self: PageReader, *question: Any) -> Page:
            monkeypatch.setattr(PageReader, "_page", read_page)
            page = await read_page(self, *question)
            await store.append([record("a")])
            await store.clear()
            await store.append([record("a")])
            return page

        monkeypatch.setattr(PageReader, "_page", read_and_be_overtaken)
        assert [event.sequence for event in await store.query(everything())] == [1]


@pytest.mark.asyncio
async def test_the_file_says_whose_it_is_and_which_version_it_has(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)

    assert sql(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert sql(path, "PRAGMA user_version") == [(LATEST,)]
    # Where the command `file` looks for it.
    assert path.read_bytes()[68:72] == b"asbu"


@pytest.mark.asyncio
async def test_what_cannot_be_changed_later_is_as_it_was_decided(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)

    assert sql(path, "PRAGMA page_size") == [(4096,)]
    assert sql(path, "PRAGMA auto_vacuum") == [(0,)]
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]
    assert sql(path, "PRAGMA encoding") == [("UTF-8",)]


@pytest.mark.asyncio
@pytest.mark.parametrize(("synchronous", "level"), [("full", 2), ("normal", 1)])
async def test_synchronous_is_what_was_asked_for(
    tmp_path: Path, synchronous: Literal["full", "normal"], level: int
) -> None:
    async with opened(tmp_path / "log.db", synchronous=synchronous) as store:
        assert await store._appender.connection.row("PRAGMA synchronous") == (level,)
        # SQLite's own checkpoint swallows I/O errors.
        assert await store._appender.connection.row("PRAGMA wal_autocheckpoint") == (0,)


@pytest.mark.asyncio
async def test_a_closed_log_is_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as store:
        for number in range(10):
            await store.append([record("a.b", number)])

    assert {entry.name for entry in tmp_path.iterdir()} == {"log.db", "log.db.lock", "log.db-watermark"}
    assert sql(path, "SELECT count(*) FROM events") == [(10,)]
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.asyncio
async def test_clear_records_what_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as store:
        await store.append([record("a")] * 1)
        await store.append([record("a"), record("a")])
        await store.clear()
        await store.clear()
        await store.append([record("b")])
        await store.clear()

    assert sql(path, "SELECT first, last, reason FROM removals ORDER BY first") == [(1, 3, "clear"), (4, 4, "clear")]
    assert sql(path, "SELECT count(*) FROM events") == [(0,)]


@pytest.mark.asyncio
async def test_the_write_ahead_log_stays_bounded_while_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    largest = 0
    async with opened(path, synchronous="normal") as store:
        for number in range(50):
            await store.append([record("a.b", b"\0" * 100_000) for _ in range(10)])
            largest = max(largest, Path(f"{path}-wal").stat().st_size)
            assert await store.latest_sequence() == 10 * (number + 1)

    # 50 MB of events; it is moved into the database whenever it has about 16 MB.
    assert 1_000_000 < largest < 32_000_000


@pytest.mark.asyncio
async def test_a_path_may_be_a_string_with_awkward_characters(tmp_path: Path) -> None:
    folder = tmp_path / "fol der?mode=ro#%41 漢"
    folder.mkdir()
    path = folder / "my log%20?#'\".db"
    async with opened(Path(path)) as store:
        await store.append([record("a.b")])
    store = SQLiteStore(str(path), read_only=True)
    await store.open()
    try:
        assert await store.latest_sequence() == 1
    finally:
        await store.close()

    assert path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]
