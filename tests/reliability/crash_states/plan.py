"""What the runs of `crash_states` do to a log: all of it follows from a seed, so that a judge knows what to expect."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from random import Random
from typing import Literal

from msgspec import Struct

from asyncbus import NewEvent

Synchronous = Literal["full", "normal"]
Kind = Literal["together", "beside", "clear", "pin", "unpin"]

KINDS: dict[Kind, int] = {"together": 6, "beside": 4, "clear": 1, "pin": 2, "unpin": 1}
"""Kinds of acts, and how often each is done."""


TYPES = ("order.placed", "order.paid", "order", "stock.moved")


class Operation(Struct, frozen=True):
    """What is in the log whole or not at all: a batch of events; or a clearing, if it has none."""

    number: int
    events: int = 0


class Act(Struct, frozen=True):
    """One thing a run does, and awaits.

    Attributes:
        kind: "together": one operation through `publish_many`; "beside": several of one event each, published by tasks
            of their own; "clear"; "pin" and "unpin": another program begins or ends a long read of the log.
        operations: what it does to the log, in order.
    """

    kind: Kind
    operations: tuple[Operation, ...] = ()


class Plan(Struct, frozen=True):
    """A run: sessions one after the other, each from opening the log to closing it."""

    checkpoint_pages: int
    sessions: tuple[tuple[Act, ...], ...]

    def operations(self) -> dict[int, Operation]:
        """All it will do to the log, by number."""
        return {operation.number: operation for acts in self.sessions for act in acts for operation in act.operations}


def plan(seed: int, run: int) -> Plan:
    """The plan of one run; those of one seed share no number of an operation."""
    random = Random(f"{seed} {run}")
    numbers = count(run * 1000)
    checkpoint_pages = random.choice((4, 10, 25, 60))
    sessions = (tuple(_act(random, numbers) for _ in range(random.randint(2, 6))) for _ in range(random.randint(1, 2)))
    return Plan(checkpoint_pages, tuple(sessions))


def _act(random: Random, numbers: Iterator[int]) -> Act:
    [kind] = random.choices(list(KINDS), list(KINDS.values()))
    if kind == "together":
        events = random.choice((1, 2, random.randint(3, 12), random.randint(13, 40)))
        return Act("together", (Operation(next(numbers), events),))
    if kind == "beside":
        return Act("beside", tuple(Operation(next(numbers), 1) for _ in range(random.randint(1, 8))))
    if kind == "clear":
        return Act("clear", (Operation(next(numbers)),))
    return Act(kind)


@lru_cache(4096)
def events_of(seed: int, operation: Operation) -> tuple[NewEvent, ...]:
    """The events of an operation: bare and with an id or a key, from a few bytes to some pages."""
    random = Random(f"{seed} {operation.number} events")
    events = []
    for index in range(operation.events):
        length = random.choice((3, 40, 40, 200, 200, 900) if index else (40, 200, 3000, 9000))
        events.append(
            NewEvent(
                random.choice(TYPES),
                {"operation": operation.number, "index": index, "text": f"{random.getrandbits(4 * length):x}"},
                id=f"{operation.number}-{index}" if random.random() < 0.3 else None,
                key=f"key-{random.randrange(5)}" if random.random() < 0.3 else None,
            )
        )
    return tuple(events)
