"""What a consumer has done and still owes: the arithmetic of its checkpoint, without waiting for anything."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from asyncbus.events import Record
from asyncbus.store.consumers import ConsumerState, Failure, Owed, ParkedEvent


class Held(Struct, eq=False, gc=False):
    """An event that a consumer holds: read, and not done.

    It forms no cycle, so the collector need not see it: there are thousands.

    Attributes:
        record: the event.
        attempts: how often it was handed out, or may have been since this was stored.
        due: microseconds since 1970 before which it does not come again; 0: it does not wait.
        is_begun: it may be handed out, or is; where it is not, it has to be begun first, perhaps once more.
        suspect: it was in flight when its process ended, perhaps for its own sake.
        parked: the dead letter that is tried again; None: an event of the log.
        failures: of its attempts, as far as this process knows them.
        lane: what it shares with the events that must not overtake it; None: it may be overtaken.
        leads: whether it is the one of its lane that may be handed out.
        after: a lower sequence; no event between the two matches. None: nobody knows.
    """

    record: Record
    attempts: int = 0
    due: int = 0
    is_begun: bool = False
    suspect: bool = False
    parked: ParkedEvent | None = None
    failures: tuple[Failure, ...] = ()
    lane: object = None
    leads: bool = False
    after: int | None = None


class Ledger:
    """Which matching events are done, from what the store knows on.

    An event is *read*, then *begun* (that is stored before it is handed out), then *done*; in between it may wait.

    Args:
        state: as it was stored last.
    """

    def __init__(self, state: ConsumerState) -> None:
        self._checkpoint = state.checkpoint
        # What was owed when the consumer was last active, and has not been read back yet.
        self._owed = dict(state.owed)
        # Read and not done, ascending.
        self._held: dict[int, Held] = {}
        # Those of them of which the store has to know more than that they were begun once.
        self._told: set[int] = set()
        # Read and not begun, ascending; once a later one is begun, the store has to know of them.
        self._passed_over: deque[int] = deque()
        self._done_to = state.settled_to
        self._begun_to = state.begun_to
        self.suspect_to = state.begun_to
        """Where what may have been in flight at an unclean end ends."""

    # ------------------------------------------------------------------------------------------------ one way through

    def owed(self) -> Iterator[tuple[int, Owed]]:
        """What has to be read back, ascending; the reading itself takes it out."""
        return iter(sorted(self._owed.items()))

    def read(self, held: Held) -> None:
        """An event was read; all that come later are read later."""
        sequence = held.record.sequence
        if self._owed:
            self._owed.pop(sequence, None)
        self._held[sequence] = held
        if held.attempts or sequence <= self._done_to:
            self._told.add(sequence)

    def begin(self, held: Held) -> None:
        """It may be handed out once more, as soon as this is stored."""
        sequence = held.record.sequence
        held.attempts += 1
        held.is_begun = True
        held.due = 0
        if held.attempts > 1:
            self._told.add(sequence)
        elif self._told and sequence > self._done_to:
            self._told.discard(sequence)
        while self._passed_over and self._passed_over[0] <= sequence:
            if (other := self._passed_over.popleft()) != sequence:
                self._told.add(other)
        if sequence > self._begun_to:  # noqa: PLR1730  # as in `finish`
            self._begun_to = sequence

    def pass_over(self, held: Held) -> None:
        """It is not begun, though later ones may be."""
        if held.record.sequence > self._begun_to:
            self._passed_over.append(held.record.sequence)
        else:
            self._told.add(held.record.sequence)

    def take_back(self, held: Held) -> None:
        """It was begun, and is not handed out after all."""
        held.attempts -= 1
        held.is_begun = False
        self._told.add(held.record.sequence)

    def wait(self, held: Held, due: int) -> None:
        """It has failed, and does not come again before a moment, in microseconds since 1970."""
        held.due = due
        held.is_begun = False
        self._told.add(held.record.sequence)

    def finish(self, held: Held) -> None:
        """It is done, one way or another."""
        sequence = held.record.sequence
        del self._held[sequence]
        if self._told:
            self._told.discard(sequence)
        if sequence > self._done_to:  # noqa: PLR1730  # `max` would take as long as all the rest, once an event
            self._done_to = sequence

    # ------------------------------------------------------------------------------------------------- what it comes to

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._held.values()))

    def checkpoint(self, read_to: int) -> int:
        """The sequence at or below which nothing is owed; all matching events up to `read_to` were read."""
        first = next(iter(self._held), None)
        if self._owed:
            first = min(self._owed) if first is None else min(first, *self._owed)
        self._checkpoint = max(self._checkpoint, read_to if first is None else first - 1)
        return self._checkpoint

    def checkpoint_without(self, held: Held, read_to: int) -> int:
        """Where the checkpoint will be once this event is done."""
        others = (sequence for sequence, other in self._held.items() if other is not held)
        first = next(others, None)
        return max(self._checkpoint, read_to if first is None else first - 1)

    def state(self, before: ConsumerState, read_to: int, **others: Any) -> ConsumerState:
        """What is to be stored, in the place of `before`; `others` are what is no business of the ledger's."""
        checkpoint = self.checkpoint(read_to)
        settled_to = max(self._done_to, checkpoint, *self._told)
        owed = dict(self._owed)
        for sequence, held in self._held.items():
            if sequence > settled_to:
                break
            owed[sequence] = Owed(held.attempts, held.due)
        return replace(
            before,
            checkpoint=checkpoint,
            settled_to=settled_to,
            begun_to=max(self._begun_to, settled_to),
            owed=dict(sorted(owed.items())) if owed else owed,
            **others,
        )

    def rest(self, read_to: int, in_flight: Container[Held]) -> None:
        """A clean end: what was begun and is not in flight was never handed out."""
        # What was not read back since an unclean end is as suspect as before.
        self._begun_to = self.suspect_to if read_to < self.suspect_to else 0
        for held in self._held.values():
            if held.is_begun and held not in in_flight:
                held.is_begun = False
                held.attempts -= 1
            if held.attempts:
                self._told.add(held.record.sequence)
