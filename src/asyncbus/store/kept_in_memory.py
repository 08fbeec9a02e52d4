"""What a store in memory keeps for durable consumers."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec
from anyio.lowlevel import checkpoint

from asyncbus.store.consumers import (
    Change,
    ConsumerState,
    Forgotten,
    ParkedEvent,
    ParkedFilter,
    Released,
    fenced,
)

_SCAN: Final = 8192
"""Dead letters looked at without giving others a turn."""


class KeptInMemory:
    """States and dead letters, for as long as the object lives."""

    def __init__(self) -> None:
        self._states: dict[str, ConsumerState] = {}
        self._epochs: dict[str, int] = {}
        # By number; and their numbers, ascending.
        self._letters: dict[int, ParkedEvent] = {}
        self._numbers: list[int] = []
        # Consumer and sequence → number.
        self._known: dict[tuple[str, int], int] = {}
        self._last = 0

    def change(self, changes: Sequence[Change]) -> frozenset[str]:
        """Keep changes, in their order; return the names of stale consumers."""
        counting, stale, self._epochs = fenced(changes, self._epochs)
        for change in counting:
            match change:
                case ConsumerState():
                    self._states[change.name] = change
                case ParkedEvent():
                    self._park(change)
                case Released():
                    for number in change.numbers:
                        self._release(number)
                case Forgotten():
                    self._forget(change.name)
        return stale

    def _park(self, parked: ParkedEvent) -> None:
        place = parked.consumer, parked.record.sequence
        number = self._known.get(place, 0)
        if parked.number not in {0, number}:
            return
        if not number:
            self._last = number = self._last + 1
            self._known[place] = number
            self._numbers.append(number)
        self._letters[number] = msgspec.structs.replace(parked, number=number)

    def _release(self, number: int) -> None:
        parked = self._letters.pop(number, None)
        if parked is not None:
            del self._known[parked.consumer, parked.record.sequence]
            del self._numbers[bisect_right(self._numbers, number) - 1]

    def _forget(self, name: str) -> None:
        self._states.pop(name, None)
        for number in [number for number, parked in self._letters.items() if parked.consumer == name]:
            self._release(number)

    def states(self) -> Sequence[ConsumerState]:
        """All consumers, by name."""
        return [self._states[name] for name in sorted(self._states)]

    async def letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        """Those that are wanted, in the order of their numbers, giving others a turn now and then."""
        found: list[ParkedEvent] = []
        after = wanted.after
        while True:
            begin = bisect_right(self._numbers, after)
            looked_at = self._numbers[begin : begin + _SCAN]
            matching = filter(wanted.matches, (self._letters[number] for number in looked_at))
            found += islice(matching, None if wanted.limit is None else wanted.limit - len(found))
            if len(found) == wanted.limit or len(looked_at) < _SCAN:
                return found
            after = looked_at[-1]
            await checkpoint()

    def counts(self) -> Mapping[str, int]:
        """How many dead letters each consumer has."""
        return dict(Counter(consumer for consumer, _ in self._known))
