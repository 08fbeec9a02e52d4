"""Every store passes the same contract suite."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from asyncbus import (
    Appended,
    EventFilter,
    EventStore,
    MemoryStore,
    Page,
    Pattern,
    Record,
    SQLiteStore,
    StoreFullError,
)
from asyncbus.store.consumers import Change, ConsumerState, ParkedEvent, ParkedFilter
from asyncbus.testing import FaultyStore, StoreContract
from asyncbus.testing.faulty import Call

T = TypeVar("T")


@pytest.mark.asyncio
class TestMemoryStore(StoreContract):
    @pytest.fixture(autouse=True)
    def logs(self) -> None:
        self.stores: dict[str, EventStore] = {}

    def make_store(self, log: str) -> EventStore:
        return self.stores.setdefault(log, MemoryStore())


@pytest.mark.asyncio
class TestBoundedMemoryStoreBelowItsBound(TestMemoryStore):
    def make_store(self, log: str) -> EventStore:
        return self.stores.setdefault(log, MemoryStore(max_events=20_000))


@pytest.mark.asyncio
class TestSQLiteStore(StoreContract):
    synchronous: Literal["full", "normal"] = "full"

    @pytest.fixture(autouse=True)
    def logs(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self, log: str) -> EventStore:
        return SQLiteStore(self.folder / f"{log}.db", synchronous=self.synchronous)

    def make_reader(self, log: str) -> EventStore:
        return SQLiteStore(self.folder / f"{log}.db", read_only=True)


@pytest.mark.asyncio
class TestSQLiteStoreNormal(TestSQLiteStore):
    synchronous = "normal"


@pytest.mark.asyncio(loop_factories=["uvloop"])
class TestSQLiteStoreUnderUvloop(TestSQLiteStore):
    pass


CALLS: tuple[Call, ...] = (
    "open",
    "append",
    "commit",
    "read",
    "query",
    "consumers",
    "dead_letters",
    "dead_letter_counts",
    "latest_sequence",
    "clear",
    "close",
)


async def a_few_turns(_: float) -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def slow(store: EventStore) -> FaultyStore:
    """A store whose calls all give others some turns first."""
    faulty = FaultyStore(store, sleep=a_few_turns)
    for call in CALLS:
        faulty.slow(call, 1)
    return faulty


@pytest.mark.asyncio
class TestSlowMemoryStore(TestMemoryStore):
    def make_store(self, log: str) -> EventStore:
        return self.stores.setdefault(log, slow(MemoryStore()))


@pytest.mark.asyncio
class TestSlowSQLiteStore(TestSQLiteStoreNormal):
    def make_store(self, log: str) -> EventStore:
        return slow(super().make_store(log))


class Repeating(FaultyStore):
    """A store that fails every call once, before it does anything, under a caller who tries again."""

    async def append(self, records: Sequence[Record]) -> Appended:
        return await self._again("append", super().append, records)

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        return await self._again("commit", super().commit, records, changes)

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        return await self._again("read", super().read, after, pattern, limit)

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        return await self._again("query", super().query, wanted)

    async def consumers(self) -> Sequence[ConsumerState]:
        return await self._again("consumers", super().consumers)

    async def dead_letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        return await self._again("dead_letters", super().dead_letters, wanted)

    async def clear(self) -> None:
        await self._again("clear", super().clear)

    async def _again(self, call: Call, method: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        self.fail(call, StoreFullError("no space is left"))
        with pytest.raises(StoreFullError):
            await method(*arguments)
        return await method(*arguments)


@pytest.mark.asyncio
class TestMemoryStoreThatFailsOnce(TestMemoryStore):
    def make_store(self, log: str) -> EventStore:
        return self.stores.setdefault(log, Repeating(MemoryStore()))


@pytest.mark.asyncio
class TestSQLiteStoreThatFailsOnce(TestSQLiteStoreNormal):
    def make_store(self, log: str) -> EventStore:
        return Repeating(super().make_store(log))
