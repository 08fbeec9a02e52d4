"""Events that follow from a number: what a child published is known by it, without having to be told."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from itertools import count
from typing import Final, NamedTuple
from zlib import crc32

from asyncbus import Event, NewEvent


class Way(Enum):
    """How a source publishes its events."""

    stored = auto()
    accepted = auto()
    many = auto()
    nowait = auto()
    thread = auto()
    ids = auto()


SOURCES: Final = (
    Way.stored,
    Way.stored,
    Way.stored,
    Way.accepted,
    Way.many,
    Way.many,
    Way.nowait,
    Way.thread,
    Way.ids,
    Way.ids,
)
"""What publishes in each life; a source is known by its place here."""

WEIGHTS: Final = (100, 2_000, 60_000)
"""How long the payloads of a life may be; the longest fill the write-ahead log up to a checkpoint."""

GROUP: Final = 60
"""Events of the largest `publish_many`."""

_NUMBERS: Final = 2**32


class Token(NamedTuple):
    """What tells an event from all others of a log.

    Attributes:
        life: of the process that published it first.
        weight: the place in `WEIGHTS` of what limits its payload.
        source: its place in `SOURCES`.
        number: counted by the source; those of a group of `publish_many` begin at a multiple of `GROUP`.
    """

    life: int
    weight: int
    source: int
    number: int

    def __int__(self) -> int:
        return ((self.life * len(WEIGHTS) + self.weight) * len(SOURCES) + self.source) * _NUMBERS + self.number

    @classmethod
    def of(cls, whole: int) -> Token:
        """The token of a number."""
        rest, number = divmod(whole, _NUMBERS)
        rest, source = divmod(rest, len(SOURCES))
        return cls(*divmod(rest, len(WEIGHTS)), source, number)

    @classmethod
    def of_event(cls, event: Event) -> Token:
        """The token of an event of a log."""
        data = event.data
        return cls.of(int.from_bytes(data[:8], "big") if isinstance(data, bytes) else data["token"])

    def count_on(self) -> Iterator[Token]:
        """It and those that follow it in its source."""
        return (self._replace(number=number) for number in count(self.number))

    def next(self) -> Token:
        """The one after it in its source."""
        return self._replace(number=self.number + 1)

    def next_group(self) -> Token:
        """The first of the group after its own."""
        return self._replace(number=self.number - self.number % GROUP + GROUP)

    def group(self) -> list[Token]:
        """The tokens that are published with it, as one; it alone, where its source publishes singly."""
        if SOURCES[self.source] is not Way.many:
            return [self]
        first = self._replace(number=self.number - self.number % GROUP)
        size = 1 + _chance(first) % GROUP
        return [first._replace(number=first.number + place) for place in range(size)]

    def event(self) -> NewEvent:
        """The event that is published for it."""
        whole, chance = int(self), _chance(self)
        filler = chance % WEIGHTS[self.weight]
        in_bytes = chance % 11 == 0
        way = SOURCES[self.source]
        return NewEvent(
            f"kills.{way.name}.{chance % 5}",
            whole.to_bytes(8, "big") + bytes(filler) if in_bytes else {"token": whole, "filler": "x" * filler},
            id=f"id-{whole}" if way is Way.ids else None,
            key=f"vm-{chance % 7}" if chance % 3 == 0 else None,
            metadata={"life": self.life} if chance % 4 == 0 else None,
        )


def _chance(token: Token) -> int:
    return crc32(int(token).to_bytes(8, "big"))
