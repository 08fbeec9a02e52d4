"""A log in memory: the default, and the fake for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec
from anyio.lowlevel import checkpoint

from asyncbus.events import Record
from asyncbus.filters import EventFilter
from asyncbus.options import check_count
from asyncbus.patterns import Pattern
from asyncbus.store.base import Appended, Bounds, Features, Page, TypeCount, number, set_apart
from asyncbus.store.consumers import Change, ConsumerState, ParkedEvent, ParkedFilter
from asyncbus.store.indexes import Index
from asyncbus.store.kept_in_memory import KeptInMemory

_SCAN: Final = 8192
"""Records looked at without giving others a turn: about a millisecond of the loop's time."""


class MemoryStore:
    """Keeps events for as long as the object lives, or the newest `max_events` of them, and consumers.

    Opening it again after closing finds what it held. Readers that ask for what the bound has removed get
    `EventsLostError` from the bus.

    Args:
        max_events: how many events are retained; None: all, so memory grows with every event.

    Raises:
        InvalidOptionError: `max_events` is not a positive integer.
    """

    def __init__(self, *, max_events: int | None = None) -> None:
        self._max_events = None if max_events is None else check_count("max_events", max_events)
        # Event `sequence` stands at index `sequence - self._offset - 1`; what lies below the floor is on its way out.
        self._records: list[Record] = []
        self._offset = 0
        self._floor = 0
        self._by_id: dict[str, Record] = {}
        self._by_key: Index[str] = Index(lambda record: record.key)
        self._by_cause: Index[int] = Index(lambda record: record.causation_id)
        self._kept = KeptInMemory()

    @property
    def features(self) -> Features:
        """One order, without holes, consumers, keys, causes and counts, but nothing that survives it."""
        return Features(consumers=True, keyed=True, causes=True, counted=True)

    @property
    def _head(self) -> int:
        return self._offset + len(self._records)

    async def open(self) -> Bounds:
        """Ready at once."""
        return Bounds(self._floor, self._head, self._records[-1].recorded_at if self._records else 0)

    async def append(self, records: Sequence[Record]) -> Appended:
        """Keep the records, and let go of those beyond `max_events`."""
        first = self._head + 1
        ids = [record.id for record in records if record.id is not None]
        if not ids:
            self._keep(records)
            return Appended(first, floor=self._floor)
        known = {id: self._by_id[id] for id in ids if id in self._by_id}
        fresh, repeated = set_apart(records, known)
        self._by_id.update((record.id, record) for record in fresh if record.id is not None)
        self._keep(fresh)
        return Appended(first, {index: record.sequence for index, record in repeated.items()}, self._floor)

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        """Append, and keep the changes; nobody gets a turn in between."""
        appended = await self.append(records)
        return msgspec.structs.replace(appended, stale=self._kept.change(changes))

    def _keep(self, records: Sequence[Record]) -> None:
        number(records, self._head + 1)
        self._records.extend(records)
        if self._max_events is not None:
            self._remove_up_to(self._head - self._max_events)

    def _remove_up_to(self, floor: int) -> None:
        if floor <= self._floor:
            return
        if self._by_id:
            self._forget_ids(islice(self._records, self._floor - self._offset, floor - self._offset))
        self._floor = floor
        # Moving the rest down costs time, so it is done for many at once.
        if floor - self._offset >= _SCAN or floor == self._head:
            del self._records[: floor - self._offset]
            self._offset = floor

    def _forget_ids(self, removed: Iterable[Record]) -> None:
        for record in removed:
            if record.id is not None:
                del self._by_id[record.id]

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        """Look at the next records, not more than a few thousand, giving others a turn before."""
        await checkpoint()
        begin = max(after, self._floor) - self._offset
        if pattern.matches_all:
            found = self._records[begin : begin + limit]
            return Page(found, max(after, found[-1].sequence if found else self._head), self._floor)
        looked_at = self._records[begin : begin + _SCAN]
        matching = (record for record in looked_at if pattern.matches(record.type))
        found = list(islice(matching, limit))
        if len(found) == limit:
            return Page(found, found[-1].sequence, self._floor)
        return Page(found, max(after, looked_at[-1].sequence if looked_at else self._head), self._floor)

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        """Look at all records of the range of sequences, giving others a turn now and then."""
        if wanted.causation_ids is not None:
            candidates = self._caused_by(wanted.causation_ids)
        else:
            begin = max(wanted.start_sequence or 1, self._floor + 1) - self._offset - 1
            end = None if wanted.stop_sequence is None else max(wanted.stop_sequence - self._offset - 1, 0)
            candidates = self._records[begin:end]
        if wanted.newest_first:
            candidates.reverse()
        found: list[Record] = []
        for place in range(0, len(candidates), _SCAN):
            found += filter(wanted.matches, candidates[place : place + _SCAN])
            if wanted.limit is not None and len(found) >= wanted.limit:
                return found[: wanted.limit]
            await checkpoint()
        return found

    def _caused_by(self, causes: Sequence[int]) -> list[Record]:
        self._by_cause.catch_up(self._records, self._offset, self._floor)
        found = {sequence for cause in causes for sequence in self._by_cause.above(self._floor, cause)}
        return [self._records[sequence - self._offset - 1] for sequence in sorted(found)]

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        """The sequence of the last event that each of some keys has."""
        self._by_key.catch_up(self._records, self._offset, self._floor)
        found = {key: self._by_key.above(self._floor, key) for key in keys}
        return {key: sequences[-1] for key, sequences in found.items() if sequences}

    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        """Those of some ids that an event has, with its sequence."""
        return {id: self._by_id[id].sequence for id in wanted if id in self._by_id}

    async def consumers(self) -> Sequence[ConsumerState]:
        """The states of all consumers, by name."""
        return self._kept.states()

    async def dead_letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        """Look at all dead letters above a number, giving others a turn now and then."""
        return await self._kept.letters(wanted)

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """How many dead letters each consumer has."""
        return self._kept.counts()

    async def count_types(self) -> Sequence[TypeCount]:
        """Look at all records, giving others a turn now and then."""
        records = self._records[self._floor - self._offset :]
        found: dict[str, list[Record]] = {}
        events: Counter[str] = Counter()
        for place in range(0, len(records), _SCAN):
            if place:
                await checkpoint()
            for record in records[place : place + _SCAN]:
                events[record.type] += 1
                found.setdefault(record.type, [record, record])[1] = record
        return [
            TypeCount(type, events[type], first.sequence, last.sequence, first.recorded_at, last.recorded_at)
            for type, (first, last) in sorted(found.items())
        ]

    async def latest_sequence(self) -> int:
        """The last sequence given."""
        return self._head

    async def changed(self) -> None:
        """Nobody else appends to it."""

    async def clear(self) -> None:
        """Remove all events; the sequences go on."""
        self._remove_up_to(self._head)

    async def close(self) -> None:
        """Nothing is released: opening it again finds what it held."""
