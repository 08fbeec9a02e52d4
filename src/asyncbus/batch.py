"""What one group commit stores, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from asyncbus.errors import BusClosedError
from asyncbus.events import Record
from asyncbus.futures import AnyFuture

Task: TypeAlias = "asyncio.Task[Any] | None"


class Waiter(Struct, frozen=True, eq=False):
    """Somebody who waits for a batch to be settled, for the sake of some of its events.

    `task` is known where a reader may block the writer.
    """

    future: AnyFuture[None]
    events: Sequence[Submission]
    task: Task = None


class Batch:
    """What one group commit stores: open until the writer takes it, settled when the commit succeeded or failed."""

    __slots__ = (
        "commands",
        "error",
        "groups",
        "max_size",
        "room",
        "settled",
        "size",
        "submissions",
        "taken",
        "thread_size",
        "waiters",
        "withdrawn",
    )

    def __init__(self, error: Exception | None = None) -> None:
        self.submissions: list[Submission] = []
        # What each `publish_many` gave: all of it is stored or none.
        self.groups: list[Sequence[Submission]] = []
        self.waiters: list[Waiter] = []
        # What the writer does after the commit, in order.
        self.commands: list[Callable[[], Awaitable[None]]] = []
        # How much it takes before the limits have to be looked at; nothing while publishers are in line.
        self.room = 0
        self.max_size = 0
        # Payload sizes, counted apart for the loop's thread and the others: so neither needs a lock for the other.
        self.size = 0
        self.thread_size = 0
        # How many of the submissions were withdrawn and are still there.
        self.withdrawn = 0
        self.taken = self.settled = error is not None
        self.error = error

    @property
    def depth(self) -> int:
        """Events it holds."""
        return len(self.submissions) - self.withdrawn

    def drop_withdrawn(self) -> None:
        """Take out what was withdrawn."""
        self.submissions = [submission for submission in self.submissions if submission.batch is self]
        self.groups = [group for group in self.groups if group[0].batch is self]
        self.waiters = [waiter for waiter in self.waiters if not waiter.future.done()]
        self.withdrawn = 0


OUTSIDE: Final = Batch(BusClosedError("this event is not in the inbox"))
"""Where submissions are that no batch holds."""


class Submission(Record, array_like=True, gc=False):
    """A record on its way through the inbox, and what became of it.

    It refers to its batch, and the batch to it, which the collector does not see (`gc=False`): who settles a batch
    takes it apart.

    Attributes:
        batch: what it is part of; `OUTSIDE` before it is accepted and after it was withdrawn, and a failed batch of its
            own where the store refused it.
        duplicate: whether it repeated an event that was stored before.
        expected_sequence: that of the last event with its key; 0: there must be none; None: whatever it is.
    """

    batch: Batch = OUTSIDE
    duplicate: bool = False
    expected_sequence: int | None = None
