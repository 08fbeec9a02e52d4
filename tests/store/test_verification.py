"""`asyncbus.verify` finds what is wrong with a file, names the event, and finds nothing where nothing is wrong."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asyncbus import InvalidOptionError, Verification, verify
from asyncbus.testing import record
from tests.store.files import contents, make_log, only, opened, sql, told, verified
from tests.store.processes import written_and_killed
from tests.store.test_sqlite_damage import BAD, EVENTS, flips, whole_log

# --- sound logs ------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_sound_log_has_no_findings(path: Path) -> None:
    await whole_log(path)

    found = await verified(path)

    assert found.sound
    assert (found.events, found.head, found.findings, found.unlisted) == (EVENTS, EVENTS, (), 0)
    assert str(found) == f"{path}: 9 events, head 9: sound"


@pytest.mark.asyncio
async def test_a_new_log_is_sound(path: Path) -> None:
    await make_log(path, 0)

    assert ((await verified(path)).sound, (await verified(path)).events) == (True, 0)


@pytest.mark.asyncio
async def test_what_was_cleared_is_no_hole_but_what_is_missing_beside_it_is(path: Path) -> None:
    await whole_log(path)
    async with opened(path) as store:
        await store.clear()
        await store.append([record("a.b", number) for number in range(3)])
        await store.clear()
        await store.append([record("a.b", number) for number in range(5)])
    assert (await verified(path)).sound
    assert ((await verified(path)).events, (await verified(path)).head) == (5, 17)

    sql(path, "DELETE FROM events WHERE sequence IN (13, 15, 16)")

    assert told(await verified(path)) == [
        ("event 13 is missing, and no removal is recorded", 13),
        ("events 15 to 16 are missing, and no removal is recorded", 15),
    ]


@pytest.mark.asyncio
async def test_looking_changes_nothing(path: Path) -> None:
    await make_log(path)
    before = contents(path.parent)

    await verified(path)

    after = contents(path.parent)
    assert {name: after[name] for name in before} == before


@pytest.mark.asyncio
async def test_a_log_that_is_being_written_and_cleared_is_sound_at_any_moment(path: Path) -> None:
    async with opened(path, synchronous="normal") as store:
        checking = asyncio.create_task(asyncio.to_thread(verifications, path, 10))
        number = 0
        while not checking.done():
            number += 1
            await store.append([record("a.b", place, id=f"id-{number}-{place}", key="k") for place in range(100)])
            if number % 20 == 0:
                await store.clear()
        found = await checking

    assert [str(finding) for each in found for finding in each.findings] == []
    heads = [each.head for each in found]
    assert heads == sorted(heads)


def verifications(path: Path, times: int) -> list[Verification]:
    return [verify(path) for _ in range(times)]


@pytest.mark.asyncio
async def test_a_log_whose_writer_was_killed_is_sound(path: Path) -> None:
    await make_log(path, 3)
    await written_and_killed(path, 4)

    found = await verified(path)

    assert (found.sound, found.events, found.head) == (True, 7, 7)


# --- damaged events --------------------------------------------------------------------------------------------------


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("data", [None, b"bytes, not text"], ids=["text", "bytes"])
@pytest.mark.parametrize("column", ["recorded_at", "time", "type", "data", "checksum", "id", "key", "metadata"])
async def test_an_event_with_a_flipped_bit_is_named(path: Path, column: str, data: Any) -> None:
    await whole_log(path, data)
    [(value,)] = sql(path, f"SELECT {column} FROM events WHERE sequence = {BAD}")
    written = "CAST(? AS TEXT)" if isinstance(value, str) else "?"

    for flipped in flips(column, value):
        sql(path, f"UPDATE events SET {column} = {written} WHERE sequence = {BAD}", flipped)
        message, sequence = only(await verified(path))
        assert message.startswith((f"event {BAD}: its checksum is wrong", f"event {BAD} cannot be read")), flipped
        assert sequence == BAD


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_each_of_many_damaged_events_is_named(path: Path) -> None:
    await make_log(path, 3000)
    sql(path, "UPDATE events SET data = '1' WHERE sequence IN (1, 2, 64, 65, 1024, 1025, 3000)")
    sql(path, "UPDATE events SET type = CAST(type AS BLOB) WHERE sequence IN (2000, 2001)")

    found = await verified(path)

    assert [finding.sequence for finding in found.findings] == [1, 2, 64, 65, 1024, 1025, 2000, 2001, 3000]
    assert found.events == 2998


@pytest.mark.asyncio
async def test_an_event_under_another_sequence_is_found_where_it_is_and_where_it_is_not(path: Path) -> None:
    await whole_log(path)
    for stray in (BAD + 2**40, -BAD):
        sql(path, f"UPDATE events SET sequence = {stray} WHERE sequence = {BAD}")

        found = await verified(path)

        assert (f"event {stray} lies outside the sequences that were given, 1 to {EVENTS}", stray) in told(found)
        assert (f"event {BAD} is missing, and no removal is recorded", BAD) in told(found)
        sql(path, f"UPDATE events SET sequence = {BAD} WHERE sequence = {stray}")


@pytest.mark.asyncio
async def test_an_event_recorded_before_the_one_that_precedes_it_is_named(path: Path) -> None:
    async with opened(path) as store:
        for recorded_at in (1000, 2000, 1999, 1999, 2000):
            await store.append([record("a.b", recorded_at=recorded_at)])

    assert told(await verified(path)) == [
        ("event 3 was recorded before the one that precedes it", 3),
        ("event 4 was recorded before the one that precedes it", 4),
    ]


@pytest.mark.asyncio
async def test_an_event_that_was_removed_and_is_there_is_named(path: Path) -> None:
    await make_log(path, 3)
    sql(path, "INSERT INTO removals VALUES (1, 1, 0, 'clear')")

    assert only(await verified(path)) == ("event 1 is there, though all up to 1 were removed", 1)


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(InvalidOptionError):
        verify("")
