import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbus.errors import EventsLostError, StartBeyondHeadError, StoreFailedError
from asyncbus.events import from_microseconds
from asyncbus.options import Start
from asyncbus.patterns import Pattern
from asyncbus.store.base import Bounds, Page
from asyncbus.store.memory import MemoryStore
from tests.fakes import MOMENT, GatedStore, Log, sequences, submissions, until

pytestmark = pytest.mark.asyncio

ALL = Pattern.parse("*")

MANY = 600
"""Events of a batch that memory does not join with the one before."""


async def log_of(*types: str, recent_capacity: int = 8192, store: MemoryStore | None = None) -> Log:
    """An open log to which these were committed one by one."""
    log = Log(store, recent_capacity=recent_capacity)
    await log.open()
    for type in types:
        await log.commit(type)
    return log


# --- the head --------------------------------------------------------------------------------------------------------


async def test_the_head_is_where_the_store_ends_and_moves_with_each_batch() -> None:
    log = Log()
    assert await log.open("a", "b") == Bounds(head=2)
    assert (log.history.head, log.history.floor) == (2, 0)

    await log.commit("c", "d")

    assert log.history.head == 4


# --- where to begin --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "before"), [("latest", 4), ("earliest", 2), (3, 2), (4, 3), (5, 4)])
async def test_a_start_becomes_the_sequence_before_it(start: Start, before: int) -> None:
    log = await log_of("a", "b", "c", "d", store=MemoryStore(max_events=2))

    assert log.history.before(start) == before


async def test_a_start_beyond_the_next_event_is_refused() -> None:
    log = await log_of("a", "b")

    with pytest.raises(StartBeyondHeadError) as refused:
        log.history.before(4)

    assert (refused.value.start, refused.value.head) == (4, 2)


@pytest.mark.parametrize("start", [1, 2])
async def test_a_start_that_was_removed_is_refused_with_the_range(start: int) -> None:
    log = await log_of("a", "b", "c", "d", store=MemoryStore(max_events=2))

    with pytest.raises(EventsLostError) as refused:
        log.history.before(start)

    assert (refused.value.first, refused.value.last) == (start, 2)


async def test_a_moment_has_to_be_looked_for() -> None:
    log = await log_of("a")

    assert log.history.before(datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(("seconds", "before"), [(-5, 0), (0, 0), (1, 1), (10, 1), (11, 3), (20, 3), (21, 4)])
async def test_a_moment_begins_with_the_first_event_recorded_at_or_after_it(seconds: int, before: int) -> None:
    log = await log_of()
    for later, types in ((0, "a"), (10, "bc"), (20, "d")):
        await log.commit(*types, at=MOMENT + later * 1_000_000)

    assert await log.history.before_moment(MOMENT + seconds * 1_000_000) == before


@pytest.mark.parametrize(("start", "before"), [("earliest", 0), (2, 1), (from_microseconds(MOMENT + 1_000_000), 1)])
async def test_the_place_before_a_start_is_found_also_where_it_is_a_moment(start: Start, before: int) -> None:
    log = await log_of()
    for later in range(3):
        await log.commit("a", at=MOMENT + later * 1_000_000)

    assert await log.history.place_before(start) == before


async def test_a_moment_does_not_begin_beyond_the_head() -> None:
    """What the store has committed and nobody was offered yet will still be offered."""
    log = await log_of("a", "b")
    ahead = submissions("c", "d")
    for later, record in enumerate(ahead, 1):
        record.recorded_at = MOMENT + later
    await log.store.append(ahead)

    assert await log.history.before_moment(MOMENT + 2) == 2


# --- pages -----------------------------------------------------------------------------------------------------------


async def read_all(log: Log, pattern: Pattern, limit: int, after: int = 0) -> list[int]:
    """The sequences of all pages up to the head."""
    found: list[int] = []
    while after < log.history.head:
        page = await log.history.page(after, pattern, limit)
        assert len(page.records) <= limit
        assert all(after < record.sequence <= page.up_to for record in page.records)
        assert page.up_to > after
        found += sequences(page.records)
        after = page.up_to
    assert after == log.history.head
    return found


@settings(max_examples=50)
@given(st.data())
async def test_pages_show_each_matching_event_once_in_order_whether_from_memory_or_the_store(
    data: st.DataObject,
) -> None:
    log = Log(recent_capacity=data.draw(st.integers(1, 600), label="recent capacity"))
    types = list(data.draw(st.text("abc", max_size=8), label="stored before"))
    await log.open(*types)
    for batch in data.draw(st.lists(st.text("abc", min_size=1, max_size=5), max_size=6), label="batches"):
        many = batch * data.draw(st.sampled_from([1, 100]))
        types += many
        await log.commit(*many)
    pattern = Pattern.parse(data.draw(st.sampled_from(["*", "a", "a*", "z"]), label="pattern"))
    after = data.draw(st.integers(0, len(types)), label="after")

    found = await read_all(log, pattern, data.draw(st.integers(10, 700), label="limit"), after)

    expected = [sequence for sequence, type in enumerate(types, 1) if sequence > after and pattern.matches(type)]
    assert found == expected


async def test_what_is_recent_is_not_asked_of_the_store() -> None:
    store = GatedStore()
    store.may_read.clear()
    log = Log(store)
    await log.open("a")
    await log.commit("b", "c")

    assert log.history.has(1)
    assert await read_all(log, ALL, 10, after=1) == [2, 3]
    assert not log.history.has(0)
    reading = asyncio.create_task(read_all(log, ALL, 10))
    await until(lambda: store.reading)
    store.may_read.set()
    assert await reading == [1, 2, 3]


async def test_a_page_from_memory_gives_others_a_turn() -> None:
    log = await log_of("a")
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)

    await log.history.page(0, ALL, 10)

    assert turns == [1]


async def test_what_leaves_memory_while_a_page_waits_for_its_turn_comes_from_the_store() -> None:
    log = await log_of("a", recent_capacity=1)
    reading = asyncio.create_task(log.history.page(0, ALL, 10_000))
    await asyncio.sleep(0)
    assert log.history.has(0)

    await log.commit(*["b"] * MANY)
    await log.commit(*["c"] * MANY)
    assert not log.history.has(0)

    assert sequences((await reading).records) == list(range(1, 2 * MANY + 2))


async def test_nobody_sees_what_is_committed_and_not_passed_on_yet() -> None:
    log = Log()
    await log.open("a", "b")
    await log.store.append(submissions("c", "d"))

    page = await log.history.page(0, ALL, 10)

    assert (sequences(page.records), page.up_to) == ([1, 2], 2)


async def test_what_is_committed_while_the_store_is_read_is_the_future_of_that_page() -> None:
    store = GatedStore()
    store.may_read.clear()
    log = Log(store)
    await log.open("a", "b")
    reading = asyncio.create_task(log.history.page(0, ALL, 10))
    await until(lambda: store.reading)

    await log.commit("c")
    store.may_read.set()
    page = await reading

    assert (sequences(page.records), page.up_to) == ([1, 2], 2)
    assert await read_all(log, ALL, 10, after=2) == [3]


async def test_who_was_overtaken_by_the_bound_of_the_store_is_told_what_he_lost() -> None:
    log = Log(MemoryStore(max_events=2))
    await log.open("a", "b", "c", "d")

    with pytest.raises(EventsLostError) as lost:
        await log.history.page(0, ALL, 10)

    assert (lost.value.first, lost.value.last) == (1, 2)
    assert await read_all(log, ALL, 10, after=2) == [3, 4]


async def test_what_memory_still_has_is_not_lost() -> None:
    log = await log_of("a", "b", "c", "d", recent_capacity=4, store=MemoryStore(max_events=2))

    assert await read_all(log, ALL, 10) == [1, 2, 3, 4]


async def test_a_page_can_be_kept_while_more_is_committed() -> None:
    log = await log_of("a")
    page = await log.history.page(0, ALL, 10)

    await log.commit("b")

    assert sequences(page.records) == [1]


async def test_a_store_that_raises_something_else_has_failed() -> None:
    class StrangeStore(MemoryStore):
        async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
            raise OSError("the disk is gone")

    log = Log(StrangeStore())
    await log.open("a")

    with pytest.raises(StoreFailedError, match="the disk is gone") as failed:
        await log.history.page(0, ALL, 10)

    assert isinstance(failed.value.__cause__, OSError)


# --- the recent ones -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 100, 1000])
async def test_memory_holds_the_recent_ones_and_at_most_a_batch_more(size: int) -> None:
    log = await log_of(recent_capacity=1000)
    for _ in range(3000 // size):
        await log.commit(*["a"] * size)

    held = sum(len(batch) for batch in log.history._batches)
    assert 1000 <= held < 1000 + max(size, 512)
    head = log.history.head
    assert sequences(log.history.recent(ALL)) == list(range(head - 999, head + 1))


async def test_recent_shows_the_matching_ones_of_the_last() -> None:
    log = await log_of("a", "b", "a", "b", recent_capacity=3)

    assert sequences(log.history.recent(Pattern.parse("a"))) == [3]
    assert sequences(log.history.recent(Pattern.parse("b"))) == [2, 4]


async def test_what_was_stored_before_this_run_is_not_recent() -> None:
    log = Log()
    await log.open("a", "b")

    assert log.history.recent(ALL) == []


# --- clearing --------------------------------------------------------------------------------------------------------


async def test_after_clearing_the_sequences_go_on() -> None:
    log = await log_of("a", "b")
    await log.store.clear()
    log.history.clear(2)

    assert (log.history.head, log.history.floor) == (2, 2)
    assert log.history.recent(ALL) == []
    await log.commit("c")
    assert await read_all(log, ALL, 10, after=2) == [3]


async def test_after_clearing_whoever_was_owed_something_is_told() -> None:
    log = await log_of("a", "b")
    await log.store.clear()
    log.history.clear(2)

    with pytest.raises(EventsLostError) as lost:
        await log.history.page(1, ALL, 10)

    assert (lost.value.first, lost.value.last) == (2, 2)
