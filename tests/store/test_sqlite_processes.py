"""One process writes a log, any number read it; and what is left when one of them is killed."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from anyio import to_thread

from asyncbus import SQLiteStore, StoreFailedError, StoreLockedError
from asyncbus.store import lock
from asyncbus.testing import record
from tests.store.files import ALL, make_log, opened, read_all, refused, sequences, sql
from tests.store.processes import Child, child, run


@pytest.fixture
def writer(path: Path) -> Iterator[Child]:
    """Another process that writes the log; the first thing it says is that it has opened it."""
    with child("write", path) as process:
        yield process


# --- the one writer --------------------------------------------------------------------------------------------------


@pytest.mark.fault(53)
@pytest.mark.asyncio
async def test_a_second_writing_process_is_told_who_holds_the_log(path: Path, writer: Child) -> None:
    assert await writer.says() == "opened"

    error = await refused(path, StoreLockedError)

    assert error.pid == writer.pid
    assert error.path == str(path)
    assert f"process {writer.pid}" in str(error)
    assert "read_only=True" in str(error)
    assert await writer.does(3) == 3, "the holder goes on"


@pytest.mark.fault(53)
@pytest.mark.asyncio
async def test_a_second_writer_in_the_same_process_is_refused(path: Path) -> None:
    async with opened(path) as first:
        error = await refused(path, StoreLockedError)
        await first.append([record("a.b")])

    assert error.pid == os.getpid()
    async with opened(path) as second:
        assert await second.latest_sequence() == 1


@pytest.mark.fault(53)
@pytest.mark.asyncio
async def test_a_file_with_two_names_is_not_written_under_either(path: Path) -> None:
    await make_log(path, 3)
    other = path.with_name("other.db")
    other.hardlink_to(path)

    for name in (path, other):
        with pytest.raises(StoreFailedError, match="has another name"):
            await SQLiteStore(name).open()
    other.unlink()

    async with opened(path) as store:
        assert await store.latest_sequence() == 3


@pytest.mark.fault(53)
@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["a symbolic link", "through a linked folder", "a detour", "a relative path"])
async def test_another_name_of_the_file_is_no_way_around_the_lock(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = path.parent / "folder"
    folder.mkdir()
    real = folder / "log.db"
    alias = path
    async with opened(real) as first:
        await first.append([record("a.b")])
        if kind == "a symbolic link":
            alias.symlink_to(real)
        elif kind == "through a linked folder":
            (path.parent / "linked").symlink_to(folder)
            alias = path.parent / "linked" / "log.db"
        elif kind == "a detour":
            alias = folder / ".." / "folder" / "log.db"
        else:
            monkeypatch.chdir(folder)
            alias = Path("log.db")

        error = await refused(alias, StoreLockedError)

    assert error.pid == os.getpid()


@pytest.mark.fault(53)
@pytest.mark.asyncio
@pytest.mark.parametrize("before", ["killed", "still running"])
async def test_a_holder_that_is_still_opening_is_not_taken_for_the_one_before(
    path: Path, writer: Child, before: str
) -> None:
    assert await writer.says() == "opened"
    if before == "killed":
        await writer.kill()
    else:
        assert await writer.does() == "closed"

    held = await to_thread.run_sync(lock.acquire, path)  # as `open` does first, before it writes its process id
    try:
        error = await refused(path, StoreLockedError)
    finally:
        held.release()

    assert error.pid in {None, os.getpid()}, "the process that holds it, or that nobody knows yet"


@pytest.mark.fault(53)
@pytest.mark.asyncio
async def test_a_killed_writer_leaves_no_lock_and_everything_it_acknowledged(path: Path, writer: Child) -> None:
    assert await writer.says() == "opened"
    assert [await writer.does(size) for size in (1, 5, 4097)] == [1, 6, 4103]
    await writer.kill()

    async with opened(path) as store:
        found, damage = await read_all(store)
        appended = await store.append([record("a.b", "after"), record("a.b", 1, id="child-1")])

    assert damage is None
    assert sequences(found) == list(range(1, 4104))
    assert appended.first == 4104
    assert appended.duplicates == {1: 1}


@pytest.mark.fault(29)
@pytest.mark.asyncio
async def test_another_programs_transaction_fails_an_append_that_stores_nothing(path: Path) -> None:
    await make_log(path, 2)
    async with opened(path) as store:
        await store._appender.connection.rows("PRAGMA busy_timeout = 0")  # it would wait 5 s, for the same
        with closing(_transaction(path)) as other:
            for size in (1, store.features.batch_limit + 1):
                with pytest.raises(StoreLockedError):
                    await store.append([record("a.b") for _ in range(size)])
            assert sequences((await store.read(0, ALL, 10)).records) == [1, 2], "reading goes on"
            other.execute("ROLLBACK")

        assert (await store.append([record("a.b")])).first == 3


def _transaction(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


@pytest.mark.asyncio
async def test_a_store_into_whose_file_another_program_wrote_fails_until_it_is_opened_again(path: Path) -> None:
    await make_log(path, 2)
    store = SQLiteStore(path)
    await store.open()
    sql(path, "INSERT INTO events (recorded_at, time, type, data, checksum) VALUES (0, 0, 'x', '1', 0)")
    try:
        with pytest.raises(StoreFailedError) as first:
            await store.append([record("a.b")])
        with pytest.raises(StoreFailedError) as second:
            await store.append([record("a.b")])
    finally:
        await store.close()

    assert first.value.outcome_unknown
    assert "another program" in str(first.value)
    assert not second.value.outcome_unknown, "of this one it is known that it was not stored"
    assert second.value.__cause__ is first.value
    async with opened(path) as reopened:
        assert (await reopened.append([record("a.b")])).first == 5


# --- readers ---------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_reader_follows_what_another_process_commits(path: Path, writer: Child) -> None:
    assert await writer.says() == "opened"
    async with opened(path, read_only=True) as reader:
        position = 0
        for size in (1, 10, 100):
            assert await writer.does(size) == position + size
            while await reader.latest_sequence() < position + size:
                await reader.changed()
            found: list[int] = []
            while len(found) < size:
                found += sequences((await reader.read(position + len(found), ALL, 1000)).records)
            assert found == list(range(position + 1, position + size + 1))
            position += size


@pytest.mark.asyncio
async def test_readers_do_not_keep_the_writer_from_anything(path: Path) -> None:
    await make_log(path, 3)
    async with opened(path, read_only=True) as one, opened(path, read_only=True) as other:
        async with opened(path) as store:
            await store.append([record("a.b")])
            await store.clear()
            await store.append([record("a.b")])
        for reader in (one, other):
            page = await reader.read(0, ALL, 10)
            assert (sequences(page.records), page.floor) == ([5], 4)


@pytest.mark.asyncio
async def test_a_reader_outlives_the_writer_and_sees_the_next_one(path: Path, writer: Child) -> None:
    assert await writer.says() == "opened"
    assert await writer.does(2) == 2
    async with opened(path, read_only=True) as reader:
        await writer.kill()
        assert sequences((await reader.read(0, ALL, 10)).records) == [1, 2]
        async with opened(path) as store:
            await store.append([record("a.b")])
            while await reader.latest_sequence() < 3:
                await reader.changed()
        assert sequences((await reader.read(0, ALL, 10)).records) == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_reader_with_nothing_to_do_costs_next_to_nothing(path: Path) -> None:
    await make_log(path)

    told = run("wait_idle", path, 1.0)

    # Promised is 0.01. This is no measurement: it tells polling now and then from a busy loop on any machine.
    assert told["cores"] < 0.25


# --- killed while it is made -----------------------------------------------------------------------------------------


@pytest.mark.fault(48)
def test_a_log_is_made_whole_or_not_at_all_wherever_its_maker_is_killed(tmp_path: Path) -> None:
    outcomes = run("die_creating", tmp_path, 4)

    assert {outcome["existed"] for outcome in outcomes} == {False, True}
    # Opening it again went well each time; what the kill left beside its place is gone or used again.
    for outcome in outcomes:
        folder = tmp_path / str(outcome["line"])
        names = {entry.name for entry in folder.iterdir()}
        assert "log.db" in names, outcome
        assert not [name for name in names if ".new" in name], outcome
        assert sql(folder / "log.db", "SELECT count(*) FROM log") == [(1,)], outcome
