"""What a consumer must have done and still owe after everything that was done to it: plain dicts, worked out simply."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from asyncbus import Delivery
from asyncbus.lanes import Order
from tests.reliability.trials import Violation

BACKOFF = 1_000_000
"""Microseconds before the second attempt; before each next one twice as many."""


class Owing(Struct):
    """A matching event that is not done.

    Attributes:
        lane: what it shares with those that must not overtake it; None: it may be overtaken.
        attempts: how often it was handed out.
        perhaps: how often more, for all that a crash has left to be known: it may have been about to be handed out.
        due: microseconds since 1970 before which it does not come again; None: it does not wait.
        delivery: of the attempt that has no outcome yet.
        suspect: whether it was in flight at a crash, and has had no outcome since.
        may_be_suspect: whether it was owed at a crash, and has had no outcome since: for all that is stored, it was
            perhaps in flight.
    """

    lane: object
    attempts: int = 0
    perhaps: int = 0
    due: int | None = None
    delivery: Delivery | None = None
    suspect: bool = False
    may_be_suspect: bool = False


class Letter(Struct):
    """A dead letter; `error` is None where a crash, or an end, was the reason."""

    attempts: int
    error: str | None


class Owed:
    """One consumer by hand, as the contract has it.

    Args:
        order: who waits while an event is in flight or waits for its retry.
        attempts: of `Retry`.
        max_in_flight: as of `consume`.

    Attributes:
        events: what is not done, by sequence, ascending.
        letters: its dead letters by sequence, in the order of their numbers.
        is_paused: whether it hands out nothing.
        was_crash: whether it goes on after a crash.
    """

    def __init__(self, order: Order, attempts: int, max_in_flight: int) -> None:
        self.events: dict[int, Owing] = {}
        self.letters: dict[int, Letter] = {}
        self.is_paused = False
        self.was_crash = False
        self._order = order
        self._attempts = attempts
        self._max_in_flight = max_in_flight

    def stored(self, sequence: int, key: str | None) -> None:
        """A matching event is in the log."""
        lane = {"none": None, "key": key, "strict": "all"}[self._order]
        self.events[sequence] = Owing(lane)

    # ------------------------------------------------------------------------------------------------- handing out

    @property
    def in_flight(self) -> dict[int, Owing]:
        """What was handed out, and has no outcome."""
        return {sequence: owing for sequence, owing in self.events.items() if owing.delivery is not None}

    def may_come(self, now: int) -> set[int]:
        """What may be handed out next; nothing else may."""
        if self.is_paused or len(self.in_flight) >= (1 if self._has_suspects else self._max_in_flight):
            return set()
        coming = set(self._free(now))
        fresh = [s for s in sorted(coming) if (owing := self.events[s]).lane is None and not owing.attempts]
        # Those that nothing holds back come in their order, but for one that may have been handed out before a crash.
        first = next((s for s in fresh if not self.events[s].perhaps), None)
        return {s for s in coming if s not in fresh or self.events[s].perhaps or s == first}

    def must_come(self, now: int) -> bool:
        """Whether something must be handed out."""
        if not self.may_come(now) or (self.was_crash and self.in_flight):
            return False
        # What is held takes the room of what is new; what comes again needs none.
        held = sum(owing.attempts > 0 or owing.due is not None for owing in self.events.values())
        return held < self._max_in_flight or any(self.events[sequence].attempts for sequence in self._free(now))

    @property
    def _has_suspects(self) -> bool:
        return any(owing.suspect for owing in self.events.values())

    def _free(self, now: int) -> Iterator[int]:
        lanes: set[object] = set()
        for sequence, owing in self.events.items():
            is_first = owing.lane is None or owing.lane not in lanes
            lanes.add(owing.lane)
            if is_first and owing.delivery is None and (owing.due is None or owing.due <= now):
                yield sequence

    def handed_out(self, delivery: Delivery, now: int) -> None:
        """A delivery came.

        Raises:
            Violation: it should not have, or says something else of its event.
        """
        sequence = delivery.event.sequence
        if sequence not in self.may_come(now):
            raise Violation(f"{delivery!r} came, and only these may: {self.may_come(now)} of {self.events}")
        owing = self.events[sequence]
        if not owing.attempts < delivery.attempt <= owing.attempts + 1 + owing.perhaps:
            raise Violation(f"{delivery!r} came, and this is owed: {owing}")
        owing.attempts, owing.perhaps, owing.due = delivery.attempt, 0, None
        owing.delivery = delivery

    # ---------------------------------------------------------------------------------------------------- outcomes

    def done(self, sequence: int) -> None:
        """It has an ack."""
        del self.events[sequence]

    def failed(self, sequence: int, now: int, delay: int | None, reason: str) -> None:
        """It has a nak: it comes again after so many microseconds, or as the backoff says, or is parked."""
        owing = self.events[sequence]
        if owing.attempts >= self._attempts:
            self.park(sequence, reason)
            return
        owing.delivery, owing.suspect, owing.may_be_suspect = None, False, False
        owing.due = now + (BACKOFF * 2 ** (owing.attempts - 1) if delay is None else delay)

    def park(self, sequence: int, reason: str | None) -> None:
        """It is a dead letter."""
        owing = self.events.pop(sequence)
        self.letters[sequence] = Letter(owing.attempts, reason)

    # --------------------------------------------------------------------------------------------------- its lives

    def close(self) -> None:
        """It ends, or was ended; what was in flight comes again the next time.

        After a crash a clean end acquits nobody as long as there are suspects.
        """
        self.was_crash = self.was_crash and any(owing.may_be_suspect for owing in self.events.values())
        for owing in tuple(self.in_flight.values()):
            owing.delivery = None

    def crash(self) -> None:
        """Its process is no more; what was in flight, or may have been for all that is stored, comes again alone."""
        self.was_crash = True
        for owing in self.events.values():
            owing.may_be_suspect = True
            if owing.delivery is not None:
                owing.delivery, owing.suspect = None, True
            else:
                owing.perhaps += 1

    def were_parked(self, letters: dict[int, int]) -> None:
        """It goes on, and these are its dead letters, with their attempts: what nobody can foresee of them is noted.

        Raises:
            Violation: one was parked that must not be.
        """
        alone = 0
        for sequence, attempts in letters.items():
            owing = self.events.get(sequence)
            if owing is None or (sequence in self.letters and self.letters[sequence].attempts == attempts):
                continue
            alone += 1
            if alone > self.was_crash or not self._attempts <= attempts <= owing.attempts + owing.perhaps:
                raise Violation(f"parked between two lives: event {sequence}, and these were owed: {self.events}")
            owing.attempts = attempts
            self.park(sequence, None)

    def seek(self, events: dict[int, str | None]) -> None:
        """It goes on elsewhere: these are owed, and nothing is known of them, nor are they dead letters any more."""
        self.events.clear()
        self.letters = {sequence: letter for sequence, letter in self.letters.items() if sequence not in events}
        for sequence, key in events.items():
            self.stored(sequence, key)
