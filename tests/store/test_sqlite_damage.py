"""What the disk has damaged or lost is noticed, and told with its event; what is whole is still delivered."""

import asyncio
import gc
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncbus import (
    EventFilter,
    Pattern,
    StoreCorruptError,
)
from asyncbus.testing import content, record
from tests.store.files import ALL, make_log, opened, read_all, refused, sequences, sql

BAD = 5
EVENTS = 9


async def whole_log(path: Path, data: Any = None) -> None:
    """A log of nine events, the fifth of which has everything an event can have."""
    async with opened(path) as store:
        bad = record("a.bad", {"needle": "x" * 20} if data is None else data, id="id", key="key", metadata={"m": 1})
        before = [record("a.b", number) for number in range(1, BAD)]
        after = [record("a.b", number, key="k") for number in range(BAD + 1, EVENTS + 1)]
        await store.append([*before, bad, *after])


# --- a flipped bit ---------------------------------------------------------------------------------------------------


def flips(column: str, value: Any) -> list[Any]:
    """The value with one bit flipped, for some of its bits."""
    if isinstance(value, int):
        # Lower bits of the sequence lead to one that is taken.
        return [value ^ (1 << bit) for bit in (0, 1, 7, 13, 31, 32, 47, 62) if column != "sequence" or bit > 4]
    encoded = value if isinstance(value, bytes) else value.encode()
    places = [(place, bit) for place in range(len(encoded)) for bit in range(8)]
    return [
        bytes(byte ^ (1 << bit) if here == place else byte for here, byte in enumerate(encoded))
        for place, bit in Random(column).sample(places, 12)
    ]


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("data", [None, b"bytes, not text"], ids=["text", "bytes"])
@pytest.mark.parametrize(
    "column", ["sequence", "recorded_at", "time", "type", "data", "checksum", "id", "key", "metadata"]
)
async def test_a_flipped_bit_is_told_with_its_event_and_those_before_it_are_delivered(
    path: Path, column: str, data: Any
) -> None:
    await whole_log(path, data)
    [(value,)] = sql(path, f"SELECT {column} FROM events WHERE sequence = {BAD}")
    written = "CAST(? AS TEXT)" if isinstance(value, str) else "?"

    async with opened(path) as store:
        for flipped in flips(column, value):
            sql(path, f"UPDATE events SET {column} = {written} WHERE sequence = {BAD}", flipped)
            for limit in (1000, BAD, 2, 1):
                found, error = await read_all(store, limit)
                assert sequences(found) == list(range(1, BAD)), f"{column}={flipped!r}, pages of {limit}"
                assert error is not None
                assert error.sequence == BAD
                assert f"event {BAD} is corrupt" in str(error)
            moved = flipped if column == "sequence" else BAD
            sql(path, f"UPDATE events SET {column} = ? WHERE sequence = ?", value, moved)
        found, error = await read_all(store)

    assert error is None
    assert sequences(found) == list(range(1, EVENTS + 1)), "it was damaged, and mended, all the time"


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("column", ["type", "data", "id", "key", "metadata"])
async def test_text_that_a_flipped_bit_has_made_a_blob_is_told_with_its_event(path: Path, column: str) -> None:
    await whole_log(path)
    # One bit in the header of the row is the difference.
    sql(path, f"UPDATE events SET {column} = CAST({column} AS BLOB) WHERE sequence = {BAD}")

    async with opened(path) as store:
        found, error = await read_all(store)

    assert sequences(found) == list(range(1, BAD))
    assert error is not None
    assert error.sequence == BAD


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_no_bit_flipped_on_disk_changes_what_is_delivered(path: Path) -> None:
    await whole_log(path)
    async with opened(path) as store:
        whole = [content(event) for event in (await read_all(store))[0]]
    original = path.read_bytes()
    needle = original.index(b'{"needle"')
    # From the header of the row, which stands some bytes before its data, to the header of the one beside it.
    around = range(needle - 45, needle + 60)
    noticed = 0

    for place, bit in Random(44).sample([(place, bit) for place in around for bit in range(8)], 80):
        damaged = bytearray(original)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        async with opened(path, read_only=True) as store:
            found, error = await read_all(store)
        delivered = [content(event) for event in found]
        expected = whole if error is None else whole[: len(found)]
        assert delivered == expected, f"bit {bit} of byte {place - needle}"
        noticed += error is not None

    # Not every bit of a page means something.
    assert noticed > 70


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_an_error_that_somebody_keeps_keeps_no_reader_in_the_past(path: Path) -> None:
    await whole_log(path)
    sql(path, f"UPDATE events SET key = CAST(x'ff41' AS TEXT) WHERE sequence = {BAD}")

    async with opened(path) as store:
        found, error = await read_all(store)
        assert error is not None
        assert len(found) == BAD - 1
        await store.append([record("a.b", "after")])
        page = await store.read(EVENTS, ALL, 10)

    assert sequences(page.records) == [EVENTS + 1]
    assert not Path(f"{path}-wal").exists(), "the log is released, although the error is still there"


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_a_damaged_page_that_nobody_comes_for_is_nobodys_error(path: Path) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    await whole_log(path)
    sql(path, f"UPDATE events SET key = CAST(x'ff41' AS TEXT) WHERE sequence = {BAD}")

    async with opened(path) as store:
        for after in (0, 2):  # the next page may be on its way already
            assert len((await store.read(after, ALL, 2)).records) == 2
    del store
    gc.collect()

    assert told == []
    assert not Path(f"{path}-wal").exists(), "the log is released"


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("conditions", [{}, {"pattern": Pattern.parse("a.*")}, {"key": "key"}, {"limit": 6}])
async def test_a_query_that_meets_a_damaged_event_fails_and_is_not_merely_short(
    path: Path, conditions: dict[str, Any], newest_first: bool
) -> None:
    await whole_log(path)
    sql(path, f"UPDATE events SET data = '1' WHERE sequence = {BAD}")

    async with opened(path) as store:
        with pytest.raises(StoreCorruptError) as caught:
            await store.query(EventFilter(**({"limit": None} | conditions), newest_first=newest_first))

    assert caught.value.sequence == BAD


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_a_damaged_event_harms_no_read_that_does_not_want_it(path: Path) -> None:
    await whole_log(path)
    sql(path, f"UPDATE events SET data = '1' WHERE sequence = {BAD}")

    async with opened(path) as store:
        page = await store.read(BAD, ALL, 100)
        by_pattern = await store.read(0, Pattern.parse("a.b"), 100)
        by_query = await store.query(EventFilter(start_sequence=BAD + 1))
        appended = await store.append([record("a.b")])

    assert sequences(page.records) == sequences(by_query) == [6, 7, 8, 9]
    assert sequences(by_pattern.records) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert appended.first == EVENTS + 1


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_an_id_whose_event_is_damaged_is_told_and_the_store_goes_on(path: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b", number, id=f"id-{number}") for number in (1, 2, 3)])
        sql(path, "UPDATE events SET data = '7' WHERE sequence = 2")

        for batch in ((2,), (1, 2), (3, 2, 4)):
            with pytest.raises(StoreCorruptError) as caught:
                await store.append([record("a.b", number, id=f"id-{number}") for number in batch])
            assert caught.value.sequence == 2
        appended = await store.append([record("a.b", 3, id="id-3"), record("a.b", "next")])

    assert (appended.first, appended.duplicates) == (4, {0: 3})


@pytest.mark.asyncio
async def test_a_damaged_last_event_does_not_keep_the_log_from_opening(path: Path) -> None:
    await whole_log(path)
    sql(path, f"UPDATE events SET data = '1' WHERE sequence = {EVENTS}")

    async with opened(path) as store:
        found, error = await read_all(store)
        appended = await store.append([record("a.b")])

    assert sequences(found) == list(range(1, EVENTS))
    assert error is not None
    assert error.sequence == EVENTS
    assert appended.first == EVENTS + 1


# --- missing events --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 2, 4, 1000])
@pytest.mark.parametrize(
    "missing", [{1}, {5}, {4, 5, 6}, {2, 7}, {9}, {8, 9}, set(range(1, 10))], ids=lambda missing: str(sorted(missing))
)
async def test_a_hole_is_noticed_by_who_reads_all(path: Path, missing: set[int], limit: int) -> None:
    await whole_log(path)
    sql(path, f"DELETE FROM events WHERE sequence IN ({', '.join(map(str, missing))})")

    async with opened(path) as store:
        found, error = await read_all(store, limit)

    assert error is not None
    assert error.sequence == min(missing)
    assert "missing" in str(error)
    assert sequences(found) == list(range(1, min(missing))), "what stands before it is still delivered"


@pytest.mark.asyncio
async def test_what_was_cleared_is_no_hole(path: Path) -> None:
    await whole_log(path)
    async with opened(path) as store:
        await store.clear()
        await store.append([record("a.b")])
        found, error = await read_all(store)

    assert error is None
    assert sequences(found) == [EVENTS + 1]


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE log SET log_id = x'00ff'",
        "UPDATE sqlite_sequence SET seq = 'abc'",
        "UPDATE sqlite_sequence SET seq = 5.5",
        "INSERT INTO removals VALUES ('a', 'b', 0, 'x')",
    ],
)
async def test_a_log_that_counts_in_what_is_no_number_is_refused(path: Path, damage: str) -> None:
    await make_log(path)
    sql(path, damage)

    error = await refused(path, StoreCorruptError)

    assert "restore a backup" in str(error)
