"""The log as readers see it: the last committed batches from memory, what is older from the store."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from asyncbus.causes import handled
from asyncbus.errors import AsyncBusError, EventsLostError, StartBeyondHeadError, StoreFailedError
from asyncbus.events import Record, payload_size, to_microseconds
from asyncbus.filters import EventFilter
from asyncbus.options import Start
from asyncbus.patterns import Pattern
from asyncbus.store.base import Bounds, EventStore, Page

T = TypeVar("T")

_JOIN: Final = 512
"""Events up to which small batches are put together, so that a reader has few to look through."""

_SHARE: Final = 8
"""What is put together takes at most this part of the bytes: it is forgotten as a whole."""


class History:
    """Reads pages, and knows the head: the last event that subscribers may see.

    The recent events are shared by all readers and bounded: without them, every full queue would throw its reader back
    to the disk.

    Args:
        store: where older events are read.
        recent_capacity: events kept in memory.
        recent_bytes: what their payloads and metadata may take.
    """

    def __init__(self, store: EventStore, recent_capacity: int, recent_bytes: int = 64 * 2**20) -> None:
        # Set by whoever calls a handler with an event of this log.
        self.being_handled = handled()
        self._store = store
        self._capacity = recent_capacity
        self._max_bytes = recent_bytes
        self._bytes = 0
        self._batches: deque[list[Record]] = deque()
        self._newest_bytes = 0
        self._size = 0
        # Everything above `_after` and up to `head` is in memory.
        self._after = 0
        self.head = 0
        self.floor = 0

    def begin(self, bounds: Bounds) -> None:
        """The store was opened, and held this."""
        self._after = self.head = bounds.head
        self.floor = bounds.floor

    def add(self, records: Sequence[Record], floor: int) -> None:
        """Move the head over a committed batch."""
        taken = payload_size(records)
        if (
            self._batches
            and len(self._batches[-1]) + len(records) <= _JOIN
            and self._newest_bytes + taken <= self._max_bytes // _SHARE
        ):
            self._batches[-1].extend(records)
            self._newest_bytes += taken
        else:
            self._batches.append(list(records))
            self._newest_bytes = taken
        self._size += len(records)
        self._bytes += taken
        self.head = records[-1].sequence
        self.floor = max(self.floor, floor)
        while self._bytes > self._max_bytes and len(self._batches) > 1:
            self._forget(len(self._batches[0]))
        # Cutting a batch moves the rest of it, so it is done for many events at once.
        while (excess := self._size - self._capacity) >= min(len(self._batches[0]), _JOIN):
            self._forget(min(len(self._batches[0]), excess))

    def _forget(self, count: int) -> None:
        """Forget so many of the oldest batch."""
        oldest = self._batches[0]
        forgotten = oldest[:count]
        if count == len(oldest):
            self._batches.popleft()
        else:
            del oldest[:count]
        self._size -= count
        self._bytes -= payload_size(forgotten)
        self._after = forgotten[-1].sequence

    # ----------------------------------------------------------------------------------------------- where to begin

    def before(self, start: Start) -> int | None:
        """The sequence after which `start` begins; None: a moment, which `before_moment` has to look for.

        Raises:
            StartBeyondHeadError, EventsLostError: it is not in this log, or not any more.
        """
        match start:
            case "latest":
                return self.head
            case "earliest":
                return self.floor
            case int():
                if start > self.head + 1:
                    raise StartBeyondHeadError(start, self.head)
                if start <= self.floor:
                    raise EventsLostError(start, self.floor)
                return start - 1
        return None

    async def before_moment(self, microseconds: int) -> int:
        """The sequence before the first one recorded at or after a moment; the head where there is none yet."""
        head = self.head
        found = await ask(self._store.query(EventFilter(start_recorded=microseconds, limit=1)))
        return min(found[0].sequence - 1, head) if found else head

    async def place_before(self, start: Start) -> int:
        """The sequence after which `start` begins, looked for where it is a moment.

        Raises:
            StartBeyondHeadError, EventsLostError: it is not in this log, or not any more.
            StoreCorruptError, StoreFailedError: the store cannot look for it.
        """
        before = self.before(start)
        return await self.before_moment(to_microseconds("start", start)) if before is None else before

    # -------------------------------------------------------------------------------------------------------- pages

    def has(self, after: int) -> bool:
        """Whether all events above `after` are in memory."""
        return after >= self._after

    async def page(self, after: int, pattern: Pattern, limit: int) -> Page:
        """The next matching events above `after` and up to the head, from memory or from the store.

        It gives others a turn, and what it returns is the past by then: compare `up_to` with the head.

        Raises:
            EventsLostError: some of what came after `after` was removed.
            StoreCorruptError, StoreFailedError: the store cannot read it.
        """
        if self.has(after):
            await asyncio.sleep(0)
        page = self._recent_page(after, pattern, limit) if self.has(after) else await self._read(after, pattern, limit)
        if page.floor > after:
            raise EventsLostError(after + 1, page.floor)
        return page

    def _recent_page(self, after: int, pattern: Pattern, limit: int) -> Page:
        found: list[Record] = []
        for batch in self._batches:
            if batch[-1].sequence <= after:
                continue
            begin = bisect_right(batch, after, key=_sequence) if batch[0].sequence <= after else 0
            while begin < len(batch):
                part = batch[begin : begin + limit - len(found)]
                begin += len(part)
                found += _matching(part, pattern)
                if len(found) == limit:
                    return Page(found, found[-1].sequence, self._after)
        return Page(found, max(after, self.head), self._after)

    async def _read(self, after: int, pattern: Pattern, limit: int) -> Page:
        head = self.head
        page = await ask(self._store.read(after, pattern, limit))
        if page.up_to <= head:
            return page
        # The store may be ahead: what is committed but not passed on yet is not to be seen, by anybody.
        records = [record for record in page.records if record.sequence <= head]
        return Page(records, head, page.floor)

    def clear(self, head: int) -> None:
        """Forget all up to `head`, which was removed; the sequences go on."""
        self._batches.clear()
        self._size = self._bytes = 0
        self._after = self.floor = self.head = head

    def recent(self, pattern: Pattern) -> list[Record]:
        """The matching ones of the events in memory, at most `recent_capacity` of the newest."""
        newest = [record for batch in self._batches for record in batch][-self._capacity :]
        return _matching(newest, pattern)


async def ask(answer: Awaitable[T]) -> T:
    """What a store answers; what it raises that is no error of ours becomes one, for it is somebody else's code.

    Raises:
        StoreFailedError: the cause is what the store raised.
    """
    try:
        return await answer
    except AsyncBusError:
        raise
    except Exception as error:
        raise StoreFailedError(f"the store raised {error!r}") from error


def _matching(records: list[Record], pattern: Pattern) -> list[Record]:
    """Those of a type that matches; each type is looked at once (benchmarks/bench_memory_fanout.py)."""
    if pattern.matches_all:
        return records
    types = {record.type for record in records}
    wanted = {type for type in types if pattern.matches(type)}
    return records if len(wanted) == len(types) else [record for record in records if record.type in wanted]


def _sequence(record: Record) -> int:
    return record.sequence
