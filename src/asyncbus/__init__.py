"""asyncbus: the asyncio event bus that remembers.

Publish/subscribe over an embedded, durable, totally ordered event log::

    async with asyncbus.connect("events.db") as bus:
        @bus.on("optimization.*")
        async def show(event: asyncbus.Event) -> None:
            print(event.sequence, event.type, event.data)

        await bus.publish("optimization.stage_completed", {"stage": "licm", "ms": 12})
"""

from asyncbus.bus import EventBus
from asyncbus.catalog import Catalog, catalog, event, upcast
from asyncbus.clock import Clock
from asyncbus.connect import connect
from asyncbus.consumer import Consumer
from asyncbus.dead_letters import Attempt, DeadLetter, RetriedLetters
from asyncbus.delivery import Delivery
from asyncbus.effects import Effects, PostgresEffects, SQLiteEffects
from asyncbus.errors import (
    AsyncBusError,
    BatchTooLargeError,
    BrokenUpcastsError,
    BusClosedError,
    CheckpointAheadError,
    ConcurrencyError,
    ConsumerClosedError,
    ConsumerError,
    ConsumerInUseError,
    ConsumerPatternError,
    ConsumerStoppedError,
    DrainTimeoutError,
    EffectsError,
    EventDefinitionError,
    EventIdConflictError,
    EventsLostError,
    ForkedProcessError,
    HandlerTimeoutError,
    InboxFullError,
    InvalidHandlerError,
    InvalidOptionError,
    InvalidPatternError,
    InvalidTypeError,
    NewerVersionError,
    NotAnEventStoreError,
    PayloadError,
    PayloadTooLargeError,
    PublishOutcomeUnknownError,
    Reject,
    SchemaTooNewError,
    SchemaTooOldError,
    SequenceExhaustedError,
    StaleAckError,
    StartBeyondHeadError,
    StoreCorruptError,
    StoreError,
    StoreFailedError,
    StoreFullError,
    StoreIsDirectoryError,
    StoreLockedError,
    StoreNotFoundError,
    StoreReadOnlyError,
    StoreTruncatedError,
    SubscriptionBusyError,
    SubscriptionError,
    SubscriptionOverflowError,
    UnknownAckError,
    UnknownConsumerError,
    UnsupportedFeatureError,
    UnsupportedFilesystemError,
    WouldDeadlockError,
    WrongEventLoopError,
    WrongThreadError,
)
from asyncbus.events import Event, NewEvent, Receipt, Record
from asyncbus.filters import EventFilter
from asyncbus.lineage import Lineage
from asyncbus.patterns import Pattern
from asyncbus.policies import Retry
from asyncbus.receipts import PendingReceipt
from asyncbus.shapes import Shape
from asyncbus.statistics import BusStatistics, ConsumerStatistics, DrainReport, Health, SubscriptionStatistics
from asyncbus.store.base import Appended, BackupStore, Bounds, EventStore, Features, KeyedStore, MeasuredStore, Page
from asyncbus.store.consumers import (
    ConsumerState,
    ConsumerStore,
    Failure,
    Forgotten,
    Owed,
    ParkedEvent,
    ParkedFilter,
    Released,
)
from asyncbus.store.inspection import Finding
from asyncbus.store.memory import MemoryStore
from asyncbus.store.sqlite import SQLiteStore
from asyncbus.store.verification import Verification
from asyncbus.subscription import Subscription
from asyncbus.verify import verify

__all__ = [
    "Appended",
    "AsyncBusError",
    "Attempt",
    "BackupStore",
    "BatchTooLargeError",
    "Bounds",
    "BrokenUpcastsError",
    "BusClosedError",
    "BusStatistics",
    "Catalog",
    "CheckpointAheadError",
    "Clock",
    "ConcurrencyError",
    "Consumer",
    "ConsumerClosedError",
    "ConsumerError",
    "ConsumerInUseError",
    "ConsumerPatternError",
    "ConsumerState",
    "ConsumerStatistics",
    "ConsumerStoppedError",
    "ConsumerStore",
    "DeadLetter",
    "Delivery",
    "DrainReport",
    "DrainTimeoutError",
    "Effects",
    "EffectsError",
    "Event",
    "EventBus",
    "EventDefinitionError",
    "EventFilter",
    "EventIdConflictError",
    "EventStore",
    "EventsLostError",
    "Failure",
    "Features",
    "Finding",
    "Forgotten",
    "ForkedProcessError",
    "HandlerTimeoutError",
    "Health",
    "InboxFullError",
    "InvalidHandlerError",
    "InvalidOptionError",
    "InvalidPatternError",
    "InvalidTypeError",
    "KeyedStore",
    "Lineage",
    "MeasuredStore",
    "MemoryStore",
    "NewEvent",
    "NewerVersionError",
    "NotAnEventStoreError",
    "Owed",
    "Page",
    "ParkedEvent",
    "ParkedFilter",
    "Pattern",
    "PayloadError",
    "PayloadTooLargeError",
    "PendingReceipt",
    "PostgresEffects",
    "PublishOutcomeUnknownError",
    "Receipt",
    "Record",
    "Reject",
    "Released",
    "RetriedLetters",
    "Retry",
    "SQLiteEffects",
    "SQLiteStore",
    "SchemaTooNewError",
    "SchemaTooOldError",
    "SequenceExhaustedError",
    "Shape",
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
    "Subscription",
    "SubscriptionBusyError",
    "SubscriptionError",
    "SubscriptionOverflowError",
    "SubscriptionStatistics",
    "UnknownAckError",
    "UnknownConsumerError",
    "UnsupportedFeatureError",
    "UnsupportedFilesystemError",
    "Verification",
    "WouldDeadlockError",
    "WrongEventLoopError",
    "WrongThreadError",
    "catalog",
    "connect",
    "event",
    "upcast",
    "verify",
]
