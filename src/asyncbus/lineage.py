"""What led to an event, and what it led to: step by step along `causation_id`, never through the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from asyncbus.decoding import PLAIN
from asyncbus.events import Event, Record
from asyncbus.filters import EventFilter
from asyncbus.history import ask
from asyncbus.store.base import EventStore

_LEVEL = 1000
"""Events of one level whose consequences are asked for at once."""


class Lineage(Struct, frozen=True, kw_only=True):
    """An event with its causes and its consequences; iterating it gives all of them, ascending.

    Attributes:
        event: that was asked for.
        causes: from the root of the chain down to the event that led to it; () where it is a root itself. They begin
            later where the log has the first ones no more.
        consequences: all that it led to, directly or not, ascending.
        is_whole: whether that is all; `limit` may have cut it off.
    """

    event: Event
    causes: tuple[Event, ...]
    consequences: tuple[Event, ...]
    is_whole: bool

    def __iter__(self) -> Iterator[Event]:
        return iter(sorted((*self.causes, self.event, *self.consequences), key=lambda event: event.sequence))

    def __len__(self) -> int:
        return len(self.causes) + 1 + len(self.consequences)


async def lineage(store: EventStore, sequence: int, head: int, limit: int) -> Lineage | None:
    """The lineage of one event, of what there was up to `head`; None: the log has no such event."""
    record = await _record(store, sequence, head)
    if record is None:
        return None
    causes = await _causes(store, record, head, limit)
    seen = {sequence, *(cause.sequence for cause in causes)}
    found, is_whole = await _consequences(store, sequence, head, limit, seen)
    return Lineage(
        event=PLAIN.event(record),
        causes=tuple(map(PLAIN.event, reversed(causes))),
        consequences=tuple(PLAIN.event(found[sequence]) for sequence in sorted(found)),
        is_whole=is_whole and (len(causes) < limit),
    )


async def _record(store: EventStore, sequence: int, head: int) -> Record | None:
    if sequence > head:
        return None
    found = await ask(store.query(EventFilter(start_sequence=sequence, stop_sequence=sequence + 1, limit=1)))
    return found[0] if found else None


async def _causes(store: EventStore, record: Record, head: int, limit: int) -> list[Record]:
    """What led to it, the nearest first; a cause that was said by hand may lead in a circle, which ends it."""
    causes: list[Record] = []
    seen = {record.sequence}
    cause: Record | None = record
    while (
        cause is not None and (before := cause.causation_id) is not None and before not in seen and len(causes) < limit
    ):
        seen.add(before)
        cause = await _record(store, before, head)
        if cause is not None:
            causes.append(cause)
    return causes


async def _consequences(
    store: EventStore, sequence: int, head: int, limit: int, seen: set[int]
) -> tuple[dict[int, Record], bool]:
    """All that it led to, level by level, and whether that is all."""
    found: dict[int, Record] = {}
    level: Sequence[int] = (sequence,)
    while level:
        below: list[int] = []
        for place in range(0, len(level), _LEVEL):
            wanted = EventFilter(
                causation_ids=tuple(level[place : place + _LEVEL]),
                stop_sequence=head + 1,
                limit=limit - len(found) + len(seen),
            )
            for record in await ask(store.query(wanted)):
                if record.sequence in seen or record.sequence in found:
                    continue
                if len(found) == limit:
                    return found, False
                found[record.sequence] = record
                below.append(record.sequence)
        level = below
    return found, True
