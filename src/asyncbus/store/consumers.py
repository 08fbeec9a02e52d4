"""What a store keeps for durable consumers: `ConsumerStore`, and the values it exchanges with the bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from asyncbus.events import Record
from asyncbus.patterns import Pattern
from asyncbus.store.base import Appended, EventStore


class Owed(Struct, frozen=True, array_like=True):
    """An event above the checkpoint that is not done, though a later one is, or it was tried before.

    Attributes:
        attempts: how often it was handed out, or may have been.
        due: microseconds since 1970 before which it does not come again; 0: it was handed out, or waits for its turn.
    """

    attempts: int
    due: int = 0


class ConsumerState(Struct, frozen=True, kw_only=True):
    """What a consumer has done and what it still owes; a store keeps one of each name.

    Matching events are done up to `checkpoint`; from there up to `settled_to` they are done but for those in `owed`;
    from there up to `begun_to` each may have been handed out once; what comes after was never handed out.

    Attributes:
        name: of the consumer.
        pattern: which event types, as `str(Pattern)` gives it.
        epoch: how often the name was taken, or its consumer moved by `seek`; a state with an older one than the stored
            one is not stored.
        checkpoint: nothing at or below it is owed.
        settled_to: at or above the checkpoint.
        begun_to: at or above `settled_to`; equal to it where `active_since` is 0.
        owed: by sequence, ascending.
        alone: the event that was handed out alone, for after an unclean end nobody else is to be harmed by it; 0: none.
        paused: whether it hands out nothing.
        sought: whether `seek` moved it since it was last active.
        created_at: microseconds since 1970.
        active_since: microseconds since 1970; 0 after a clean end that left nothing over from an unclean one.
        redelivered: deliveries that were not an event's first.
        last_error: of the last attempt that failed, as text that UTF-8 can hold; None: there was none.
    """

    name: str
    pattern: str
    epoch: int = 1
    checkpoint: int = 0
    settled_to: int = 0
    begun_to: int = 0
    owed: Mapping[int, Owed] = {}
    alone: int = 0
    paused: bool = False
    sought: bool = False
    created_at: int = 0
    active_since: int = 0
    redelivered: int = 0
    last_error: str | None = None

    def moved(self, before: int, **others: Any) -> ConsumerState:
        """The same, with all up to `before` done and nothing owed or begun after it."""
        return replace(self, checkpoint=before, settled_to=before, begun_to=before, owed={}, **others)


class Failure(Struct, frozen=True, kw_only=True):
    """One attempt that failed; its texts are such as UTF-8 can hold, which an exception's message need not be.

    Attributes:
        attempt: which, from 1 on.
        error: the exception's class and message.
        traceback: as Python prints it; "" where there is none.
        at: microseconds since 1970.
    """

    attempt: int
    error: str
    traceback: str = ""
    at: int = 0


class ParkedEvent(Struct, frozen=True, kw_only=True):
    """A dead letter as stores keep it: the event itself, for the log may lose it, and why it was parked.

    Attributes:
        consumer: by which it was parked.
        record: the event, as it was read.
        attempts: how often the handler has had it.
        failures: what went wrong, the oldest first; the last one is why it was parked.
        parked_at: microseconds since 1970.
        number: its place among all dead letters, ascending, never used twice; 0: the store gives it one.
    """

    consumer: str
    record: Record
    attempts: int
    failures: tuple[Failure, ...]
    parked_at: int
    number: int = 0


class Released(Struct, frozen=True):
    """Dead letters, by their numbers, that are no more."""

    numbers: Sequence[int]


class Forgotten(Struct, frozen=True):
    """A consumer, by its name, that is no more, nor are its dead letters."""

    name: str


Change: TypeAlias = ConsumerState | ParkedEvent | Released | Forgotten
"""What is stored for consumers beside events.

A `ConsumerState` replaces the stored one of its name, unless that has a higher epoch. A `ParkedEvent` without a number
is stored once for each consumer and sequence; where it is stored already it replaces what is, and keeps its number.
One with a number replaces what has that number, consumer and sequence, and is not stored where nothing has them any
more. `Released` and `Forgotten` name what may be gone already.
"""


def fenced(changes: Sequence[Change], epochs: Mapping[str, int]) -> tuple[list[Change], frozenset[str], dict[str, int]]:
    """Part changes into those that count and the names of stale consumers.

    Args:
        changes: in their order.
        epochs: by name, as they are stored.

    Returns:
        What is to be stored, which names are stale, and the epochs once it is stored.
    """
    counting: list[Change] = []
    stale: set[str] = set()
    taken = dict(epochs)
    for change in changes:
        if isinstance(change, ConsumerState):
            if change.epoch < taken.get(change.name, 0):
                stale.add(change.name)
                continue
            taken[change.name] = change.epoch
        elif isinstance(change, Forgotten):
            taken.pop(change.name, None)
        counting.append(change)
    return counting, frozenset(stale), taken


class ParkedFilter(Struct, frozen=True, kw_only=True):
    """Which dead letters; all conditions must hold, in the order of their numbers.

    Attributes:
        consumer: of this consumer; None: of all.
        pattern: of these event types; None: of all.
        start_sequence, stop_sequence: the first sequence wanted, and the first not wanted any more.
        start_parked, stop_parked: the same for the time at which it was parked, in microseconds since 1970.
        after: above this number.
        limit: at most so many; None: all.
    """

    consumer: str | None = None
    pattern: Pattern | None = None
    start_sequence: int | None = None
    stop_sequence: int | None = None
    start_parked: int | None = None
    stop_parked: int | None = None
    after: int = 0
    limit: int | None = None

    def matches(self, parked: ParkedEvent) -> bool:
        """Whether a dead letter is wanted; `limit` is not its business."""
        sequence = parked.record.sequence
        return (
            parked.number > self.after
            and (self.consumer is None or parked.consumer == self.consumer)
            and (self.pattern is None or self.pattern.matches(parked.record.type))
            and (self.start_sequence is None or sequence >= self.start_sequence)
            and (self.stop_sequence is None or sequence < self.stop_sequence)
            and (self.start_parked is None or parked.parked_at >= self.start_parked)
            and (self.stop_parked is None or parked.parked_at < self.stop_parked)
        )


@runtime_checkable
class ConsumerStore(EventStore, Protocol):
    """A store that keeps durable consumers, if its features declare that as well."""

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        """As `append`, and store the changes in the same transaction, in their order: all of it, or nothing.

        `records` may be empty. Never called concurrently with itself, `append` or `clear`, and never cancelled.

        Returns:
            As `append` does; `stale` names the consumers whose state was not stored, for a newer epoch is.

        Raises:
            What `append` raises; nothing was stored then, no change either, but for an unknown outcome.
        """
        ...

    async def consumers(self) -> Sequence[ConsumerState]:
        """The states of all consumers, by name.

        Raises:
            StoreCorruptError: one of them is damaged.
        """
        ...

    async def dead_letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        """The dead letters that `wanted` describes, in the order of their numbers.

        Raises:
            StoreCorruptError: the checksum of an event is wrong.
        """
        ...

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """How many dead letters each consumer has; those without any are left out."""
        ...
