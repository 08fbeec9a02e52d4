"""The SQL of the log: what a user gives is bound and never part of a statement, and there are few statements."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncbus import EventFilter, Pattern, Record
from asyncbus.store import statements
from asyncbus.store.statements import BATCH_LIMIT
from asyncbus.testing import content, record
from tests.store.files import ALL, opened, read_all, sql

HOSTILE = [
    "'; DROP TABLE events; --",
    '"; DROP TABLE events; --',
    "x' OR '1'='1",
    "%",
    "_",
    "*",
    "?",
    "?1",
    ":name",
    "{rows}",
    "{0}",
    "%s",
    "json_array(1)",
    "\\",
    "é'漢\"🐍",
]


def bare(size: int) -> list[Record]:
    return [record("a.b") for _ in range(size)]


def named(size: int) -> list[Record]:
    return [record("a.b", id=f"id-{number}") for number in range(size)]


def typed(size: int) -> list[Record]:
    return [record("a.b", key="k", version=2) for _ in range(size)]


def full(size: int) -> list[Record]:
    return [
        record("a", id=f"{n}", key="k", metadata={}, version=1, causation_id=1, correlation_id="c") for n in range(size)
    ]


# --- inserting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "columns"), [("bare", 4), ("named", 5), ("typed", 6), ("full", 10)])
def test_a_statement_has_a_place_for_everything_that_is_bound(kind: str, columns: int) -> None:
    records = {"bare": bare, "named": named, "typed": typed, "full": full}[kind](BATCH_LIMIT)
    for size in [*range(1, 70), 95, 96, 97, 1000, 3072, 3073, BATCH_LIMIT - 1, BATCH_LIMIT]:
        made = statements.inserts(records[:size], 1)
        assert len(made) == (2 if size > 3072 and columns > 7 else 1)
        for statement, bound in made:
            assert statement.count("?") == len(bound) <= 32_766
            assert (len(bound) - 1) % columns == 0


def test_a_ladder_of_sizes_keeps_the_statements_few_and_their_padding_small() -> None:
    records = bare(BATCH_LIMIT)
    prepared = set()
    for size in range(1, BATCH_LIMIT + 1):
        if size <= 200 or size % 37 == 0 or size > BATCH_LIMIT - 5:
            [(statement, bound)] = statements.inserts(records[:size], 1)
            prepared.add(statement)
            rows = (len(bound) - 1) // 4
            assert 0 <= rows - size <= rows / 3
            assert bound[1 + 4 * size :] == [None] * (4 * (rows - size)), "padding is NULL"

    assert len(prepared) <= 25


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({}, 4),
        ({"key": "k"}, 5),
        ({"metadata": {}}, 5),
        ({"id": "i", "key": "k", "metadata": {}}, 7),
        ({"version": 1}, 5),
        ({"causation_id": 1, "correlation_id": "c", "version": 1}, 7),
    ],
)
def test_what_no_event_of_a_batch_has_is_not_bound(options: dict[str, Any], columns: int) -> None:
    [(_, bound)] = statements.inserts([*bare(63), record("a", **options)], 1)

    assert len(bound) == 1 + 64 * columns


@pytest.mark.fault(24)
def test_inserting_binds_everything_that_a_user_gives() -> None:
    [(plain, _)] = statements.inserts(full(len(HOSTILE)), 1)
    options = {"version": 1, "causation_id": 1}
    hostile = [
        record("a.b", text, id=text, key=text, metadata={text: text}, correlation_id=text, **options)
        for text in HOSTILE
    ]

    [(statement, bound)] = statements.inserts(hostile, 1)

    assert statement == plain
    for text in HOSTILE:
        assert bound.count(text) == 3


# --- reading ---------------------------------------------------------------------------------------------------------


def questions() -> Iterator[tuple[EventFilter, Sequence[str] | None]]:
    """Filters with every combination of conditions set or not, some with the types of their pattern."""
    random = Random(24)
    conditions = ("start_sequence", "stop_sequence", "start_recorded", "stop_recorded", "since", "until")
    for _ in range(300):
        chosen: dict[str, Any] = {name: random.randrange(100) for name in conditions if random.random() < 0.4}
        chosen["key"] = random.choice([None, *HOSTILE])
        # As if the grammar of patterns had let them through.
        chosen["pattern"] = random.choice(
            [ALL, Pattern(exact=tuple(HOSTILE[:3])), Pattern(prefixes=tuple(HOSTILE[3:6])), Pattern(exact=("a",))]
        )
        yield EventFilter(**chosen, newest_first=random.random() < 0.5), random.choice([None, HOSTILE[:5]])


@pytest.mark.fault(24)
def test_reading_binds_everything_that_a_user_gives() -> None:
    for wanted, types in questions():
        statement, bound = statements.page(wanted, types, beyond=1, up_to=100, limit=10)

        assert statement.count("?") == len(bound)
        assert not any(text in statement for text in HOSTILE if len(text) > 5)
        assert wanted.key is None or wanted.key in bound
        assert set(types or ()) <= set(bound)


@pytest.mark.fault(24)
def test_looking_for_types_binds_the_pattern() -> None:
    pattern = Pattern(exact=tuple(HOSTILE[:3]), prefixes=tuple(HOSTILE[3:6]))

    statement, bound = statements.types_of(pattern.ranges())

    assert statement.count("?") == len(bound)
    assert statement == statements.types_of([("low", "high")] * 6)[0]


@pytest.mark.fault(24)
@pytest.mark.asyncio
async def test_hostile_text_is_stored_found_and_harmless(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as store:
        batch = [record("a.b", {text: text}, id=text, key=text, metadata={text: text}) for text in HOSTILE]
        await store.append(batch)
        again = [record("a.b", {text: text}, id=text, key=text, metadata={text: text}) for text in HOSTILE]
        appended = await store.append(again)
        for stored in batch:
            [found] = await store.query(EventFilter(key=stored.key))
            assert content(found) == content(stored)
        for text in HOSTILE:
            for pattern in (Pattern(exact=(text,)), Pattern(prefixes=(text,))):  # the grammar would refuse them
                page = await store.read(0, pattern, 100)
                assert list(page.records) == []
                assert list(await store.query(EventFilter(pattern=pattern))) == []
        found_all, error = await read_all(store)

    assert appended.duplicates == {place: place + 1 for place in range(len(HOSTILE))}
    assert error is None
    assert [content(stored) for stored in found_all] == [content(stored) for stored in batch]
    assert sql(path, "SELECT count(*) FROM events") == [(len(HOSTILE),)]


@pytest.mark.fault(23)
@pytest.mark.asyncio
async def test_wildcards_of_sql_in_a_pattern_match_only_themselves(tmp_path: Path) -> None:
    types = ["order_created", "orderXcreated", "ORDER_created", "order_", "order", "order.created", "order-created"]
    async with opened(tmp_path / "log.db") as store:
        await store.append([record(type) for type in types])
        for pattern in (*types, "order_*", "order.*", "order*", "ORDER*", "o*", "-*"):
            wanted = Pattern.parse(pattern)
            page = await store.read(0, wanted, 100)
            assert [found.type for found in page.records] == [type for type in types if wanted.matches(type)], pattern
