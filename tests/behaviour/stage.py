"""What the behaviour tests share: logs of both kinds, stores that wait or fail to order, and waiting for a state."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from asyncbus import (
    Appended,
    Bounds,
    Event,
    EventBus,
    EventFilter,
    EventStore,
    Features,
    KeyedStore,
    MemoryStore,
    Page,
    Pattern,
    Record,
    SQLiteStore,
    Subscription,
)

Kind = Literal["memory", "sqlite"]


class Log:
    """A log in memory or in a file, which one bus after the other can open."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "events.db"
        self._memory = MemoryStore()

    def store(self) -> EventStore:
        # "normal": these tests kill no power supply, and fsync is what they would wait for.
        return self._memory if self.kind == "memory" else SQLiteStore(self.path, synchronous="normal")

    def staged(self, **options: Any) -> "StagedStore":
        return StagedStore(self.store(), **options)

    def bus(self, **options: Any) -> EventBus:
        return EventBus(self.store(), **options)


class StagedStore:
    """Any store, whose calls wait at a gate while one is held, and fail where a fault is ordered.

    Attributes:
        committed: every record that was ever stored, in order: what all readers are measured by.
        floor: the last sequence that was removed.
        append_faults, read_faults, clear_faults: raised one a call (None: not this time) instead of calling the store.
        pause: awaited by every call before it reaches the store, and after what changes it.
        gate, appending: appends wait while the gate is cleared; `appending` is set while the writer stands there.
    """

    def __init__(self, inner: EventStore, *, batch_limit: int | None = None) -> None:
        self.inner = inner
        self.committed: list[Record] = []
        self.batches: list[int] = []
        self.floor = 0
        self.append_faults: list[BaseException | None] = []
        self.read_faults: list[BaseException] = []
        self.clear_faults: list[BaseException] = []
        self.appending = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.pause: Callable[[], Awaitable[None]] | None = None
        self._batch_limit = batch_limit

    @property
    def features(self) -> Features:
        features = self.inner.features
        return features if self._batch_limit is None else replace(features, batch_limit=self._batch_limit)

    async def open(self) -> Bounds:
        return await self.inner.open()

    async def append(self, records: Sequence[Record]) -> Appended:
        if not self.gate.is_set():
            self.appending.set()
            await self.gate.wait()
            self.appending.clear()
        await self._wait()
        if self.append_faults and (fault := self.append_faults.pop(0)) is not None:
            raise fault
        appended = await self.inner.append(records)
        await self._wait()
        fresh = [record for index, record in enumerate(records) if index not in appended.duplicates]
        self.committed += fresh
        self.batches.append(len(fresh))
        self.floor = max(self.floor, appended.floor)
        return appended

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        await self._wait()
        if self.read_faults:
            raise self.read_faults.pop(0)
        return await self.inner.read(after, pattern, limit)

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        await self._wait()
        return await self.inner.query(wanted)

    async def latest_sequence(self) -> int:
        return await self.inner.latest_sequence()

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        assert isinstance(self.inner, KeyedStore)
        return await self.inner.last_sequences(keys)

    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        assert isinstance(self.inner, KeyedStore)
        return await self.inner.ids(wanted)

    async def changed(self) -> None:
        await self.inner.changed()

    async def clear(self) -> None:
        await self._wait()
        if self.clear_faults:
            raise self.clear_faults.pop(0)
        await self.inner.clear()
        await self._wait()
        self.floor = await self.inner.latest_sequence()

    async def close(self) -> None:
        await self.inner.close()

    async def _wait(self) -> None:
        if self.pause is not None:
            await self.pause()


class Following:
    """A read-only view of a `MemoryStore` that another bus writes; it looks for news when `look` is set."""

    def __init__(self, written: MemoryStore) -> None:
        self._written = written
        self.look = asyncio.Event()
        self.reads = 0

    @property
    def features(self) -> Features:
        return Features(read_only=True)

    async def open(self) -> Bounds:
        return await self._written.open()

    async def append(self, records: Sequence[Record]) -> Appended:
        raise AssertionError("a read-only bus has no business here")

    async def clear(self) -> None:
        raise AssertionError("a read-only bus has no business here")

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        self.reads += 1
        return await self._written.read(after, pattern, limit)

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        return await self._written.query(wanted)

    async def latest_sequence(self) -> int:
        return await self._written.latest_sequence()

    async def changed(self) -> None:
        await self.look.wait()
        self.look.clear()

    async def close(self) -> None:
        pass


class HandClock:
    """A clock that stands still until `advance`; who sleeps is kept in `sleeps`."""

    def __init__(self, now: int = 1_700_000_000_000_000) -> None:
        self.microseconds = now
        self.sleeps: list[float] = []

    def now(self) -> int:
        return self.microseconds

    def monotonic(self) -> float:
        return self.microseconds / 1e6

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(round(seconds, 6))
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.microseconds += round(seconds * 1e6)


class Reading:
    """A task that iterates, and takes some turns over each event."""

    def __init__(self, events: Subscription, turns: int = 0) -> None:
        self.got: list[int] = []
        self.ended = False
        self.task = asyncio.create_task(self._read(events, turns))

    async def _read(self, events: Subscription, turns: int) -> None:
        async for event in events:
            await ticks(turns)
            self.got.append(event.sequence)
        self.ended = True


async def until(condition: Callable[[], object]) -> None:
    """Give the other tasks turns until the condition holds; pytest-timeout ends what never does."""
    while not condition():  # noqa: ASYNC110  # the states waited for are the library's, and have no event
        await asyncio.sleep(0)


async def ticks(count: int) -> None:
    """Give the other tasks so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    """The next so many events."""
    return [await anext(events) for _ in range(count)]


def sequences(events: Iterable[Event]) -> list[int]:
    return [event.sequence for event in events]


def payloads(events: Iterable[Event]) -> list[Any]:
    return [event.data for event in events]


def content(record: Record) -> Any:
    """What a record that the store was given holds, decoded without the library's help."""
    return record.data if isinstance(record.data, bytes) else json.loads(record.data)
