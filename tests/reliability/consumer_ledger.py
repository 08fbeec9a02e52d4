"""What children have claimed of their consumers, and whether log and database hold to it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import Enum
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from asyncbus.store.consumers import ConsumerState
from tests.reliability.trials import Figures, Violation

_CLAIM: Final = Layout("<cBqq")
"""Kind, consumer, sequence, and what the kind says: small enough for a pipe to take it whole."""

CONSUMERS: Final = ("plain", "project", "follow")
"""By name: one that has no effect but its claims, one that has effects in a database, one that publishes."""


class Kind(Enum):
    """What a child can claim; the last field of the claim is in brackets."""

    begun = b"B"  # a handler has it (the attempt)
    again = b"A"  # the same, where it is a dead letter that is tried again
    given_back = b"G"  # its handler was cancelled
    done = b"D"  # its handler returns
    followed = b"F"  # an event was published (the place among those that follow, times 2^48, and its sequence)
    settled = b"S"  # what the log knew as the child was born: done up to here
    owed = b"W"  # ... but for this one
    working = b"O"  # the log was checked, and work begins
    closing = b"X"


class Claims:
    """The child's end: what is written here outlives it."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self.count = 0

    def say(self, kind: Kind, consumer: str = "plain", sequence: int = 0, more: int = 0) -> None:
        """Claim something."""
        os.write(self._pipe, _CLAIM.pack(kind.value, CONSUMERS.index(consumer), sequence, more))
        self.count += 1


class Found(Struct, frozen=True, kw_only=True):
    """What a log and the database of the effects hold.

    Attributes:
        tasks: the sequences of the events that are consumed, and how many events are to follow from each.
        states: of the consumers, by name.
        letters: the sequences of their dead letters.
        effects: of which events the database has the effect, as often as it has it.
        followed: for each task the places of the events that have followed.
    """

    tasks: Mapping[int, int]
    states: Mapping[str, ConsumerState]
    letters: Mapping[str, Sequence[int]]
    effects: Sequence[int]
    followed: Mapping[int, Sequence[int]]


class ConsumerLedger:
    """The parent's end: all that was claimed by one child after the other. A child has a copy, to check by it."""

    def __init__(self) -> None:
        self.figures: Figures = Counter()
        self.working = self.closing = False
        self._done: dict[str, set[int]] = {name: set() for name in CONSUMERS}
        # The last attempt that a handler has begun, and whether it was given back.
        self._attempts: dict[tuple[str, int], int] = {}
        self._given_back: set[tuple[str, int]] = set()
        # Receipts of what has followed, by task and place.
        self._receipts: dict[tuple[int, int], int] = {}
        self._settled: dict[str, int] = {}
        self._owed: dict[str, set[int]] = defaultdict(set)
        self._rest = b""

    def begin_life(self) -> None:
        """Another child is born."""
        self.working = self.closing = False
        self._settled.clear()
        self._owed.clear()
        self._rest = b""

    def take(self, written: bytes) -> None:
        """Add what was read from the pipe."""
        written = self._rest + written
        whole = len(written) - len(written) % _CLAIM.size
        self._rest = written[whole:]
        for kind, consumer, sequence, more in _CLAIM.iter_unpack(written[:whole]):
            self._add(Kind(kind), CONSUMERS[consumer], sequence, more)

    def _add(self, kind: Kind, consumer: str, sequence: int, more: int) -> None:
        match kind:
            case Kind.begun | Kind.again:
                self.figures["handed out"] += 1
                self.figures["of them again"] += more > 1
                if kind is Kind.begun:
                    self._check_owed(consumer, sequence)
                self._begin(consumer, sequence, more)
            case Kind.given_back:
                self._given_back.add((consumer, sequence))
            case Kind.done:
                self._done[consumer].add(sequence)
            case Kind.followed:
                self._follow(sequence, *divmod(more, 2**48))
            case Kind.settled:
                self._settled[consumer] = sequence
            case Kind.owed:
                self._owed[consumer].add(sequence)
            case Kind.working:
                self.figures["opened and checked"] += 1
                self.working = True
            case Kind.closing:
                self.closing = True

    def _check_owed(self, consumer: str, sequence: int) -> None:
        if sequence <= self._settled.get(consumer, 0) and sequence not in self._owed[consumer]:
            raise Violation(f"{consumer} got {sequence} again, though it was stored that this is done")

    def _begin(self, consumer: str, sequence: int, attempt: int) -> None:
        last = self._attempts.get((consumer, sequence), 0)
        lowest = last if (consumer, sequence) in self._given_back else last + 1
        if attempt < lowest:
            raise Violation(f"{consumer} got {sequence} as attempt {attempt}, and had it as attempt {last} before")
        self._given_back.discard((consumer, sequence))
        self._attempts[consumer, sequence] = attempt

    def _follow(self, task: int, place: int, sequence: int) -> None:
        first = self._receipts.setdefault((task, place), sequence)
        if first != sequence:
            raise Violation(f"what follows from {task} got {first} as receipt, and then {sequence}")

    # ------------------------------------------------------------------------------------------------------ checking

    def check(self, found: Found) -> None:
        """Compare what is stored with all that was claimed.

        Raises:
            Violation: it does not hold to it.
        """
        _check_once("effects", found.effects)
        for task, places in found.followed.items():
            _check_once(f"events that follow from {task}", places)
        for name, letters in found.letters.items():
            _check_once(f"dead letters of {name}", letters)
        for name, state in found.states.items():
            parked = set(found.letters[name])
            both = [sequence for sequence in parked if sequence > state.settled_to or sequence in state.owed]
            if both:
                raise Violation(f"{name} is at {state}, and has parked what it still owes: {both}")
            for task in found.tasks:
                is_done = task <= state.settled_to and task not in state.owed
                if is_done and task not in parked and not self._is_done(name, task, found):
                    raise Violation(f"{name} is at {state}, but {task} was neither done nor parked")

    def check_all_done(self, found: Found) -> None:
        """Also, that nothing is owed any more.

        Raises:
            Violation: something is.
        """
        last = max(found.tasks, default=0)
        for name in CONSUMERS:
            state = found.states[name]
            if found.letters[name] or state.checkpoint < last or state.owed or state.active_since:
                raise Violation(f"{name} is at {state} in the end, with dead letters {found.letters[name]}")
            left = [task for task in found.tasks if not self._is_done(name, task, found)]
            if left:
                raise Violation(f"{name} has never done {left}")

    def _is_done(self, name: str, task: int, found: Found) -> bool:
        match name:
            case "project":
                return task in found.effects
            case "follow":
                return len(found.followed.get(task, ())) == found.tasks[task]
            case _:
                return task in self._done[name]


def _check_once(what: str, numbers: Sequence[int]) -> None:
    doubled = [number for number, times in Counter(numbers).items() if times > 1]
    if doubled:
        raise Violation(f"{what}: {doubled} are there more than once")
