"""The readers' side of a bus: history, and the next event that fits."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from copy import copy
from datetime import datetime
from typing import Final, TypedDict, TypeVar, Unpack, overload

from msgspec.structs import replace

from asyncbus.clock import Clock
from asyncbus.conditions import Where
from asyncbus.decoding import Decoding, Wanted, select
from asyncbus.errors import (
    AsyncBusError,
    BusClosedError,
    EventsLostError,
    ForkedProcessError,
    StartBeyondHeadError,
    UnsupportedFeatureError,
)
from asyncbus.events import LAST_SEQUENCE, Event, Record, from_microseconds, to_microseconds
from asyncbus.filters import EventFilter
from asyncbus.history import History, ask
from asyncbus.inbox import Inbox
from asyncbus.lineage import Lineage, lineage
from asyncbus.options import Start, bound, check_count, check_handler, check_seconds, check_start
from asyncbus.pacing import Pace
from asyncbus.patterns import Pattern
from asyncbus.receiving import FIRST_PAGE
from asyncbus.statistics import TypeStatistics
from asyncbus.store.base import BackupStore, CountedStore, EventStore

T = TypeVar("T")

NOT_OPEN: Final = "the bus is not open; use it inside `async with bus:`"
CLOSED: Final = "the bus is closed"

_QUERY_PAGE: Final = 1000

_REPLAY_PAGE: Final = 16_384
"""Events of a replay's longest page: beside a busy loop each page costs some of its turns."""


class QueryOptions(TypedDict, total=False):
    """The options of `EventBus.query`, which documents them."""

    start: int | datetime | None
    stop: int | datetime | None
    since: datetime | None
    until: datetime | None
    key: str | None
    where: Where | None
    limit: int | None
    newest_first: bool


class Reading:
    """What readers call; `EventBus` adds the rest."""

    _store: EventStore
    _clock: Clock
    _history: History
    _inbox: Inbox
    # Whether it was ever opened, whether it is, and what has ended it before it was closed.
    _was_entered: bool
    _is_open: bool
    _failure: AsyncBusError | None

    @overload
    def replay(
        self,
        pattern: type[T],
        *,
        start: Start = "earliest",
        stop: int | datetime | None = None,
        speed: float | None = None,
    ) -> AsyncIterator[Event[T]]: ...

    @overload
    def replay(
        self,
        pattern: Wanted = "*",
        *,
        start: Start = "earliest",
        stop: int | datetime | None = None,
        speed: float | None = None,
    ) -> AsyncIterator[Event]: ...

    def replay(
        self,
        pattern: object = "*",
        *,
        start: Start = "earliest",
        stop: int | datetime | None = None,
        speed: float | None = None,
    ) -> AsyncIterator[Event]:
        """Go through history once, and end.

        Args:
            pattern: which events, as for `subscribe`; of a class they come as instances.
            start: where to begin: "earliest", a sequence, or the first recorded at or after a datetime.
            stop: the first sequence, or moment of recording, not wanted any more. Never beyond the head as it is at
                the call.
            speed: 1.0 keeps the spacing in which the events occurred, 10.0 is ten times as fast; None: no waiting.

        Returns:
            An async iterator of events, ascending.

        Raises:
            InvalidPatternError, InvalidOptionError, StartBeyondHeadError, EventsLostError, BusClosedError: at the call.
            EventsLostError, StoreCorruptError, StoreFailedError, BusClosedError: while iterating.
        """
        history = self._readable()
        wanted, decoding = select(pattern)
        check_start(start)
        stop_sequence, stop_at = bound("stop", stop)
        if speed is not None:
            check_seconds("speed", speed, zero=False)
        last = history.head if stop_sequence is None else min(stop_sequence - 1, history.head)
        records = self._records(history, wanted, start, history.before(start), last)
        return self._paced(records, decoding, stop_at, speed)

    async def _records(
        self, history: History, pattern: Pattern, start: Start, before: int | None, last: int
    ) -> AsyncIterator[Sequence[Record]]:
        after = before if before is not None else await history.before_moment(to_microseconds("start", start))
        size = FIRST_PAGE
        while after < last:
            self._readable()
            page = await history.page(after, pattern, size)
            after = page.up_to
            size = min(size * 2, _REPLAY_PAGE)
            yield page.records if after <= last else [record for record in page.records if record.sequence <= last]

    async def _paced(
        self, pages: AsyncIterator[Sequence[Record]], decoding: Decoding, stop_at: int | None, speed: float | None
    ) -> AsyncIterator[Event]:
        pace = None if speed is None else Pace(self._clock, speed)
        async for records in pages:
            for record in records:
                if stop_at is not None and record.recorded_at >= stop_at:
                    return
                if pace is not None:
                    await pace.wait_for(record)
                yield decoding.event(record)

    @overload
    async def query(self, pattern: type[T], **options: Unpack[QueryOptions]) -> list[Event[T]]: ...

    @overload
    async def query(self, pattern: Wanted = "*", **options: Unpack[QueryOptions]) -> list[Event]: ...

    async def query(
        self,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        key: str | None = None,
        where: Where | None = None,
        limit: int | None = 1000,
        newest_first: bool = False,
    ) -> list[Event]:
        """Find events; all conditions must hold, and ranges leave out their ends.

        Args:
            pattern: which events, as for `subscribe`; of a class they come as instances.
            start: the first sequence wanted, or the first recorded at or after a datetime.
            stop: the first sequence, or moment of recording, not wanted any more.
            since: occurred (`Event.time`) at it or later.
            until: occurred before it.
            key: exactly this key.
            where: a predicate, asked in Python after all other conditions; or conditions on data and metadata as text,
                which the store looks at: `data.va > 4096 and metadata.user = "eve"` (the guide on queries says more).
            limit: at most this many events; None: all there are, in memory.
            newest_first: descending sequences, so that `limit` keeps the last ones.

        Raises:
            InvalidPatternError, InvalidOptionError, BusClosedError, WrongEventLoopError, StoreCorruptError,
            StoreFailedError
        """
        self._readable_here()
        selected, decoding = select(pattern)
        wanted = EventFilter.build(
            selected,
            start=start,
            stop=stop,
            since=since,
            until=until,
            key=key,
            where=where if isinstance(where, str) else None,
            limit=limit,
            newest_first=newest_first,
        )
        if where is None or isinstance(where, str):
            return [decoding.event(record) for record in await ask(self._store.query(wanted))]
        check_handler(where)
        return await self._query_where(wanted, decoding, where)

    async def _query_where(
        self, wanted: EventFilter, decoding: Decoding, where: Callable[[Event], object]
    ) -> list[Event]:
        found: list[Event] = []
        chunk = replace(wanted, limit=_QUERY_PAGE)
        while True:
            records = await ask(self._store.query(chunk))
            found += (event for record in records if where(event := decoding.event(record)))
            if wanted.limit is not None and len(found) >= wanted.limit:
                return found[: wanted.limit]
            if len(records) < _QUERY_PAGE:
                return found
            last = records[-1].sequence
            chunk = (
                replace(chunk, stop_sequence=last) if wanted.newest_first else replace(chunk, start_sequence=last + 1)
            )

    @overload
    def recent(self, pattern: type[T]) -> list[Event[T]]: ...

    @overload
    def recent(self, pattern: Wanted = "*") -> list[Event]: ...

    def recent(self, pattern: object = "*") -> list[Event]:
        """The matching ones of the last `recent_capacity` events of this run, from memory, ascending."""
        history = self._readable()
        selected, decoding = select(pattern)
        return [decoding.event(record) for record in history.recent(selected)]

    async def history_of(self, sequence: int, *, limit: int = 1000) -> Lineage:
        """Find what led to an event, up to the root, and all that it led to.

        It goes along `causation_id`, so it takes as long as what it finds is large, however long the log is.

        Args:
            sequence: of the event.
            limit: at most so many causes, and at most so many consequences, those of the first levels.

        Raises:
            InvalidOptionError: `sequence` is none, or `limit` is no positive integer.
            StartBeyondHeadError: there is no such event yet.
            EventsLostError: it was removed.
            UnsupportedFeatureError: the store does not find events by their cause.
            BusClosedError, WrongEventLoopError, StoreCorruptError, StoreFailedError
        """
        history = self._readable_here()
        check_count("sequence", sequence, most=LAST_SEQUENCE)
        check_count("limit", limit)
        if not self._store.features.causes:
            raise UnsupportedFeatureError("causes", self._store)
        if sequence > history.head:
            raise StartBeyondHeadError(sequence, history.head)
        found = await lineage(self._store, sequence, history.head, limit)
        if found is None:
            raise EventsLostError(sequence, max(sequence, history.floor))
        return found

    async def types(self) -> list[TypeStatistics]:
        """What the log holds of each event type that has events, by name.

        It takes as long as the log has many events, and keeps no reader waiting: a second for some ten million.

        Raises:
            UnsupportedFeatureError: the store does not count them.
            BusClosedError, WrongEventLoopError, StoreCorruptError, StoreFailedError
        """
        self._readable_here()
        if not (self._store.features.counted and isinstance(self._store, CountedStore)):
            raise UnsupportedFeatureError("counted", self._store)
        return [
            TypeStatistics(
                type=count.type,
                events=count.events,
                first_sequence=count.first,
                last_sequence=count.last,
                first_recorded_at=from_microseconds(count.first_recorded),
                last_recorded_at=from_microseconds(count.last_recorded),
            )
            for count in await ask(self._store.count_types())
        ]

    async def latest_sequence(self) -> int:
        """The last sequence given; 0: nothing was ever stored."""
        self._readable_here()
        return await ask(self._store.latest_sequence())

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the log to a file, while events are published and delivered.

        The copy holds every event that was acknowledged before the call, of those that follow some or none; it has no
        hole. It is one file, sound by `verify`, and a log of its own from then on, whichever name it gets. It appears
        under its name when it is whole and survives a power cut. While it is made, the -wal file of the log grows by
        what is published. Cancelled, or when the bus is closed before it is whole, it leaves nothing behind.

        Copying the database file alone is no backup: what stands in the -wal file is missing from it. To restore a
        backup, put it where no -wal, -shm or -watermark file of another log is left.

        Args:
            path: where it is to be; there must be nothing yet.

        Raises:
            InvalidOptionError: `path` is no path, or there is something already.
            UnsupportedFeatureError: a store that cannot copy itself, as a log in memory.
            BusClosedError, ForkedProcessError, WrongEventLoopError, StoreNotFoundError, StoreReadOnlyError,
            StoreFullError, StoreFailedError, StoreCorruptError
        """
        self._readable_here()
        if not (self._store.features.backup and isinstance(self._store, BackupStore)):
            raise UnsupportedFeatureError("backup", self._store)
        await ask(self._store.backup(path))

    def _readable(self) -> History:
        if not self._is_open:
            raise self._not_open()
        return self._history

    @property
    def _forked(self) -> ForkedProcessError | None:
        """The error of a bus that finds itself in a forked child."""
        return self._failure if isinstance(self._failure, ForkedProcessError) else None

    def _readable_here(self) -> History:
        """As `_readable`, for what waits."""
        history = self._readable()
        self._inbox.check_loop()
        return history

    def _not_open(self) -> AsyncBusError:
        if self._forked is not None:
            return copy(self._forked)
        return BusClosedError(CLOSED if self._was_entered else NOT_OPEN)
