"""What concerns durable consumers; and `Reject`, which is no error."""

from __future__ import annotations

from asyncbus.errors.base import AsyncBusError


class ConsumerError(AsyncBusError):
    """The root of what concerns durable consumers; `name` is the consumer's, `reason` what there is to say of it."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"consumer {name!r} {reason}")


class ConsumerInUseError(ConsumerError):
    """There is an active consumer of this name; one name has one consumer at a time."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "is active on this bus already; close that one, or give this one a name of its own")


class UnknownConsumerError(ConsumerError):
    """No consumer of this name is known to the store, or where one must be active, none is."""

    def __init__(self, name: str, *, active: bool = False) -> None:
        super().__init__(
            name,
            "is not active on this bus: start it with consume(…), for this needs its handler"
            if active
            else "is not known to this store; `await bus.consumers()` lists those that are",
        )


class ConsumerPatternError(ConsumerError):
    """A consumer has another pattern than what is stored under its name: what it owes would change its meaning."""

    def __init__(self, name: str, stored: str, found: str) -> None:
        self.stored = stored
        self.found = found
        super().__init__(
            name,
            f"is stored with the pattern {stored!r}, not {found!r}: use the stored one, give the new one another name,"
            " or delete_consumer(…) first, which forgets its checkpoint and its dead letters",
        )


class CheckpointAheadError(ConsumerError):
    """A consumer's checkpoint lies beyond the head: the log is an older copy than what the consumer has seen."""

    def __init__(self, name: str, checkpoint: int, head: int) -> None:
        self.checkpoint = checkpoint
        self.head = head
        super().__init__(
            name,
            f"has its checkpoint at {checkpoint}, but the log ends at {head}: restore the newer log, or accept the loss"
            f' with seek({name!r}, start="latest")',
        )


class ConsumerStoppedError(ConsumerError):
    """A consumer hands out nothing more: an event has failed too often and it may not go on without it.

    `sequence` is the event's; `reason` says what went wrong. Once the cause is mended, consume(…) goes on with it.
    """

    def __init__(self, name: str, sequence: int, reason: str) -> None:
        self.sequence = sequence
        super().__init__(name, f"has stopped at event {sequence}: {reason}")
        self.reason = reason


class ConsumerClosedError(ConsumerError):
    """A consumer was closed, and what waited for it will not come."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "is closed; consume(…) makes it active again")


class UnknownAckError(ConsumerError):
    """An outcome was given for an event that is not in flight: it had one before, or its time was over."""

    def __init__(self, name: str, sequence: int) -> None:
        self.sequence = sequence
        super().__init__(
            name, f"has event {sequence} not in flight: a delivery has one outcome, given before its timeout"
        )


class StaleAckError(ConsumerError):
    """An outcome came from before a `seek`, or from an earlier holder of the name, and does not count.

    `epoch` is from when it came, `current` the consumer's by now. Where it ends a consumer, whose name another holder
    has taken over, it is about no event in particular: `sequence` and `current` are None.
    """

    def __init__(self, name: str, sequence: int | None, epoch: int, current: int | None) -> None:
        self.sequence = sequence
        self.epoch = epoch
        self.current = current
        super().__init__(
            name,
            f"was taken over by another holder of its name since epoch {epoch}: what it did not store comes again there"
            if sequence is None
            else f"is at epoch {current} by now, and event {sequence} was handed out at epoch {epoch}, before a seek or"
            " by an earlier holder of the name: this outcome does not count",
        )


class HandlerTimeoutError(ConsumerError, TimeoutError):
    """A delivery had no outcome within its consumer's `timeout`, in seconds; it counts as an attempt that failed."""

    def __init__(self, name: str, sequence: int, timeout: float) -> None:
        self.sequence = sequence
        self.timeout = timeout
        super().__init__(
            name,
            f"took longer than {timeout} s over event {sequence}; raise timeout, or call in_progress() now and then",
        )


class EffectsError(ConsumerError):
    """A consumer's effect and what its database knows of it cannot be, or were not, committed as one; or it is away.

    No attempt mends it: something is to be done, which the message says.
    """


class Reject(Exception):  # noqa: N818  # it is no error: a handler says with it what is to become of the event
    """Raised by a consumer's handler: this event will never work, park it at once.

    Args:
        reason: kept with the dead letter, as text.
    """

    def __init__(self, reason: object = "rejected") -> None:
        self.reason = str(reason)
        super().__init__(reason)
