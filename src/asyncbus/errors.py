"""Every exception asyncbus raises, in one tree.

::

    AsyncBusError
    ├── InvalidTypeError, InvalidPatternError       a name outside the grammar           (ValueError)
    ├── InvalidOptionError                          an argument out of its range         (ValueError)
    ├── InvalidHandlerError                         a handler that cannot be called      (TypeError)
    ├── PayloadError                                data that cannot be encoded          (ValueError)
    │   └── PayloadTooLargeError
    ├── BusClosedError                              not open yet, or not any more
    ├── WrongEventLoopError                         a call from a thread or loop that is not the bus's
    ├── WrongThreadError                            a blocking call on the loop's own thread
    ├── ForkedProcessError                          a child of the process that opened the bus
    ├── InboxFullError, BatchTooLargeError          no room for what was published
    ├── WouldDeadlockError                          waiting for oneself
    ├── EventIdConflictError                        one id, two contents                 (not stored)
    ├── PublishOutcomeUnknownError                  stored or not: publish again with the same id
    ├── SubscriptionError
    │   ├── StartBeyondHeadError                    a start nobody has published yet
    │   ├── EventsLostError                         removed before this reader came
    │   ├── SubscriptionOverflowError               when_full="fail"
    │   └── SubscriptionBusyError                   two tasks iterate one subscription, or it has a handler
    ├── ConsumerError
    │   ├── ConsumerInUseError                      one name, two consumers
    │   ├── UnknownConsumerError                    no consumer of that name
    │   ├── ConsumerPatternError                    a known name with another pattern
    │   ├── CheckpointAheadError                    a checkpoint that lies beyond the log
    │   ├── ConsumerStoppedError                    on_exhausted="stop", or no room for its dead letters
    │   ├── ConsumerClosedError                     not active any more
    │   ├── UnknownAckError                         an outcome for what is not in flight
    │   ├── StaleAckError                           an outcome from before a seek, or from an earlier holder of the name
    │   ├── HandlerTimeoutError                     an attempt took too long             (TimeoutError)
    │   └── EffectsError                            effect and checkpoint did not commit as one
    ├── DrainTimeoutError                           handlers not finished in time        (TimeoutError)
    └── StoreError
        ├── StoreFullError                          not stored; heals by itself
        ├── StoreFailedError                        reopen the store
        ├── StoreLockedError                        another process writes this file
        ├── StoreReadOnlyError
        ├── StoreCorruptError                       a bad checksum, a damaged file
        ├── StoreTruncatedError                     acknowledged events are missing at the end
        ├── StoreNotFoundError                      no such file or folder
        ├── StoreIsDirectoryError
        ├── NotAnEventStoreError                    somebody else's file
        ├── SchemaTooNewError                       written by a newer asyncbus
        ├── UnsupportedFilesystemError              a network file system
        ├── UnsupportedFeatureError                 this kind of store cannot do that
        └── SequenceExhaustedError

`Reject` is none of them: a handler raises it, to park its event.

A publish that raises any of these, except `PublishOutcomeUnknownError`, was not stored.
"""

from __future__ import annotations

from typing import Any, Final, Self, TypeVar

_SHORT: Final = 80

_Error = TypeVar("_Error", bound="AsyncBusError")


class AsyncBusError(Exception):
    """The root of all errors of asyncbus; the facts are attributes of each."""

    def __copy__(self) -> Self:
        # One failed batch fails many publishers: each raises a copy, so that tracebacks do not pile up on one object.
        twin = _rebuild(type(self), self.args, self.__dict__)
        twin.__cause__ = self.__cause__
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[_Error], args: tuple[Any, ...], facts: dict[str, Any]) -> _Error:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class InvalidTypeError(AsyncBusError, ValueError):
    """An event type is not dot-separated tokens of `A-Z a-z 0-9 _ -`, at most 255 characters."""

    def __init__(self, found: object, reason: str) -> None:
        self.found = found
        self.reason = reason
        super().__init__(f"invalid event type {_short(found)}: {reason}")


class InvalidPatternError(AsyncBusError, ValueError):
    """A pattern is neither an exact event type nor a prefix that ends in `*`."""

    def __init__(self, found: object, reason: str) -> None:
        self.found = found
        self.reason = reason
        super().__init__(f"invalid pattern {_short(found)}: {reason}")


class InvalidOptionError(AsyncBusError, ValueError):
    """An argument is outside what it may be."""

    def __init__(self, option: str, expected: str, found: object) -> None:
        self.option = option
        self.expected = expected
        self.found = found
        super().__init__(f"{option} must be {expected}, not {_short(found)}")


class InvalidHandlerError(AsyncBusError, TypeError):
    """A handler is nothing that can be called with one event, or a generator, which would not run."""

    def __init__(self, found: object) -> None:
        self.found = found
        super().__init__(
            "a handler or predicate must be callable with one event (a consumer's handler also with an event and its"
            f" delivery), and no generator; found {_short(found)}"
        )


class PayloadError(AsyncBusError, ValueError):
    """The data of an event cannot be encoded, or what is stored cannot be decoded.

    `path` leads to the offending part, `$` being the whole: `$.stages[2].ms`.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"payload at {path}: {reason}")


class PayloadTooLargeError(PayloadError):
    """The encoded data (or metadata, says `path`) are larger than the bus's `max_payload`; both in bytes."""

    def __init__(self, size: int, limit: int, path: str = "$") -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            path, f"{size} bytes encoded, at most {limit} allowed; raise max_payload or publish a reference"
        )


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


class PublishOutcomeUnknownError(AsyncBusError):
    """Nobody knows whether the event was stored; publishing again with the same `id` is safe."""

    def __init__(self, id: str | None, reason: str) -> None:
        self.id = id
        advice = f"publish again with id={id!r}" if id is not None else "give events an id to be able to publish again"
        super().__init__(f"{reason}: the event may or may not be stored; {advice}")


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


class ConsumerError(AsyncBusError):
    """The root of what concerns durable consumers; `name` is the consumer's."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
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
        self.reason = reason
        super().__init__(name, f"has stopped at event {sequence}: {reason}")


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
        reason: kept with the dead letter.
    """

    def __init__(self, reason: str = "rejected") -> None:
        self.reason = reason
        super().__init__(reason)


class DrainTimeoutError(AsyncBusError, TimeoutError):
    """Handlers had not finished when the time was over; `unfinished` maps their names to their backlogs."""

    def __init__(self, unfinished: dict[str, int]) -> None:
        self.unfinished = unfinished
        names = ", ".join(f"{name} ({backlog} behind)" for name, backlog in unfinished.items())
        super().__init__(f"not finished in time: {names}")


class StoreError(AsyncBusError):
    """The root of what a store raises."""


class StoreFullError(StoreError):
    """No space is left; nothing of the batch was stored, reads go on, and the next publish tries again."""


class StoreFailedError(StoreError):
    """The store cannot be trusted or reached any more: close the bus and open it again.

    `outcome_unknown` is true for the error of the very commit that failed: what it held may be stored.
    """

    def __init__(self, reason: str, *, outcome_unknown: bool = False) -> None:
        self.reason = reason
        self.outcome_unknown = outcome_unknown
        super().__init__(reason)


class StoreLockedError(StoreError):
    """Another process (or another bus) writes this file; `pid` is the holder's process id, where it is known."""

    def __init__(self, path: str, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        super().__init__(
            f"{path} is being written by {f'process {pid}' if pid else 'another process'};"
            " one process writes, any number read: open it with read_only=True, or stop the other process"
        )


class StoreReadOnlyError(StoreError):
    """The store cannot be written: opened read-only, or on a read-only file system or without the rights."""


class StoreCorruptError(StoreError):
    """What the store holds is damaged; `sequence` is the first bad event, None where the damage has no event."""

    def __init__(self, reason: str, sequence: int | None = None) -> None:
        self.reason = reason
        self.sequence = sequence
        super().__init__(f"event {sequence} is corrupt: {reason}" if sequence is not None else reason)


class StoreTruncatedError(StoreError):
    """Acknowledged events are missing at the end: the watermark says `expected`, the log ends at `found`."""

    def __init__(self, path: str, expected: int, found: int, watermark: str) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        self.watermark = watermark
        super().__init__(
            f"{path} ends at event {found}, but event {expected} was acknowledged: its -wal file was lost, or an older"
            f" copy was put in its place; restore it, or delete {watermark} to accept the loss"
        )


class StoreNotFoundError(StoreError, FileNotFoundError):
    """The file to read, or the folder to write in, does not exist."""


class StoreIsDirectoryError(StoreError, IsADirectoryError):
    """The path of the store is a directory."""


class NotAnEventStoreError(StoreError):
    """The file exists and is not an asyncbus log; it was left untouched."""


class SchemaTooNewError(StoreError):
    """The file was written by a newer asyncbus; it was left untouched."""

    def __init__(self, path: str, found: int, supported: int) -> None:
        self.path = path
        self.found = found
        self.supported = supported
        super().__init__(f"{path} has schema version {found}, this asyncbus reads up to {supported}; upgrade asyncbus")


class UnsupportedFilesystemError(StoreError):
    """The log lies on a network file system, where SQLite's locks do not keep other machines out."""

    def __init__(self, path: str, filesystem: str) -> None:
        self.path = path
        self.filesystem = filesystem
        super().__init__(
            f"{path} lies on a network file system ({filesystem}), where a log can be damaged; put it on a local disk,"
            " or open it with any_filesystem=True if no other machine ever opens it"
        )


class SequenceExhaustedError(StoreError):
    """The log has used the last sequence that fits 63 bits."""


class UnsupportedFeatureError(StoreError):
    """This kind of store cannot do what it was asked for; its `features` say what it can."""

    def __init__(self, feature: str, store: object) -> None:
        self.feature = feature
        self.store = type(store).__name__
        super().__init__(f"{self.store} has no {feature}: its features do not declare it; use a store that does")


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # what is refused may refuse to be shown
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."
