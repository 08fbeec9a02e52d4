"""What a child has claimed to be stored, and whether a log holds to it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from struct import Struct
from typing import Final

from asyncbus import Event, Receipt
from tests.reliability.tokens import Token
from tests.reliability.trials import Figures, Violation

_CLAIM: Final = Struct("<cQqq")
"""Kind, token, sequence, and what the kind says: small enough for a pipe to take hundreds of them whole."""


class Kind(Enum):
    """What a child can claim; the last field of the claim is in brackets."""

    stored = b"S"  # a receipt (whether it is a duplicate)
    delivered = b"D"  # an event (the reader)
    opened = b"O"  # the log was found to hold what was claimed before; the sequence is its head (its floor)
    clearing = b"C"  # from now on the log may be cleared; the sequence is the highest that was acknowledged
    cleared = b"c"
    closing = b"X"


class Claims:
    """The child's end: what is written here outlives it.

    Args:
        pipe: the descriptor to write to.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self.acknowledged = 0
        self.highest = 0

    def stored(self, tokens: Sequence[Token], receipts: Sequence[Receipt]) -> None:
        """These were acknowledged."""
        self.acknowledged += len(receipts)
        self.highest = max(self.highest, *(receipt.sequence for receipt in receipts))
        os.write(
            self._pipe,
            b"".join(
                _CLAIM.pack(Kind.stored.value, int(token), receipt.sequence, receipt.duplicate)
                for token, receipt in zip(tokens, receipts, strict=True)
            ),
        )

    def delivered(self, event: Event, reader: int) -> None:
        """A reader got it."""
        os.write(self._pipe, _CLAIM.pack(Kind.delivered.value, int(Token.of_event(event)), event.sequence, reader))

    def say(self, kind: Kind, sequence: int = 0, more: int = 0) -> None:
        """Anything else."""
        os.write(self._pipe, _CLAIM.pack(kind.value, 0, sequence, more))


class Ledger:
    """The other end: all that was claimed by one child after the other, as far as the log was not cleared.

    A forked child has it as it was when it was forked, and checks the log by it.
    """

    def __init__(self) -> None:
        self.figures: Figures = Counter()
        self.tokens: dict[int, Token] = {}
        self.sequences: dict[Token, int] = {}
        self.floor = 0
        self.head = 0
        self.closing = False
        # What a power cut may have lost since the log was checked for the last time: what comes after this sequence.
        self._may_lose_after: int | None = None
        self._why_lost = ""
        # What had been acknowledged when clear() was called, and the same once it had returned.
        self._may_be_cleared: int | None = None
        self._is_cleared = 0
        self._delivered: dict[int, int] = {}
        self._rest = b""

    def begin_life(self) -> None:
        """Another child is born."""
        self.closing = False
        self._delivered.clear()
        self._rest = b""

    @property
    def highest(self) -> int:
        """The last sequence that is known to have been given."""
        return max(self.tokens, default=self.head)

    def may_lose(self, after: int, why: str) -> None:
        """Allow the log to have lost what was claimed after a sequence, until it is checked again."""
        if self._may_lose_after is None:
            self._may_lose_after, self._why_lost = after, why

    def take(self, written: bytes) -> None:
        """Add what was read from the pipe."""
        written = self._rest + written
        whole = len(written) - len(written) % _CLAIM.size
        self._rest = written[whole:]
        for kind, token, sequence, more in _CLAIM.iter_unpack(written[:whole]):
            self._add(Kind(kind), Token.of(token), sequence, more)

    def _add(self, kind: Kind, token: Token, sequence: int, more: int) -> None:
        match kind:
            case Kind.stored:
                self.figures["acknowledged"] += 1
                self.figures["of them duplicates"] += more
                if not more and sequence <= self.head:
                    raise Violation(f"{token} got sequence {sequence}, but the log had {self.head} before")
                self._claim(token, sequence)
            case Kind.delivered:
                self.figures["delivered"] += 1
                if sequence <= self._delivered.get(more, 0):
                    raise Violation(f"reader {more} got {sequence} after {self._delivered[more]}")
                self._delivered[more] = sequence
                self._claim(token, sequence)
            case Kind.opened:
                self._opened(sequence, floor=more)
            case Kind.clearing:
                self._may_be_cleared = sequence
            case Kind.cleared:
                self._is_cleared = self._may_be_cleared or 0
            case Kind.closing:
                self.closing = True

    def _claim(self, token: Token, sequence: int) -> None:
        first = self.tokens.setdefault(sequence, token)
        if first != token:
            raise Violation(f"sequence {sequence} was given to {first} and to {token}")
        place = self.sequences.setdefault(token, sequence)
        if place != sequence:
            raise Violation(f"{token} got sequence {place}, and then {sequence}")

    def _opened(self, head: int, floor: int) -> None:
        """A child has checked the log: what was cleared, and what it was allowed to lose, is claimed no more."""
        self.figures["opened and checked"] += 1
        self.figures["cleared"] += floor > self.floor
        lost = [sequence for sequence in self.tokens if sequence > head]
        if lost:
            self.figures[f"lost {self._why_lost}"] += len(lost)
        for sequence in [*lost, *(sequence for sequence in self.tokens if sequence <= floor)]:
            del self.sequences[self.tokens.pop(sequence)]
        self.floor, self.head = floor, head
        self._may_lose_after = self._may_be_cleared = None
        self._is_cleared = 0

    # ------------------------------------------------------------------------------------------------------ checking

    def check(self, events: Sequence[Event], head: int) -> int:
        """Compare a log, read from its beginning to its head, with all that was claimed; return its floor.

        Args:
            events: all that it holds.
            head: its last sequence.

        Raises:
            Violation: it does not hold to it.
        """
        floor = events[0].sequence - 1 if events else head
        found = {event.sequence: Token.of_event(event) for event in events}
        self._check_floor(floor)
        if list(found) != list(range(floor + 1, head + 1)) or len(events) != len(found):
            raise Violation(f"not dense from {floor + 1} to {head}: {_holes(list(found), floor, head)}")
        kept = self.highest if self._may_lose_after is None else self._may_lose_after
        if head < kept:
            raise Violation(
                f"lost: {self.tokens.get(head + 1)} was given {head + 1}, but the head is {head}, not {kept}"
            )
        for sequence, token in self.tokens.items():
            if floor < sequence <= head and found[sequence] != token:
                raise Violation(f"lost: {token} was given {sequence}, which is {found[sequence]}")
        _check_contents(events)
        _check_groups(found)
        return floor

    def _check_floor(self, floor: int) -> None:
        asked, answered = self._may_be_cleared, self._is_cleared
        lost = floor < answered and self._may_lose_after is None
        if lost or (floor != self.floor and (asked is None or floor < asked)):
            raise Violation(
                f"the log begins after {floor}: it was cleared up to {self.floor}, and then clear() was called"
                f" {'never' if asked is None else f'at {asked}'} and had {'' if answered else 'not '}returned"
            )


def _holes(sequences: list[int], floor: int, head: int) -> str:
    missing = sorted(set(range(floor + 1, head + 1)) - set(sequences))
    return f"{len(sequences)} events, {len(missing)} missing, from {missing[:1]}"


def _check_contents(events: Sequence[Event]) -> None:
    seen: set[Token] = set()
    recorded_at = None
    for event in events:
        token = Token.of_event(event)
        expected = token.event()
        for name in ("type", "data", "id", "key", "metadata"):
            if getattr(event, name) != getattr(expected, name):
                raise Violation(f"the {name} of {event.sequence}, {token}, is {getattr(event, name)!r:.200}")
        if token in seen:
            raise Violation(f"{token} is stored twice, the second time as {event.sequence}")
        seen.add(token)
        if recorded_at is not None and event.recorded_at < recorded_at:
            raise Violation(f"{event.sequence} was recorded before the one before it")
        recorded_at = event.recorded_at


def _check_groups(found: dict[int, Token]) -> None:
    """All of a `publish_many` or nothing, and with consecutive sequences."""
    for sequence, token in found.items():
        group = token.group()
        first = sequence - group.index(token)
        if token == group[0] or first not in found:
            stored = [found.get(first + place) for place in range(len(group))]
            if stored != group:
                raise Violation(f"of {len(group)} events published as one from {first} on, {stored} are there")
