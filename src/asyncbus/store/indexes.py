"""An index of a log in memory: made when it is first asked for, so that who publishes does not pay for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from asyncbus.events import Record

V = TypeVar("V")


class Index(Generic[V]):
    """The sequences of the events that have some value, ascending.

    Args:
        value_of: what an event is found by; None: it is not found.
    """

    def __init__(self, value_of: Callable[[Record], V | None]) -> None:
        self._value_of = value_of
        self._sequences: dict[V, list[int]] = {}
        # The last event it has, and the floor at which it was begun.
        self._position = 0
        self._begun_at = 0

    def catch_up(self, records: Sequence[Record], offset: int, floor: int) -> None:
        """Take in what was appended since it was last asked; event `sequence` stands at `sequence - offset - 1`."""
        # What was removed is still in it: begun anew when that may be more than what is there.
        if floor - self._begun_at > len(records):
            self._sequences.clear()
            self._begun_at = self._position = floor
        for place in range(max(self._position, floor) - offset, len(records)):
            record = records[place]
            value = self._value_of(record)
            if value is not None:
                self._sequences.setdefault(value, []).append(record.sequence)
        self._position = offset + len(records)

    def above(self, floor: int, value: V) -> Sequence[int]:
        """The sequences above `floor` of the events that have `value`."""
        found = self._sequences.get(value, ())
        return found[bisect_right(found, floor) :]
