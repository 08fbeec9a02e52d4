"""Damage in what is kept for consumers is told with where it is and what to do, by readers and by `verify`."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncbus import StoreCorruptError
from asyncbus.store.consumers import Change, ParkedFilter, Released
from asyncbus.testing import record
from tests.store.files import only, opened, sql, told, verified
from tests.store.kept import ALL_LETTERS, BAD, EVENTS, numbers, parked, parked_log, state
from tests.store.test_sqlite_damage import flips
from tests.store.test_verification import verifications


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("data", [None, b"bytes, not text"], ids=["text", "bytes"])
@pytest.mark.parametrize("column", ["recorded_at", "time", "type", "data", "checksum", "id", "key", "metadata"])
async def test_a_flipped_bit_in_a_parked_event_is_told_with_its_event(path: Path, column: str, data: Any) -> None:
    await parked_log(path, data)
    [(value,)] = sql(path, f"SELECT {column} FROM dead_letters WHERE number = {BAD}")
    written = "CAST(? AS TEXT)" if isinstance(value, str) else "?"

    async with opened(path, read_only=True) as store:
        for flipped in flips(column, value):
            sql(path, f"UPDATE dead_letters SET {column} = {written} WHERE number = {BAD}", flipped)
            with pytest.raises(StoreCorruptError, match=f"dead letter {BAD}") as caught:
                await store.dead_letters(ALL_LETTERS)
            assert caught.value.sequence == BAD
            assert numbers(await store.dead_letters(ParkedFilter(limit=BAD - 1))) == [1, 2, 3, 4]
            assert numbers(await store.dead_letters(ParkedFilter(after=BAD))) == [6, 7, 8, 9]
            message, sequence = only(await verified(path))
            assert message.startswith(f"dead letter {BAD}")
            assert sequence in {None, BAD}


@pytest.mark.asyncio
@pytest.mark.parametrize("failures", ["[{]", "{}", '[{"attempt": "x"}]', b"\xff", "", "null"])
async def test_failures_that_cannot_be_read_are_told_with_their_dead_letter(path: Path, failures: Any) -> None:
    await parked_log(path)
    sql(path, f"UPDATE dead_letters SET failures = ? WHERE number = {BAD}", failures)

    async with opened(path, read_only=True) as store:
        with pytest.raises(StoreCorruptError, match=f"dead letter {BAD}.*restore a backup") as caught:
            await store.dead_letters(ALL_LETTERS)
        assert caught.value.sequence == BAD
        assert numbers(await store.dead_letters(ParkedFilter(after=BAD))) == [6, 7, 8, 9]

    assert only(await verified(path))[0].startswith(f"dead letter {BAD} cannot be read: ")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("owed", "{]"),
        ("owed", "[]"),
        ("owed", '{"x": [1, 0]}'),
        ("owed", '{"3": [null, 0]}'),
        ("owed", b"\xff"),
        ("pattern", b"\xff"),
        ("last_error", b"\xff"),
        ("name", b"\xff"),
        ("checkpoint", 5),
        ("checkpoint", -1),
        ("settled_to", 6),
        ("begun_to", 3),
        ("begun_to", "x"),
        ("checkpoint", 0.5),
        ("epoch", "x"),
    ],
)
async def test_a_consumer_that_cannot_be_read_is_told_with_what_to_do(path: Path, column: str, value: Any) -> None:
    await parked_log(path)
    sql(path, f"UPDATE consumers SET {column} = ? WHERE name = 'one'", value)

    async with opened(path) as store:
        with pytest.raises(StoreCorruptError, match=r"row 1 of the table consumers is damaged: .* restore a backup"):
            await store.consumers()
        await store.commit([record("a")], [state("two", epoch=2)])  # it keeps nobody from storing

    message, sequence = only(await verified(path))
    assert message.startswith("row 1 of the table consumers is damaged: ")
    assert sequence is None


@pytest.mark.asyncio
async def test_verify_looks_at_consumers_and_dead_letters(path: Path) -> None:
    await parked_log(path)
    assert (await verified(path)).sound

    async with opened(path) as store:
        await store.commit([], [state("two", checkpoint=EVENTS + 1, settled_to=EVENTS + 1, begun_to=EVENTS + 1)])
    sql(path, "UPDATE dead_letters SET data = '1' WHERE number IN (2, 7)")

    assert told(await verified(path)) == [
        (f"consumer 'two' has its checkpoint at {EVENTS + 1}, but the log ends at {EVENTS}", None),
        ("dead letter 2, event 2: its checksum is wrong", 2),
        ("dead letter 7, event 7: its checksum is wrong", 7),
    ]


@pytest.mark.asyncio
async def test_an_index_of_dead_letters_that_is_missing_is_found_and_the_rest_looked_at(path: Path) -> None:
    await parked_log(path)
    sql(path, "DROP INDEX dead_letters_by_consumer")
    sql(path, "UPDATE dead_letters SET data = '1' WHERE number = 2")

    assert [message for message, _ in told(await verified(path))] == [
        "the index dead_letters_by_consumer is missing",
        "dead letter 2, event 2: its checksum is wrong",
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("table", ["consumers", "dead_letters"])
async def test_a_table_of_consumers_that_is_missing_is_found(path: Path, table: str) -> None:
    await parked_log(path)
    sql(path, f"DROP TABLE {table}")

    assert (f"the table {table} is missing", None) in told(await verified(path))


@pytest.mark.asyncio
async def test_consumers_at_work_are_sound_at_any_moment(path: Path) -> None:
    random = Random(61)
    async with opened(path, synchronous="normal") as store:
        checking = asyncio.create_task(asyncio.to_thread(verifications, path, 10))
        head = 0
        while not checking.done():
            events = [record("a.b", place) for place in range(20)]
            changes: list[Change] = [state(checkpoint=head, settled_to=head, begun_to=head)]
            head = (await store.commit(events, changes)).first + 19
            await store.commit([], [parked(event) for event in random.sample(events, 5)])
            await store.commit([], [Released(random.sample(range(1, head), min(head - 1, 20)))])
        found = await checking

    assert [str(finding) for each in found for finding in each.findings] == []
