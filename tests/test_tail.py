import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncbus.errors import EventsLostError, StoreCorruptError
from asyncbus.patterns import Pattern
from asyncbus.store.base import Page
from asyncbus.tail import Tail
from tests.fakes import FollowedStore, Log, next_of, submissions, take, until

pytestmark = pytest.mark.asyncio


class Followed(Log):
    """A log whose store somebody else writes."""

    def __init__(self, store: FollowedStore) -> None:
        super().__init__(store)
        self.followed = store
        self.lost = 0
        self.tail = Tail(store, self.history, on_committed=self.fanout.dispatch, on_lost=self._note_loss)

    def _note_loss(self) -> None:
        self.lost += 1
        for receiver in self.fanout._index.receivers("a"):
            receiver.fall_back()  # type: ignore[attr-defined]  # they are subscriptions here

    async def append(self, *types: str) -> None:
        """What another process does; it tells later."""
        await self.store.append(submissions(*types))

    async def tell(self) -> None:
        """Let the tail look, and wait until it has seen all there is."""
        looks = self.followed.looks
        self.followed.told.set()
        await until(lambda: self.followed.looks > looks)


@asynccontextmanager
async def following(*types: str, max_events: int | None = None) -> AsyncIterator[Followed]:
    log = Followed(FollowedStore(max_events=max_events))
    await log.open(*types)
    running = asyncio.create_task(log.tail.run())
    await until(lambda: log.followed.looks)
    try:
        yield log
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_what_another_process_commits_is_offered_here() -> None:
    async with following("a") as log:
        reader = log.subscription("a")
        await log.append("a", "b", "a")
        assert log.history.head == 1

        await log.tell()

        assert log.history.head == 4
        assert await take(reader, 2) == [2, 4]


async def test_nothing_is_read_before_something_has_changed() -> None:
    async with following() as log:
        for _ in range(10):
            await asyncio.sleep(0)
        assert log.followed.looks == 1

        await log.tell()
        assert log.history.head == 0
        assert log.followed.looks == 2


async def test_all_there_is_is_followed_however_many_pages_it_takes() -> None:
    async with following() as log:
        reader = log.subscription(capacity=20_000)
        await log.append(*["a"] * 10_000)

        await log.tell()

        assert log.history.head == 10_000
        assert reader.phase == "live"
        assert await take(reader, 10_000) == list(range(1, 10_001))


async def test_a_waiting_reader_is_woken() -> None:
    async with following() as log:
        waiting = await next_of(log.subscription())

        await log.append("a")
        await log.tell()

        assert (await waiting).sequence == 1


async def test_readers_that_were_owed_what_was_removed_before_it_was_seen_are_told() -> None:
    async with following("a", "a", max_events=2) as log:
        waiting = await next_of(log.subscription("a"))
        await log.append("a", "a", "a", "a")

        await log.tell()

        with pytest.raises(EventsLostError) as lost:
            await waiting
        assert (lost.value.first, lost.value.last) == (3, 4)
        assert (log.lost, log.history.head, log.history.floor) == (1, 6, 4)
        assert await take(log.subscription("a", start=5), 2) == [5, 6]


async def test_a_log_that_was_cleared_goes_on_where_it_was() -> None:
    async with following("a") as log:
        waiting = await next_of(log.subscription("a"))
        await log.append("a", "a")
        await log.store.clear()

        await log.tell()

        with pytest.raises(EventsLostError) as lost:
            await waiting
        assert (lost.value.first, lost.value.last) == (2, 3)
        reader = log.subscription("a")
        await log.append("a")
        await log.tell()
        assert await take(reader, 1) == [4]


async def test_who_had_read_everything_is_not_disturbed_by_a_removal() -> None:
    async with following("a", "a") as log:
        waiting = await next_of(log.subscription("a"))
        await log.store.clear()
        await log.append("a")

        await log.tell()

        assert (await waiting).sequence == 3
        assert log.lost == 0


async def test_a_log_that_cannot_be_read_any_more_ends_the_tail() -> None:
    class DamagedStore(FollowedStore):
        async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
            raise StoreCorruptError("its checksum is wrong", 2)

    log = Followed(DamagedStore())
    await log.open("a")
    running = asyncio.create_task(log.tail.run())
    log.followed.told.set()

    with pytest.raises(StoreCorruptError, match="event 2"):
        await running


async def test_a_reader_that_catches_up_is_not_offered_what_the_tail_sees() -> None:
    async with following("a", "a") as log:
        reader = log.subscription(start="earliest")
        await log.append("a")

        await log.tell()

        assert reader.statistics().queued == 0
        assert await take(reader, 3) == [1, 2, 3]
