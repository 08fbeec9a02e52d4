"""`asyncbus.verify` finds what is wrong with a file, names the event, and finds nothing where nothing is wrong."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import Verification, verify
from asyncbus.testing import record
from tests.store.files import contents, make_log, opened, sql, verified
from tests.store.processes import written_and_killed
from tests.store.test_sqlite_damage import BAD, EVENTS, flips, whole_log


def told(found: Verification) -> list[tuple[str, int | None]]:
    return [(finding.message, finding.sequence) for finding in found.findings]


def only(found: Verification) -> tuple[str, int | None]:
    """The one finding there is."""
    [(message, sequence)] = told(found)
    return message, sequence


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


# --- what only shows in sum ------------------------------------------------------------------------------------------


async def needles(path: Path) -> None:
    """A log of which event 5 has a type, an id and a key that no other event has."""
    async with opened(path) as store:
        batch = [record("a.b", number, id=f"id-{number}", key="k") for number in range(1, EVENTS + 1)]
        batch[BAD - 1] = record("needle.type", "data", id="needle-id", key="needle-key")
        await store.append(batch)


def flip_in_index(path: Path, text: bytes) -> None:
    """Flip a bit of that text in the index that has it, and not in the event."""
    file = bytearray(path.read_bytes())
    in_event = file.index(b'needle.type"data"')
    [place] = [
        place for place in range(len(file)) if file.startswith(text, place) and not in_event <= place < in_event + 100
    ]
    file[place + len(text) - 1] ^= 2
    path.write_bytes(file)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"needle.type", "the index on types does not lead to it, so readers of its type may not get it"),
        (b"needle-id", "the index on ids does not lead to it, so its id could be stored twice"),
        (b"needle-key", "the index on keys does not lead to it, so queries for its key may not get it"),
    ],
)
async def test_a_flipped_bit_in_an_index_which_hides_an_event_is_found(path: Path, text: bytes, message: str) -> None:
    await needles(path)
    sql(path, "DELETE FROM events WHERE sequence < 3")  # so that an event's place in the table is not its sequence
    sql(path, "INSERT INTO removals VALUES (1, 2, 0, 'clear')")

    flip_in_index(path, text)

    assert only(await verified(path)) == (f"event {BAD}: {message}", BAD)


@pytest.mark.asyncio
async def test_an_entry_of_an_index_that_leads_nowhere_is_found(path: Path) -> None:
    await needles(path)
    rewritten(
        path, "CREATE INDEX events_by_type ON events (type)", "CREATE INDEX events_by_type ON events (type) WHERE 0"
    )
    sql(path, f"DELETE FROM events WHERE sequence = {BAD}")
    rewritten(
        path, "CREATE INDEX events_by_type ON events (type) WHERE 0", "CREATE INDEX events_by_type ON events (type)"
    )

    assert told(await verified(path)) == [
        ("SQLite's own check: wrong # of entries in index events_by_type", None),
        (f"event {BAD} is missing, and no removal is recorded", BAD),
    ]


def rewritten(path: Path, old: str, new: str) -> None:
    """Have SQLite believe that a table or index was made by another statement than it was."""
    with_schema = f"UPDATE sqlite_schema SET sql = '{new}' WHERE sql = '{old}'"
    script = f"PRAGMA writable_schema = ON; {with_schema};"
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.close()"
    subprocess.run([sys.executable, "-c", program, str(path), script], check=True)


@pytest.mark.asyncio
async def test_events_of_the_same_id_are_found(path: Path) -> None:
    await make_log(path, 5)
    unique = "CREATE UNIQUE INDEX events_by_id ON events (id) WHERE id IS NOT NULL"
    rewritten(path, unique, unique.replace("UNIQUE ", ""))
    async with opened(path) as store:
        store._lookups.by_ids = nothing_by_ids  # type: ignore[method-assign]  # a store that forgets ids
        await store.append([record("a.b", "other", id="id-2")])
    rewritten(path, unique.replace("UNIQUE ", ""), unique)

    assert ("events 2 and 6 have the same id", 2) in told(await verified(path))


async def nothing_by_ids(ids: Any) -> dict[str, Any]:
    return {}


@pytest.mark.asyncio
@pytest.mark.parametrize("index", ["events_by_type", "events_by_id", "events_by_key"])
async def test_an_index_that_is_missing_or_another_one_is_found(path: Path, index: str) -> None:
    await needles(path)
    sql(path, f"DROP INDEX {index}")
    assert only(await verified(path)) == (f"the index {index} is missing", None)

    sql(path, f"CREATE INDEX {index} ON events (time)")
    assert only(await verified(path)) == (f"the index {index} is not what asyncbus has made", None)


@pytest.mark.asyncio
async def test_an_index_of_the_users_own_is_no_finding(path: Path) -> None:
    await make_log(path)
    sql(path, "CREATE INDEX mine ON events (time)")
    sql(path, "CREATE VIEW faults AS SELECT * FROM events")

    assert (await verified(path)).sound


@pytest.mark.asyncio
@pytest.mark.parametrize("table", ["events", "removals", "log"])
async def test_a_table_that_is_missing_is_the_only_thing_found(path: Path, table: str) -> None:
    await make_log(path)
    sql(path, f"DROP TABLE {table}")

    assert (f"the table {table} is missing", None) in told(await verified(path))


@pytest.mark.asyncio
async def test_a_log_that_does_not_say_which_it_is_is_found(path: Path) -> None:
    await make_log(path)
    sql(path, "DELETE FROM log")

    assert only(await verified(path)) == (
        "the table log, which says which log this is, has 0 rows instead of one",
        None,
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(("head", "message"), [(None, "5 events, 1 to 5, lie"), (4, "event 5 lies")])
async def test_events_beyond_what_the_log_counts_as_given_are_found(path: Path, head: int | None, message: str) -> None:
    await make_log(path, 5)
    Path(f"{path}-watermark").unlink()
    sql(path, "DELETE FROM sqlite_sequence" if head is None else f"UPDATE sqlite_sequence SET seq = {head}")
    sql(path, "UPDATE events SET data = '1' WHERE sequence = 5")

    found = await verified(path)

    assert [finding.message.startswith(message) for finding in found.findings] == [True, False]
    assert found.findings[1].message == "event 5: its checksum is wrong"


@pytest.mark.asyncio
async def test_a_missing_end_is_found(path: Path) -> None:
    await make_log(path, 9)
    sql(path, "DELETE FROM events WHERE sequence > 6")

    assert only(await verified(path)) == ("events 7 to 9 are missing, and no removal is recorded", 7)


@pytest.mark.fault(45)
@pytest.mark.fault(46)
@pytest.mark.asyncio
async def test_a_lost_tail_is_found(path: Path) -> None:
    await make_log(path, 3)
    await written_and_killed(path, 4)
    Path(f"{path}-wal").unlink()

    message, sequence = only(await verified(path))

    assert message.startswith("the log ends at event 3, but ")
    assert "event 7 was stored" in message
    assert sequence is None


@pytest.mark.asyncio
async def test_no_more_than_a_thousand_findings_are_listed_and_the_others_are_counted(path: Path) -> None:
    await make_log(path, 1500)
    sql(path, "UPDATE events SET data = '1'")

    found = await verified(path)

    assert len(found.findings) == 1000
    assert found.unlisted == 500
    assert str(found).splitlines()[-1] == "and 500 more"


def test_the_name_is_the_function_and_its_module_only_the_entry_point() -> None:
    assert callable(asyncbus.verify)
    assert "asyncbus.verify" not in sys.modules


@pytest.mark.asyncio
async def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(asyncbus.InvalidOptionError):
        verify("")
