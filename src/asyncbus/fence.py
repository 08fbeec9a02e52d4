"""What a database of the user's knows of the effects a consumer has had in it, as a value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection
from itertools import pairwise
from operator import itemgetter
from typing import TypeAlias

import msgspec
from msgspec import Struct

from asyncbus.errors import EffectsError
from asyncbus.events import LAST_SEQUENCE

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Sequences, as the first and the last of each run; ascending, no two touch."""

_first = itemgetter(0)
_last = itemgetter(1)


class Fence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which events have had their effect, so that none has it twice however often it comes again.

    Attributes:
        checkpoint: events at or below it come again only as dead letters that are retried.
        applied: what above the checkpoint has had its effect.
        retried: the dead letters that have had their effect in a retry, wherever the checkpoint is; ascending.
    """

    checkpoint: int = 0
    applied: Ranges = ()
    retried: tuple[int, ...] = ()

    def has(self, sequence: int, *, retried: bool = False) -> bool:
        """Whether the event has had its effect.

        Args:
            sequence: of the event.
            retried: whether it comes as a dead letter that is retried: at or below the checkpoint it was parked, and
                so has had no effect unless a retry has succeeded.
        """
        if retried:
            return sequence in self.retried or self._is_applied(sequence)
        return sequence <= self.checkpoint or self._is_applied(sequence)

    def _is_applied(self, sequence: int) -> bool:
        index = bisect_left(self.applied, sequence, key=_last)
        return index < len(self.applied) and _first(self.applied[index]) <= sequence

    def with_applied(self, sequence: int, checkpoint: int, *, retried: bool = False, after: int | None = None) -> Fence:
        """The same once one more event has its effect.

        Args:
            sequence: of the event.
            checkpoint: of the consumer; a lower one than before changes nothing.
            retried: whether the event comes as a dead letter that is retried.
            after: a lower sequence; the consumer wants none of the events between the two. Told of each event's
                predecessor, the ranges of a rare event type are as few as those of a dense one.
        """
        first = sequence if after is None else after + 1
        return Fence(
            checkpoint=max(self.checkpoint, checkpoint),
            applied=_above(max(self.checkpoint, checkpoint), _joined(self.applied, first, sequence)),
            retried=tuple(sorted({*self.retried, sequence})) if retried else self.retried,
        )

    def passing(self, checkpoint: int) -> Fence:
        """The same once the consumer is at a checkpoint without a further effect."""
        return Fence(checkpoint=checkpoint, applied=_above(checkpoint, self.applied), retried=self.retried)

    def forgetting(self, sequences: Collection[int]) -> Fence:
        """The same without these retried ones, whose dead letters are durably gone and so come no more."""
        gone = frozenset(sequences)
        return msgspec.structs.replace(self, retried=tuple(each for each in self.retried if each not in gone))

    def at(self, checkpoint: int) -> Fence:
        """For a consumer that was moved: what comes after `checkpoint` has its effect (again), what comes before none.

        The dead letters at or before it stay, so what a retry has done is remembered.
        """
        return Fence(checkpoint=checkpoint, retried=tuple(each for each in self.retried if each <= checkpoint))

    def to_text(self) -> str:
        """As JSON, as short as it gets."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_text(cls, text: str, consumer: str) -> Fence:
        """Read what `to_text` has written.

        Raises:
            EffectsError: it is damaged; `consumer` is named, and what to do.
        """
        try:
            fence = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise _damaged(consumer, str(error)) from error
        if not 0 <= fence.checkpoint <= LAST_SEQUENCE:
            raise _damaged(consumer, f"a checkpoint of {fence.checkpoint}")
        bounds = [fence.checkpoint, *(bound for each in fence.applied for bound in each)]
        # The last of a range may be its first; the first of the next one lies above it.
        if any(low > high - (index % 2 == 0) for index, (low, high) in enumerate(pairwise(bounds))):
            raise _damaged(consumer, f"ranges out of order: {fence.applied}")
        if any(low >= high for low, high in pairwise(fence.retried)):
            raise _damaged(consumer, f"retried ones out of order: {fence.retried}")
        return fence


def _joined(ranges: Ranges, first: int, last: int) -> Ranges:
    low = bisect_left(ranges, first - 1, key=_last)
    high = bisect_right(ranges, last + 1, key=_first)
    touched = ranges[low:high]
    if touched:
        first, last = min(first, _first(touched[0])), max(last, _last(touched[-1]))
    return (*ranges[:low], (first, last), *ranges[high:])


def _above(checkpoint: int, ranges: Ranges) -> Ranges:
    rest = ranges[bisect_right(ranges, checkpoint, key=_last) :]
    return tuple((max(first, checkpoint + 1), last) for first, last in rest)


def _damaged(consumer: str, found: str) -> EffectsError:
    return EffectsError(
        consumer,
        f"has a damaged state in the database of its effects ({found}): restore that database, or put"
        ' {"checkpoint":N} in its place, where N is the last event whose effect the database has',
    )
