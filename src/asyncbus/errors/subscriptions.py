"""What ends a subscription, or keeps it from starting."""

from __future__ import annotations

from asyncbus.errors.base import AsyncBusError


class SubscriptionError(AsyncBusError):
    """The root of what ends a subscription or keeps it from starting."""


class StartBeyondHeadError(SubscriptionError, ValueError):
    """`start` is above head + 1, the sequence of the next event."""

    def __init__(self, start: int, head: int) -> None:
        self.start = start
        self.head = head
        super().__init__(f"start={start} lies beyond the next sequence, {head + 1}; is this the right store?")


class EventsLostError(SubscriptionError):
    """Events that this reader was owed, `first` to `last`, were removed before it read them.

    `consumer` is its name, where it is a durable one.
    """

    def __init__(self, first: int, last: int, consumer: str | None = None) -> None:
        self.first = first
        self.last = last
        self.consumer = consumer
        if consumer is None:
            way = f"start='earliest' or start={last + 1} goes"
        else:
            way = f"what consumer {consumer!r} owes is among them, and seek({consumer!r}, start={last + 1}) lets it go"
        super().__init__(f"events {first} to {last} were removed; {way} on after them")


class SubscriptionOverflowError(SubscriptionError):
    """A live reader with `when_full="fail"` fell more than its capacity behind."""

    def __init__(self, capacity: int, position: int) -> None:
        self.capacity = capacity
        self.position = position
        super().__init__(f"the queue of {capacity} events is full; what it holds, up to {position}, is delivered first")


class SubscriptionBusyError(SubscriptionError):
    """A second task waits on a subscription that another one iterates already, or it has a handler."""
