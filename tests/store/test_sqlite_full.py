"""A full disk stores nothing, harms nothing that is there, and heals by itself."""

from pathlib import Path

import pytest

from asyncbus import EventIdConflictError, SequenceExhaustedError, StoreFullError
from asyncbus.testing import record
from tests.store.files import ALL, make_log, opened, read_all, sequences, sql
from tests.store.processes import run


@pytest.mark.fault(37)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("size", "data"),
    [(1, "x" * 10_000), (100, "x" * 1000), (4096 + 1, "x" * 100)],
    ids=["one event", "one statement", "one transaction"],
)
async def test_a_full_disk_stores_nothing_of_a_batch_and_goes_on_when_there_is_space(
    path: Path, size: int, data: str
) -> None:
    await make_log(path, 3)
    async with opened(path) as store:
        [pages] = await store._appender.connection.row("PRAGMA page_count")
        # The batch does not fit: SQLite says what it says when the disk is full.
        await store._appender.connection.rows(f"PRAGMA max_page_count = {pages}")

        for _ in range(3):
            with pytest.raises(StoreFullError, match="nothing was stored"):
                await store.append([record("a.b", data, id=f"new-{n}") for n in range(size)])
            assert await store.latest_sequence() == 3
            assert sequences((await read_all(store))[0]) == [1, 2, 3], "reading goes on"

        await store._appender.connection.rows("PRAGMA max_page_count = 1000000")
        batch = [record("a.b", data, id=f"new-{n}") for n in range(size)]
        appended = await store.append(batch)

    assert (appended.first, appended.duplicates) == (4, {}), "no sequence and no id was used by what failed"
    async with opened(path) as store:
        found, error = await read_all(store)
    assert error is None
    assert sequences(found) == list(range(1, 4 + size))
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.fault(37)
@pytest.mark.asyncio
async def test_ids_are_looked_up_while_the_disk_is_full(path: Path) -> None:
    await make_log(path, 3)
    async with opened(path) as store:
        [pages] = await store._appender.connection.row("PRAGMA page_count")
        await store._appender.connection.rows(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFullError):
            await store.append([record("a.b", "x" * 10_000) for _ in range(10)])

        appended = await store.append([record("a.b", "text", id="id-2")])
        with pytest.raises(EventIdConflictError):
            await store.append([record("a.b", "other", id="id-2")])

    assert appended.duplicates == {0: 2}


@pytest.mark.fault(38)
def test_a_limit_of_the_file_size_is_a_full_disk(path: Path) -> None:
    told = run("fill_a_small_disk", path, 200_000)

    assert told["errors"] == [StoreFullError.__name__] * 3
    assert told["read"] == told["head"] > 10, "reading goes on"
    assert told["after"] == told["head"] + 1, "and so does writing, when the limit is lifted"
    assert sql(path, "SELECT count(*), max(sequence) FROM events") == [(told["after"], told["after"])]


@pytest.mark.fault(40)
@pytest.mark.parametrize("limit", [0, 4096, 8192, 16_384])
def test_a_disk_that_is_full_when_a_log_is_made_leaves_no_half_made_log(path: Path, limit: int) -> None:
    told = run("open_on_a_small_disk", path, limit)

    assert told["small"]["error"] == StoreFullError.__name__
    assert not told["existed"]
    assert told["large"] == {"error": None, "sequences": [1]}


@pytest.mark.fault(35)
@pytest.mark.asyncio
async def test_the_last_sequence_is_used_and_none_after_it(path: Path) -> None:
    await make_log(path, 1)
    last = 2**63 - 1
    sql(path, "UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", last - 2)
    # What lies between was removed.
    sql(path, "INSERT INTO removals VALUES (1, ?, 0, 'test')", last - 2)

    async with opened(path) as store:
        with pytest.raises(SequenceExhaustedError):
            await store.append([record("a.b") for _ in range(3)])
        batch = [record("a.b"), record("a.b")]
        assert (await store.append(batch)).first == last - 1
        for _ in range(2):
            with pytest.raises(SequenceExhaustedError, match="begin a new log"):
                await store.append([record("a.b")])
        assert await store.latest_sequence() == last
        page = await store.read(last - 2, ALL, 10)

    assert sequences(page.records) == [last - 1, last]
