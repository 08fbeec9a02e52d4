"""Every exception asyncbus raises, in one tree.

::

    AsyncBusError
    ├── InvalidTypeError, InvalidPatternError       a name outside the grammar           (ValueError)
    ├── InvalidOptionError                          an argument out of its range         (ValueError)
    ├── InvalidHandlerError                         a handler that cannot be called      (TypeError)
    ├── EventDefinitionError                        a class that is no event             (TypeError)
    ├── BrokenUpcastsError                          upcasts that lead nowhere
    ├── PayloadError                                data that cannot be encoded, or read (ValueError)
    │   ├── PayloadTooLargeError
    │   └── NewerVersionError                       an event newer than the program
    ├── BusClosedError                              not open yet, or not any more
    ├── WrongEventLoopError                         a call from a thread or loop that is not the bus's
    ├── WrongThreadError                            a blocking call on the loop's own thread
    ├── ForkedProcessError                          a child of the process that opened the bus
    ├── InboxFullError, BatchTooLargeError          no room for what was published
    ├── WouldDeadlockError                          waiting for oneself
    ├── EventIdConflictError                        one id, two contents                 (not stored)
    ├── ConcurrencyError                            another last event than expected     (not stored)
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
        ├── SchemaTooOldError                       made by an older one, and opened read-only
        ├── UnsupportedFilesystemError              a network file system
        ├── UnsupportedFeatureError                 this kind of store cannot do that
        └── SequenceExhaustedError

`Reject` is none of them: a handler raises it, to park its event.

A publish that raises any of these, except `PublishOutcomeUnknownError`, was not stored.
"""

from asyncbus.errors.arguments import (
    BrokenUpcastsError,
    EventDefinitionError,
    InvalidHandlerError,
    InvalidOptionError,
    InvalidPatternError,
    InvalidTypeError,
    NewerVersionError,
    PayloadError,
    PayloadTooLargeError,
)
from asyncbus.errors.base import AsyncBusError
from asyncbus.errors.bus import (
    BatchTooLargeError,
    BusClosedError,
    ConcurrencyError,
    DrainTimeoutError,
    EventIdConflictError,
    ForkedProcessError,
    InboxFullError,
    PublishOutcomeUnknownError,
    WouldDeadlockError,
    WrongEventLoopError,
    WrongThreadError,
)
from asyncbus.errors.consumers import (
    CheckpointAheadError,
    ConsumerClosedError,
    ConsumerError,
    ConsumerInUseError,
    ConsumerPatternError,
    ConsumerStoppedError,
    EffectsError,
    HandlerTimeoutError,
    Reject,
    StaleAckError,
    UnknownAckError,
    UnknownConsumerError,
)
from asyncbus.errors.stores import (
    NotAnEventStoreError,
    SchemaTooNewError,
    SchemaTooOldError,
    SequenceExhaustedError,
    StoreCorruptError,
    StoreError,
    StoreFailedError,
    StoreFullError,
    StoreIsDirectoryError,
    StoreLockedError,
    StoreNotFoundError,
    StoreReadOnlyError,
    StoreTruncatedError,
    UnsupportedFeatureError,
    UnsupportedFilesystemError,
)
from asyncbus.errors.subscriptions import (
    EventsLostError,
    StartBeyondHeadError,
    SubscriptionBusyError,
    SubscriptionError,
    SubscriptionOverflowError,
)

__all__ = [
    "AsyncBusError",
    "BatchTooLargeError",
    "BrokenUpcastsError",
    "BusClosedError",
    "CheckpointAheadError",
    "ConcurrencyError",
    "ConsumerClosedError",
    "ConsumerError",
    "ConsumerInUseError",
    "ConsumerPatternError",
    "ConsumerStoppedError",
    "DrainTimeoutError",
    "EffectsError",
    "EventDefinitionError",
    "EventIdConflictError",
    "EventsLostError",
    "ForkedProcessError",
    "HandlerTimeoutError",
    "InboxFullError",
    "InvalidHandlerError",
    "InvalidOptionError",
    "InvalidPatternError",
    "InvalidTypeError",
    "NewerVersionError",
    "NotAnEventStoreError",
    "PayloadError",
    "PayloadTooLargeError",
    "PublishOutcomeUnknownError",
    "Reject",
    "SchemaTooNewError",
    "SchemaTooOldError",
    "SequenceExhaustedError",
    "StaleAckError",
    "StartBeyondHeadError",
    "StoreCorruptError",
    "StoreError",
    "StoreFailedError",
    "StoreFullError",
    "StoreIsDirectoryError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoreReadOnlyError",
    "StoreTruncatedError",
    "SubscriptionBusyError",
    "SubscriptionError",
    "SubscriptionOverflowError",
    "UnknownAckError",
    "UnknownConsumerError",
    "UnsupportedFeatureError",
    "UnsupportedFilesystemError",
    "WouldDeadlockError",
    "WrongEventLoopError",
    "WrongThreadError",
]
