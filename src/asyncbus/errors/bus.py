"""What keeps a bus from doing what it is asked for."""

from __future__ import annotations

from asyncbus.errors.base import AsyncBusError


class BusClosedError(AsyncBusError):
    """The bus is not open: not entered yet, or closed."""


class WrongEventLoopError(AsyncBusError):
    """A call came from another thread or event loop than the one the bus was opened on."""


class WrongThreadError(AsyncBusError):
    """A call that blocks its thread came from the thread of the bus's own event loop."""


class ForkedProcessError(AsyncBusError):
    """This process was forked from the one that opened the bus, which goes on there; here nothing serves it."""

    def __init__(self) -> None:
        super().__init__(
            "this bus was opened before the process was forked, and works in the parent only; open a bus of its own"
            " here (read_only=True follows the same file), or start processes by spawn"
        )


class InboxFullError(AsyncBusError):
    """`publish_nowait` found no room in the inbox."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        super().__init__(
            f"the inbox is full ({capacity} events, or its limit of bytes), or others already wait in line;"
            " await publish(…), which waits for room, or raise inbox_capacity"
        )


class BatchTooLargeError(AsyncBusError, ValueError):
    """A `publish_many` would never fit the inbox; nothing was queued."""

    def __init__(self, events: int, size: int, capacity: int, max_bytes: int) -> None:
        self.events = events
        self.size = size
        self.capacity = capacity
        self.max_bytes = max_bytes
        super().__init__(
            f"{events} events of {size} bytes do not fit an inbox of {capacity} events and {max_bytes} bytes;"
            " publish them in parts or raise inbox_capacity or inbox_bytes"
        )


class WouldDeadlockError(AsyncBusError):
    """Waiting here would wait for oneself: the writer, or a consumer's `seek`, waits for this handler.

    The writer does so with `when_full="block"`. A publish that raises it stored nothing. A receipt that raises it
    is still pending: await it later.
    """


class EventIdConflictError(AsyncBusError):
    """An id was published before with other content; the first one stays, this one was not stored.

    `id` and `sequence` tell of the event that has the id (0: one of the same batch). `conflicts` is for stores: the
    index of each record of a batch that conflicts, with its id and that sequence.
    """

    def __init__(self, conflicts: dict[int, tuple[str, int]]) -> None:
        self.conflicts = conflicts
        self.id, self.sequence = next(iter(conflicts.values()))
        whose = f"event {self.sequence}" if self.sequence else "an event published just before"
        super().__init__(f"id {self.id!r} belongs to {whose}, whose content differs; use a new id for a new event")


class ConcurrencyError(AsyncBusError):
    """Somebody else was faster: the last event with this key is another one than was expected; nothing was stored.

    `key`, `expected` and `found` (0: there is none) tell which. Read again what `key` has, decide anew, publish again.
    """

    def __init__(self, key: str, expected: int, found: int) -> None:
        self.key = key
        self.expected = expected
        self.found = found
        last = f"event {found}" if found else "none"
        wanted = f"event {expected}" if expected else "none"
        super().__init__(
            f"the last event with key {key!r} was expected to be {wanted}, and is {last}; read it again and decide anew"
        )


class PublishOutcomeUnknownError(AsyncBusError):
    """Nobody knows whether the event was stored; publishing again with the same `id` is safe."""

    def __init__(self, id: str | None, reason: str) -> None:
        self.id = id
        advice = f"publish again with id={id!r}" if id is not None else "give events an id to be able to publish again"
        super().__init__(f"{reason}: the event may or may not be stored; {advice}")


class DrainTimeoutError(AsyncBusError, TimeoutError):
    """Handlers had not finished when the time was over; `unfinished` maps their names to their backlogs."""

    def __init__(self, unfinished: dict[str, int]) -> None:
        self.unfinished = unfinished
        names = ", ".join(f"{name} ({backlog} behind)" for name, backlog in unfinished.items())
        super().__init__(f"not finished in time: {names}")
