"""What only shows when rows and the entries of their indexes are compared."""

from pathlib import Path
from typing import Any

import pytest

from asyncbus.testing import record
from tests.store.files import make_log, only, opened, sql, told, verified, write_schema
from tests.store.test_sqlite_damage import BAD, EVENTS


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
    write_schema(path, f"sql = '{new}'", f"sql = '{old}'")


@pytest.mark.asyncio
async def test_events_of_the_same_id_are_found(path: Path) -> None:
    await make_log(path, 5)
    unique = "CREATE UNIQUE INDEX events_by_id ON events (id) WHERE id IS NOT NULL"
    rewritten(path, unique, unique.replace("UNIQUE ", ""))
    async with opened(path) as store:
        store._appender._lookups.by_ids = nothing_by_ids  # type: ignore[method-assign]  # a store that forgets ids
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
