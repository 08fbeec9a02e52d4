"""What a log must hold after everything that was done to it: a plain dict, worked out in the simplest way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct

from asyncbus import Event, NewEvent, Receipt
from asyncbus.events import from_microseconds, to_microseconds
from tests.reliability.trials import Violation

T = TypeVar("T")


class Stored(Struct, frozen=True):
    """An event as any reader must get it; times in microseconds since 1970 UTC."""

    sequence: int
    type: str
    data: Any
    id: str | None
    key: str | None
    metadata: dict[str, Any] | None
    time: int
    recorded_at: int


class Proposal(Struct, frozen=True):
    """An event as it is published; `read` is what its data must look like afterwards."""

    type: str
    data: Any
    read: Any
    time: int
    id: str | None = None
    key: str | None = None
    metadata: dict[str, Any] | None = None
    says_time: bool = False

    def options(self) -> dict[str, Any]:
        """What `publish` gets beside type and data."""
        told = {name: value for name in ("id", "key", "metadata") if (value := getattr(self, name)) is not None}
        return told | ({"time": from_microseconds(self.time)} if self.says_time else {})

    def proposed(self) -> NewEvent | tuple[str, Any]:
        """What `publish_many` gets: a pair, where that says it all."""
        options = self.options()
        return NewEvent(self.type, self.data, **options) if options else (self.type, self.data)


class Conflict(Struct, frozen=True):
    """The outcome of a publish with ids that belong to other content: those, and of which events (0: its own group's).

    Any of them may be named to the publisher.
    """

    ids: dict[str, int]


class ModelLog:
    """Sequences, ids and times as the contract has them.

    Attributes:
        events: what is retained, by sequence.
        ever: all that was ever stored.
        recent: what this run of the bus has committed since it was opened or cleared.
        max_events: how many are retained at most; None: all.
    """

    def __init__(self, max_events: int | None = None) -> None:
        self.events: dict[int, Stored] = {}
        self.ever: dict[int, Stored] = {}
        self.recent: list[Stored] = []
        self.max_events = max_events
        self.head = 0
        self.floor = 0
        self._recorded_at = 0
        self._by_id: dict[str, Stored] = {}

    def store(self, group: Sequence[Proposal], now: int) -> list[Receipt] | Conflict:
        """What publishing a group gives, which is stored whole or not at all; `recent` has got what is new."""
        self._recorded_at = max(self._recorded_at, now)
        own: dict[str, Stored] = {}
        fresh: list[Stored] = []
        receipts: list[Receipt] = []
        conflicts: dict[str, int] = {}
        for each in group:
            first = None if each.id is None else self._by_id.get(each.id) or own.get(each.id)
            if first is None:
                sequence = self.head + len(fresh) + 1
                fresh.append(_stored(each, sequence, self._recorded_at))
                receipts.append(Receipt(sequence))
                if each.id is not None:
                    own[each.id] = fresh[-1]
            elif _content(first) == _content(each):
                receipts.append(Receipt(first.sequence, duplicate=True))
            else:
                conflicts[first.id or ""] = 0 if first in fresh else first.sequence
        if conflicts:
            return Conflict(conflicts)
        self._keep(fresh, own)
        return receipts

    def _keep(self, fresh: Sequence[Stored], own: dict[str, Stored]) -> None:
        self.events |= {event.sequence: event for event in fresh}
        self.ever |= {event.sequence: event for event in fresh}
        self.recent += fresh
        self.head += len(fresh)
        self._by_id |= own
        if self.max_events is not None:
            self._remove_up_to(self.head - self.max_events)

    def clear(self) -> None:
        """Remove all; the sequences go on."""
        self._remove_up_to(self.head)
        self.recent = []

    def _remove_up_to(self, floor: int) -> None:
        for sequence in range(self.floor + 1, floor + 1):
            removed = self.events.pop(sequence)
            if removed.id is not None:
                del self._by_id[removed.id]
        self.floor = max(self.floor, floor)

    def reopened(self) -> None:
        """Another bus begins: it knows of time what the last event tells."""
        self.recent = []
        self._recorded_at = self.events[self.head].recorded_at if self.events else 0

    def retained(self) -> list[Stored]:
        """All there is, ascending."""
        return list(self.events.values())


def told(event: Event) -> Stored:
    """An event as a reader got it, for comparison."""
    return Stored(
        event.sequence,
        event.type,
        event.data,
        event.id,
        event.key,
        event.metadata,
        microseconds(event.time),
        microseconds(event.recorded_at),
    )


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return to_microseconds("moment", moment)


def same(found: T, expected: T, what: str) -> None:
    """See that two values are equal.

    Raises:
        Violation: they are not.
    """
    if found != expected:
        raise Violation(f"{what}: expected {expected!r}, found {found!r}")


def same_events(found: Sequence[Event], expected: Sequence[Stored], what: str) -> None:
    """See that events are those expected, in their order.

    Raises:
        Violation: with the first that differs.
    """
    same([event.sequence for event in found], [event.sequence for event in expected], what)
    for one, other in zip(found, expected, strict=True):
        same(told(one), other, f"{what}, event {other.sequence}")
        # True == 1 == 1.0 to Python, and not to whoever reads it.
        same(one.data.__class__, other.data.__class__, f"{what}, event {other.sequence}: the type of its data")


def _stored(proposal: Proposal, sequence: int, recorded_at: int) -> Stored:
    return Stored(
        sequence,
        proposal.type,
        proposal.read,
        proposal.id,
        proposal.key,
        proposal.metadata,
        proposal.time,
        recorded_at,
    )


def _content(event: Stored | Proposal) -> tuple[Any, ...]:
    data = event.data if isinstance(event, Stored) else event.read
    return event.type, data.__class__, data, event.key, event.metadata
