"""asyncbus: the asyncio event bus that remembers.

Publish/subscribe over an embedded, durable, totally ordered event log::

    async with asyncbus.connect("events.db") as bus:
        @bus.on("optimization.*")
        async def show(event: asyncbus.Event) -> None:
            print(event.sequence, event.type, event.data)

        await bus.publish("optimization.stage_completed", {"stage": "licm", "ms": 12})
"""

from asyncbus.bus import EventBus
from asyncbus.clock import Clock
from asyncbus.connect import connect
from asyncbus.errors import (
    AsyncBusError,
    BatchTooLargeError,
    BusClosedError,
    DrainTimeoutError,
    EventIdConflictError,
    EventsLostError,
    ForkedProcessError,
    InboxFullError,
    InvalidHandlerError,
    InvalidOptionError,
    InvalidPatternError,
    InvalidTypeError,
    NotAnEventStoreError,
    PayloadError,
    PayloadTooLargeError,
    PublishOutcomeUnknownError,
    SchemaTooNewError,
    SequenceExhaustedError,
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
    UnsupportedFeatureError,
    UnsupportedFilesystemError,
    WouldDeadlockError,
    WrongEventLoopError,
    WrongThreadError,
)
from asyncbus.events import Event, NewEvent, Receipt, Record
from asyncbus.filters import EventFilter
from asyncbus.patterns import Pattern
from asyncbus.receipts import PendingReceipt
from asyncbus.statistics import BusStatistics, Health, SubscriptionStatistics
from asyncbus.store.base import Appended, BackupStore, Bounds, EventStore, Features, MeasuredStore, Page
from asyncbus.store.inspection import Finding
from asyncbus.store.memory import MemoryStore
from asyncbus.store.sqlite import SQLiteStore
from asyncbus.store.verification import Verification
from asyncbus.subscription import Subscription
from asyncbus.verify import verify

__all__ = [
    "Appended",
    "AsyncBusError",
    "BackupStore",
    "BatchTooLargeError",
    "Bounds",
    "BusClosedError",
    "BusStatistics",
    "Clock",
    "DrainTimeoutError",
    "Event",
    "EventBus",
    "EventFilter",
    "EventIdConflictError",
    "EventStore",
    "EventsLostError",
    "Features",
    "Finding",
    "ForkedProcessError",
    "Health",
    "InboxFullError",
    "InvalidHandlerError",
    "InvalidOptionError",
    "InvalidPatternError",
    "InvalidTypeError",
    "MeasuredStore",
    "MemoryStore",
    "NewEvent",
    "NotAnEventStoreError",
    "Page",
    "Pattern",
    "PayloadError",
    "PayloadTooLargeError",
    "PendingReceipt",
    "PublishOutcomeUnknownError",
    "Receipt",
    "Record",
    "SQLiteStore",
    "SchemaTooNewError",
    "SequenceExhaustedError",
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
    "UnsupportedFeatureError",
    "UnsupportedFilesystemError",
    "Verification",
    "WouldDeadlockError",
    "WrongEventLoopError",
    "WrongThreadError",
    "connect",
    "verify",
]
