"""The worlds in which the machine plays, and what is accepted there and not stored yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from asyncbus import EventIdConflictError, EventStore, MemoryStore, PendingReceipt, Receipt, SQLiteStore
from tests.reliability.model.log import Conflict, Proposal, same
from tests.reliability.trials import Violation

Kind = Literal["memory", "bounded memory", "sqlite", "sqlite, normal"]
Outcome = list[Receipt] | EventIdConflictError


class World(Struct, frozen=True, kw_only=True):
    """What one run is played in."""

    kind: Kind
    inbox_capacity: int
    recent_capacity: int
    max_events: int


class Accepted(Struct, frozen=True):
    """What was accepted in one piece and may not be stored yet: a group of events, or (none) a `clear`."""

    group: Sequence[Proposal]
    waits: asyncio.Future[Any] | PendingReceipt

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return self.waits.done if isinstance(self.waits, PendingReceipt) else self.waits.done()

    def outcome(self) -> Outcome:
        """What its publisher got."""
        try:
            result = self.waits.result()
        except EventIdConflictError as error:
            return error
        return result if isinstance(result, list) else [result]


def make_store(world: World, path: Path) -> EventStore:
    """The store of a world."""
    match world.kind:
        case "memory":
            return MemoryStore()
        case "bounded memory":
            return MemoryStore(max_events=world.max_events)
        case "sqlite":
            return SQLiteStore(path)
        case "sqlite, normal":
            return SQLiteStore(path, synchronous="normal")


def judge(outcome: Outcome, expected: list[Receipt] | Conflict) -> None:
    """See that a publisher was told what the model says."""
    if isinstance(expected, Conflict) and isinstance(outcome, EventIdConflictError):
        # Where both were accepted together, the first one's sequence was not known yet.
        if outcome.id not in expected.ids or outcome.sequence not in (expected.ids[outcome.id], 0):
            raise Violation(f"{outcome}, but these are the ids that conflict: {expected.ids}")
        return
    same(outcome, expected, "what a publisher was told")
