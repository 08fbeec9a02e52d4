import asyncio
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbus.errors import (
    EventsLostError,
    StartBeyondHeadError,
    StoreCorruptError,
)
from asyncbus.events import from_microseconds
from asyncbus.options import Start
from asyncbus.patterns import Pattern
from asyncbus.receiving import FIRST_PAGE, LAST_PAGE
from asyncbus.store.base import Page
from asyncbus.store.memory import MemoryStore
from tests.fakes import MOMENT, GatedStore, next_of, opened, take, until

pytestmark = pytest.mark.asyncio


# --- live ------------------------------------------------------------------------------------------------------------


async def test_a_live_reader_gets_what_matches_in_order() -> None:
    log = await opened("a")
    reader = log.subscription("a.*")
    assert reader.phase == "live"

    await log.commit("a.x", "b")
    await log.commit("a.y")

    assert await take(reader, 2) == [2, 4]


async def test_a_waiting_reader_is_woken_by_a_commit() -> None:
    log = await opened()
    reader = log.subscription("b")
    waiting = await next_of(reader)

    await log.commit("a")
    await asyncio.sleep(0)
    assert not waiting.done()
    await log.commit("b")

    assert (await waiting).sequence == 2


async def test_cancelling_a_waiting_reader_loses_no_event() -> None:
    log = await opened()
    reader = log.subscription()
    waiting = await next_of(reader)

    await log.commit("a", "b")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await take(reader, 2) == [1, 2]


async def test_each_reader_gets_an_event_of_its_own() -> None:
    log = await opened()
    readers = [log.subscription(), log.subscription()]
    await log.commit("a")

    first, second = [await anext(reader) for reader in readers]

    assert first == second
    assert first is not second


# --- where to begin --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "phase", "first"),
    [("latest", "live", 4), ("earliest", "catching_up", 1), (2, "catching_up", 2), (4, "live", 4)],
)
async def test_reading_begins_where_it_was_asked_to(start: Start, phase: str, first: int) -> None:
    log = await opened("a", "a", "a")
    reader = log.subscription(start=start)
    assert reader.phase == phase

    await log.commit("a")

    assert await take(reader, 5 - first) == list(range(first, 5))
    assert reader.phase == "live"


@pytest.mark.parametrize(("seconds", "first"), [(-1, 1), (0, 1), (5, 2), (10, 2), (11, 3)])
async def test_a_moment_begins_with_what_was_recorded_at_or_after_it(seconds: int, first: int) -> None:
    log = await opened()
    await log.commit("a")
    await log.commit("a", at=MOMENT + 10_000_000)
    reader = log.subscription(start=from_microseconds(MOMENT + seconds * 1_000_000))

    await log.commit("a", at=MOMENT + 20_000_000)

    assert await take(reader, 4 - first) == list(range(first, 4))


async def test_a_moment_to_come_leaves_out_what_is_recorded_before_it() -> None:
    log = await opened("a")
    reader = log.subscription(start=from_microseconds(MOMENT + 10_000_000))
    waiting = await next_of(reader)

    await log.commit("a", at=MOMENT + 9_999_999)
    await log.commit("a", at=MOMENT + 10_000_000)

    assert (await waiting).sequence == 3
    assert reader.delivered == 1


async def test_a_start_beyond_the_next_event_is_refused_and_takes_no_part() -> None:
    log = await opened("a")

    with pytest.raises(StartBeyondHeadError):
        log.subscription(start=3)

    await log.commit("a")
    assert log.fanout._index.receivers("a") == ()


async def test_a_start_that_was_removed_is_refused() -> None:
    log = await opened("a", "a", "a", store=MemoryStore(max_events=1))

    with pytest.raises(EventsLostError):
        log.subscription(start=2)


# --- catching up -----------------------------------------------------------------------------------------------------


@pytest.mark.fault(70)
async def test_history_and_what_comes_meanwhile_are_read_without_gap_or_duplicate() -> None:
    store = GatedStore()
    log = await opened("a", "b", "a", store=store)
    reader = log.subscription("a", start="earliest")
    store.may_read.clear()
    reading = asyncio.create_task(take(reader, 4))
    await until(lambda: store.reading)

    await log.commit("a", "b", "a")
    store.may_read.set()

    assert await reading == [1, 3, 4, 6]
    assert (reader.phase, reader.position, reader.backlog) == ("live", 6, 0)


async def test_a_reader_that_falls_behind_keeps_what_its_queue_holds_and_reads_the_rest_later() -> None:
    log = await opened()
    reader = log.subscription(capacity=2)
    await log.commit("a")

    await log.commit("a", "a", "a")

    seen = reader.statistics()
    assert (seen.phase, seen.queued, seen.overflows, seen.position) == ("catching_up", 2, 1, 0)
    assert await take(reader, 2) == [1, 2]
    assert (reader.phase, reader.position, reader.backlog) == ("catching_up", 2, 2)
    assert await take(reader, 2) == [3, 4]
    assert reader.statistics().phase == "live"


@pytest.mark.fault(70)
async def test_a_reader_is_not_live_before_it_has_read_the_last_event() -> None:
    log = await opened(*["a"] * (FIRST_PAGE + 1))
    reader = log.subscription(start="earliest")

    await take(reader, 1)

    assert (reader.phase, reader.backlog) == ("catching_up", FIRST_PAGE)
    assert await take(reader, FIRST_PAGE) == list(range(2, FIRST_PAGE + 2))
    assert reader.phase == "live"


async def test_a_batch_that_just_fits_is_no_overflow() -> None:
    log = await opened()
    reader = log.subscription(capacity=3)
    await log.commit("a")

    await log.commit("a", "a")

    assert (reader.phase, reader.statistics().overflows) == ("live", 0)


async def test_the_queue_of_a_reader_that_catches_up_does_not_grow() -> None:
    log = await opened()
    reader = log.subscription(capacity=2)

    for _ in range(50):
        await log.commit("a", "a", "a")

    assert reader.statistics().queued == 2
    assert await take(reader, 150) == list(range(1, 151))


async def test_pages_are_short_at_first_and_never_longer_than_the_longest() -> None:
    class CountingStore(MemoryStore):
        limits: ClassVar[list[int]] = []

        async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
            self.limits.append(limit)
            return await super().read(after, pattern, limit)

    log = await opened(*["a"] * (3 * LAST_PAGE), store=CountingStore())
    reader = log.subscription(start="earliest")

    await take(reader, 3 * LAST_PAGE)

    assert CountingStore.limits[:2] == [FIRST_PAGE, 2 * FIRST_PAGE]
    assert max(CountingStore.limits) == CountingStore.limits[-1] == LAST_PAGE


async def test_a_page_that_is_being_read_when_the_reader_is_closed_is_thrown_away() -> None:
    store = GatedStore()
    log = await opened("a", store=store)
    reader = log.subscription(start="earliest")
    store.may_read.clear()
    reading = asyncio.create_task(take(reader, 1))
    await until(lambda: store.reading)

    await reader.close()
    store.may_read.set()

    with pytest.raises(StopAsyncIteration):
        await reading
    assert reader.held == 0


async def test_who_is_overtaken_while_catching_up_is_told_what_he_lost() -> None:
    log = await opened("a", "a", store=MemoryStore(max_events=2))
    reader = log.subscription(start="earliest")
    await log.commit("a")

    with pytest.raises(EventsLostError) as lost:
        await anext(reader)

    assert (lost.value.first, lost.value.last) == (1, 1)
    assert isinstance(reader.error, EventsLostError)
    assert await take(log.subscription(start=lost.value.last + 1), 2) == [2, 3]


async def test_a_past_that_cannot_be_read_ends_the_reader() -> None:
    class DamagedStore(MemoryStore):
        async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
            raise StoreCorruptError("its checksum is wrong", 1)

    log = await opened("a", store=DamagedStore())
    reader = log.subscription(start="earliest")

    for _ in range(2):
        with pytest.raises(StoreCorruptError, match="event 1"):
            await anext(reader)

    assert log.ended == [reader]
    assert log.fanout._index.receivers("a") == ()


@pytest.mark.fault(70)
@settings(max_examples=60)
@given(st.data())
async def test_any_mix_of_reading_and_committing_delivers_each_event_once_in_order(data: st.DataObject) -> None:
    history = data.draw(st.text("ab", max_size=6))
    log = await opened(*history)
    start: Start = data.draw(st.sampled_from(["latest", "earliest", len(history) + 1]))
    reader = log.subscription("a", start=start, capacity=data.draw(st.integers(1, 4)))
    types, got = list(history), list[int]()
    skipped = 0 if start == "earliest" else len(history)
    for step in data.draw(st.lists(st.text("ab", min_size=1, max_size=5) | st.integers(1, 4), max_size=12)):
        if isinstance(step, str):
            types += step
            await log.commit(*step)
        else:
            due = sum(type == "a" for type in types[skipped:]) - len(got)
            got += await take(reader, min(step, due))
        wanted = [sequence for sequence, type in enumerate(types, 1) if type == "a" and sequence > skipped]
        assert got == wanted[: len(got)]
        undelivered = wanted[len(got) :]
        assert reader.position < (undelivered or [len(types) + 1])[0]
        assert reader.statistics().queued <= 4
    wanted = [sequence for sequence, type in enumerate(types, 1) if type == "a" and sequence > skipped]
    assert got + await take(reader, len(wanted) - len(got)) == wanted
