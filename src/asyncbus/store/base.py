"""What a back end implements: `EventStore`, and the values it exchanges with the bus."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from asyncbus.codec import decode
from asyncbus.errors import EventIdConflictError, InvalidOptionError
from asyncbus.events import Record
from asyncbus.filters import EventFilter
from asyncbus.patterns import Pattern


class Features(Struct, frozen=True, kw_only=True):
    """The promises a store declares; the contract suite tests those it declares and no others.

    Attributes:
        durable: what was appended survives the process.
        dense: sequences are consecutive, without holes.
        exclusive: only one store at a time can be open for writing.
        read_only: nothing can be appended; `changed` tells of what others append.
        backup: it is a `BackupStore`.
        consumers: it is a `ConsumerStore`.
        keyed: it is a `KeyedStore`.
        causes: it keeps `causation_id` and finds events by it, whatever the length of the log.
        counted: it is a `CountedStore`.
        batch_limit: records that one `append` should get at most, for speed; it may get more.
    """

    durable: bool = False
    dense: bool = True
    exclusive: bool = False
    read_only: bool = False
    backup: bool = False
    consumers: bool = False
    keyed: bool = False
    causes: bool = False
    counted: bool = False
    batch_limit: int = 8192


class TypeCount(Struct, frozen=True, array_like=True):
    """The events of one type: how many, and the first and the last as sequence and moment of recording (µs)."""

    type: str
    events: int
    first: int
    last: int
    first_recorded: int
    last_recorded: int


class Bounds(Struct, frozen=True):
    """What a store holds: events above `floor` up to `head`; the last was recorded at `recorded_at` (microseconds)."""

    floor: int = 0
    head: int = 0
    recorded_at: int = 0


class Appended(Struct, frozen=True):
    """What `append` did.

    Attributes:
        first: sequence of the first record that was stored; the others follow it in order.
        duplicates: index of a record whose id was stored before → sequence of the event that has it.
        floor: the highest sequence that is not retained any more.
        stale: consumers whose state was not stored, because a newer epoch of their name is.
    """

    first: int
    duplicates: Mapping[int, int] = {}
    floor: int = 0
    stale: frozenset[str] = frozenset()


class Page(Struct, frozen=True):
    """Part of the log, ascending.

    Attributes:
        records: matching records.
        up_to: every matching event above the `after` asked for and at or below `up_to` is in `records`.
        floor: the highest sequence that was not retained any more when the page was read. A reader that asked for
            `after < floor` has missed events.
    """

    records: Sequence[Record]
    up_to: int
    floor: int = 0


@runtime_checkable
class EventStore(Protocol):
    """A log of events with one writer.

    `features` may be asked at any time, and `close` called twice or without `open`; all else is called between `open`
    and `close`, on one event loop. `append` and `clear` are never
    called concurrently and never cancelled; reads may be both. What a store cannot do it raises as a `StoreError`:
    `StoreFailedError(outcome_unknown=True)` where the failed append may have been stored, any other where it was not.
    """

    @property
    def features(self) -> Features:
        """The promises this store declares."""
        ...

    async def open(self) -> Bounds:
        """Make it ready and say what it holds. Nothing needs closing when it raises."""
        ...

    async def append(self, records: Sequence[Record]) -> Appended:
        """Store all records, or none, and set the `sequence` of each that was stored.

        They arrive encoded and checksummed, with one `recorded_at` for all. A record whose id is stored already, with
        the same type, version, data, key and metadata, is not stored again: it is a duplicate. What a store adds to a
        checksum it checks, or takes away again, when it reads.

        Raises:
            EventIdConflictError: records whose content differs from what has their id; nothing was stored.
        """
        ...

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        """The next matching events above `after`, at most `limit`.

        A page may have fewer, or none, before the end: `up_to` says how far it has got.

        Raises:
            StoreCorruptError: an event's checksum is wrong.
        """
        ...

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        """All events that `wanted` describes, in its order.

        Raises:
            StoreCorruptError: an event's checksum is wrong.
        """
        ...

    async def latest_sequence(self) -> int:
        """The last sequence ever given; 0: none."""
        ...

    async def changed(self) -> None:
        """Return when others may have appended since the last call; only read-only stores are asked."""
        ...

    async def clear(self) -> None:
        """Remove all events; sequences go on where they were."""
        ...

    async def close(self) -> None:
        """Release everything; it may be called twice."""
        ...


@runtime_checkable
class BackupStore(EventStore, Protocol):
    """A store that can copy itself, if its features declare that as well."""

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the log, as it is now, to a file that must not be there yet, while appends and reads go on.

        The copy is a whole log: it holds all that was appended before the call. Cancelled, it leaves nothing.

        Raises:
            InvalidOptionError: there is something at `path`.
        """
        ...


@runtime_checkable
class KeyedStore(EventStore, Protocol):
    """A store that can be asked for the state of keys and ids, whatever the length of the log, if it says so."""

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        """The sequence of the last event that each of some keys has; keys without one are left out."""
        ...

    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        """Those of some ids that an event has, with its sequence."""
        ...


@runtime_checkable
class CountedStore(EventStore, Protocol):
    """A store that counts what it retains without handing it out."""

    async def count_types(self) -> Sequence[TypeCount]:
        """The types that have events, by name."""
        ...


@runtime_checkable
class MeasuredStore(EventStore, Protocol):
    """A store that has figures of its own."""

    def statistics(self) -> Mapping[str, int]:
        """What it counts, by name; `BusStatistics.store` shows it. Called on the loop's thread: it must not wait."""
        ...


def same_content(first: Record, second: Record) -> bool:
    """Whether two events of one id are the same event; the time of a second attempt may differ."""
    if _content(first) == _content(second):
        return True
    return _names(first) == _names(second) and _value(first.data) == _value(second.data)


def check_store(store: object) -> EventStore:
    """Return `store` if it has the methods of an `EventStore`.

    Raises:
        InvalidOptionError: it has not.
    """
    if isinstance(store, type) or not isinstance(store, EventStore):
        raise InvalidOptionError("store", "an EventStore; connect(…) makes one from a path", store)
    return store


def number(records: Sequence[Record], first: int) -> None:
    """Give stored records their sequences, `first` and those that follow it."""
    for sequence, record in enumerate(records, first):
        record.sequence = sequence


def set_apart(records: Sequence[Record], stored: Mapping[str, Record]) -> tuple[list[Record], dict[int, Record]]:
    """Part a batch into the records to store and the duplicates.

    Args:
        records: the batch.
        stored: for each id of the batch that the store has, the record that has it.

    Returns:
        The records to store, and for the index of each duplicate the record it repeats (whose sequence is 0 while it
        stands in the same batch).

    Raises:
        EventIdConflictError: records whose content differs from the first one's.
    """
    fresh: list[Record] = []
    repeated: dict[int, Record] = {}
    conflicts: dict[int, tuple[str, int]] = {}
    first_of = dict(stored)
    for index, record in enumerate(records):
        first = None if record.id is None else first_of.get(record.id)
        if first is None:
            fresh.append(record)
            if record.id is not None:
                first_of[record.id] = record
        elif same_content(first, record):
            repeated[index] = first
        else:
            conflicts[index] = (first.id or "", first.sequence)
    if conflicts:
        raise EventIdConflictError(conflicts)
    return fresh, repeated


def _content(record: Record) -> tuple[object, ...]:
    return record.type, record.version, record.data, record.key, record.metadata


def _names(record: Record) -> tuple[object, ...]:
    return record.type, record.version, record.key, None if record.metadata is None else _canonical(record.metadata)


def _value(data: str | bytes) -> str | bytes:
    return _canonical(data) if isinstance(data, str) else data


def _canonical(json: str) -> str:
    # The order of a mapping's keys is no content. Values are not compared: true, 1 and 1.0 are equal to Python.
    return msgspec.json.encode(decode(json), order="sorted").decode()
