"""The connection that writes: what is left open, what has died, and a file that is no longer there."""

import asyncio
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from anyio import to_thread

from asyncbus import SQLiteStore, StoreError, StoreFailedError, connect
from asyncbus.testing import record
from tests.store.files import make_log, opened, read_all, sequences, sql


@pytest.mark.fault(31)
@pytest.mark.asyncio
@pytest.mark.parametrize("act", ["append", "clear"])
async def test_what_a_stale_transaction_holds_is_never_committed(
    path: Path, act: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as store:
        await store._appender.connection.rows("BEGIN IMMEDIATE")
        await store._appender.connection.rows("INSERT INTO log VALUES ('left open', NULL)")

        with caplog.at_level(logging.WARNING, "asyncbus"):
            await (store.append([record("a.b")]) if act == "append" else store.clear())

        assert "was rolled back" in caplog.text
        assert store.statistics()["rolled_back"] == 1
    assert sql(path, "SELECT count(*) FROM log") == [(1,)], "the row of the stale transaction is not there"
    assert sql(path, "SELECT count(*) FROM events") == [(1 if act == "append" else 0,)]


@pytest.mark.fault(32)
@pytest.mark.asyncio
async def test_a_dead_thread_is_an_error_and_not_a_wait_for_ever(path: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b")])
        future = store._appender.connection._connection.stop()  # as it ends when its loop is closed under it
        assert future is not None
        await future
        await to_thread.run_sync(store._appender.connection._thread.join)

        with pytest.raises(StoreFailedError, match="open it again"):
            await store.append([record("a.b")])
        found, _ = await read_all(store)
        assert sequences(found) == [1], "the readers have threads of their own"


@pytest.mark.fault(54)
@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["removed", "replaced by a copy"])
async def test_a_file_that_is_gone_takes_no_more_events(path: Path, how: str) -> None:
    async with connect(path) as bus:
        await bus.publish("a.b")
        copy = path.with_name("copy.db")
        shutil.copyfile(path, copy)
        path.unlink() if how == "removed" else copy.rename(path)

        with pytest.raises(StoreFailedError, match="removed, replaced or cut"):
            await bus.publish("a.b")
        assert bus.health().status == "failed"
        assert [event.sequence for event in await bus.query()] == [1], "reads go on"


@pytest.mark.fault(54)
@pytest.mark.asyncio
async def test_a_file_that_is_emptied_in_place_takes_no_more_events(path: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b")])
        with path.open("r+b") as file:
            file.truncate(0)
        with pytest.raises(StoreFailedError, match="cut while it was open"):
            await store.append([record("a.b")])


@pytest.mark.fault(54)
@pytest.mark.asyncio
async def test_without_its_write_ahead_log_it_takes_no_more_events_and_saves_those_it_took(path: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b")])
        Path(f"{path}-wal").unlink()
        with pytest.raises(StoreFailedError, match="others do not find"):
            await store.append([record("a.b")])

    async with opened(path) as again:
        assert await again.latest_sequence() == 1


@pytest.mark.fault(54)
@pytest.mark.asyncio
async def test_where_its_write_ahead_log_is_emptied_everybody_is_told(path: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b")])
        os.truncate(f"{path}-wal", 0)
        with pytest.raises(StoreFailedError, match="others do not find"):
            await store.append([record("a.b")])

    with pytest.raises(StoreError):
        await SQLiteStore(path).open()


@pytest.mark.fault(53)
@pytest.mark.asyncio
async def test_who_has_lost_the_lock_writes_no_more(path: Path) -> None:
    async with opened(path) as first:
        await first.append([record("a.b", "first")])
        path.with_name("log.db.lock").unlink()
        async with opened(path) as second:
            await second.append([record("a.b", "second")])
            with pytest.raises(StoreFailedError, match="another process may be writing"):
                await first.append([record("a.b", "too many")])
            await second.append([record("a.b", "second")])

    async with opened(path, read_only=True) as reader:
        found, damage = await read_all(reader)
    assert damage is None
    assert [json.loads(event.data) for event in found] == ["first", "second", "second"]


@pytest.mark.fault(54)
@pytest.mark.asyncio
async def test_a_file_that_is_put_back_is_opened_again_as_it_was(path: Path) -> None:
    await make_log(path, 3)
    store = SQLiteStore(path)
    await store.open()
    away = path.with_name("away.db")
    path.rename(away)
    with pytest.raises(StoreFailedError):
        await store.append([record("a.b")])
    away.rename(path)
    with pytest.raises(StoreFailedError, match="open it again"):
        await store.append([record("a.b")])
    await store.close()

    async with opened(path) as again:
        await again.append([record("a.b")])
        assert await again.latest_sequence() == 4


@pytest.mark.asyncio
async def test_a_read_only_store_counts_nothing_of_its_own(path: Path) -> None:
    await make_log(path)
    async with opened(path, read_only=True) as store:
        assert store.statistics() == {}


@pytest.mark.asyncio
async def test_the_bus_shows_what_its_store_counts(path: Path) -> None:
    async with connect(path) as bus:
        await bus.publish("a.b")
        figures = bus.statistics().store
        await asyncio.gather(*(bus.publish("a.b") for _ in range(10)))
        assert bus.statistics().store["wal_bytes"] > figures["wal_bytes"] > 0
    assert bus.statistics().store == {}
    async with connect() as bus:
        assert bus.statistics().store == {}
