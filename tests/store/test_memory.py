"""What `MemoryStore` does beyond the contract: its bound."""

from typing import Any

import pytest

from asyncbus import Bounds, EventFilter, EventIdConflictError, InvalidOptionError, MemoryStore, Pattern, Record
from asyncbus.testing import content, record
from tests.store.files import ALL, read_all, sequences

EVERYTHING = EventFilter(limit=None)


async def filled(*batches: int, max_events: int | None = None) -> MemoryStore:
    """A store that got batches of these sizes; event n has the id `id-n` and the type `a.0` or `a.1`."""
    store = MemoryStore(max_events=max_events)
    await store.open()
    number = 0
    for size in batches:
        batch = [record(f"a.{n % 2}", n, id=f"id-{n}") for n in range(number + 1, number + size + 1)]
        await store.append(batch)
        number += size
    return store


@pytest.mark.asyncio
async def test_opening_again_after_closing_finds_what_it_held() -> None:
    store = await filled(3, max_events=2)
    before = [content(event) for event in await store.query(EVERYTHING)]
    await store.close()

    bounds = await store.open()

    assert bounds == Bounds(floor=1, head=3, recorded_at=record("a").recorded_at)
    assert [content(event) for event in await store.query(EVERYTHING)] == before
    appended = await store.append([record("a.1", 3, id="id-3"), record("a.0", 4)])
    assert (appended.first, appended.duplicates) == (4, {0: 3})


@pytest.mark.asyncio
@pytest.mark.parametrize("batches", [(1,) * 9, (3, 3, 3), (9,), (4, 1, 4)])
async def test_only_the_newest_max_events_are_retained(batches: tuple[int, ...]) -> None:
    store = await filled(*batches, max_events=4)

    assert sequences(await store.query(EVERYTHING)) == [6, 7, 8, 9]
    assert await store.latest_sequence() == 9
    assert await store.open() == Bounds(5, 9, record("a").recorded_at)


@pytest.mark.asyncio
async def test_every_append_tells_the_floor() -> None:
    store = await filled(max_events=3)

    floors = [(await store.append([record("a")] * 1)).floor for _ in range(6)]

    assert floors == [0, 0, 0, 1, 2, 3]


@pytest.mark.asyncio
async def test_a_batch_larger_than_the_bound_keeps_its_end() -> None:
    store = await filled(2, 10, max_events=3)

    assert sequences(await store.query(EVERYTHING)) == [10, 11, 12]
    assert (await store.read(0, ALL, 100)).floor == 9


@pytest.mark.asyncio
@pytest.mark.parametrize("pattern", ["*", "a.*", "a.1", "nothing"])
@pytest.mark.parametrize("after", [0, 3, 5, 6, 8, 9, 12])
async def test_a_page_below_the_bound_tells_its_floor_and_begins_above_it(pattern: str, after: int) -> None:
    store = await filled(9, max_events=4)
    wanted = Pattern.parse(pattern)

    page = await store.read(after, wanted, 100)

    assert page.floor == 5
    assert page.up_to == max(after, 9)
    assert sequences(page.records) == [n for n in (6, 7, 8, 9) if n > after and wanted.matches(f"a.{n % 2}")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"start_sequence": 1}, [6, 7, 8, 9]),
        ({"start_sequence": 7}, [7, 8, 9]),
        ({"stop_sequence": 3}, []),
        ({"stop_sequence": 6}, []),
        ({"stop_sequence": 8}, [6, 7]),
        ({"start_sequence": 2, "stop_sequence": 7}, [6]),
        ({"start_sequence": 8, "stop_sequence": 7}, []),
        ({"start_sequence": 40}, []),
        ({"newest_first": True, "limit": 2}, [9, 8]),
        ({"pattern": Pattern.parse("a.1")}, [7, 9]),
    ],
)
async def test_queries_see_only_what_is_retained(conditions: dict[str, Any], expected: list[int]) -> None:
    store = await filled(4, 5, max_events=4)

    assert sequences(await store.query(EventFilter(**conditions))) == expected


@pytest.mark.asyncio
async def test_ids_of_removed_events_are_forgotten() -> None:
    store = await filled(5, max_events=3)

    appended = await store.append([record("b", "other content", id="id-1"), record("a.1", 5, id="id-5")])

    assert appended.duplicates == {1: 5}
    with pytest.raises(EventIdConflictError):
        await store.append([record("b", "other content", id="id-5")])


@pytest.mark.asyncio
async def test_clear_forgets_ids_and_goes_on_with_the_bound() -> None:
    store = await filled(5, max_events=3)
    await store.clear()

    appended = await store.append([record("b", number, id=f"id-{number}") for number in range(1, 6)])

    assert (appended.first, appended.duplicates, appended.floor) == (6, {}, 7)
    assert sequences(await store.query(EVERYTHING)) == [8, 9, 10]


@pytest.mark.asyncio
async def test_memory_stays_bounded_by_max_events() -> None:
    store = MemoryStore(max_events=100)
    await store.open()
    kept = 0

    for place in range(120):
        await store.append([record("a", place, id=f"{place}-{n}" if n % 10 == 0 else None) for n in range(200)])
        kept = max(kept, len(store._records))

    # What is removed goes in portions, so that appending does not move the rest each time.
    assert kept <= 100 + 200 + 8192
    assert len(store._by_id) == 10
    found, _ = await read_all(store)
    assert sequences(found) == list(range(120 * 200 - 99, 120 * 200 + 1))


@pytest.mark.asyncio
async def test_a_page_looks_at_a_bounded_part_of_the_log() -> None:
    store = MemoryStore()
    await store.open()
    await store.append([record("common", n) for n in range(20_000)])
    await store.append([record("rare")])

    first = await store.read(0, Pattern.parse("rare"), 10)

    assert (list(first.records), first.up_to < 20_000) == ([], True), (
        "the loop gets a turn before the whole log is read"
    )
    pages = 1
    after = first.up_to
    found: list[Record] = []
    while after < await store.latest_sequence():
        page = await store.read(after, Pattern.parse("rare"), 10)
        found += page.records
        after = page.up_to
        pages += 1
    assert sequences(found) == [20_001]
    assert pages == 3


@pytest.mark.parametrize("max_events", [0, -1, 1.5, "10", True])
def test_a_bound_that_is_no_positive_integer_is_refused(max_events: Any) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        MemoryStore(max_events=max_events)

    assert caught.value.option == "max_events"
    assert caught.value.found == max_events
