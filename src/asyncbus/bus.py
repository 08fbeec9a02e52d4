"""The event bus: puts the parts together and owns their lifetimes."""

from __future__ import annotations

import asyncio
import itertools
import threading
from html import escape
from typing import Any, Final, Self

from asyncbus.catalog import CATALOG
from asyncbus.clock import Clock, SystemClock
from asyncbus.closing import Closing
from asyncbus.encoder import Encoder
from asyncbus.errors import (
    BusClosedError,
    DrainTimeoutError,
    StoreFailedError,
    StoreReadOnlyError,
    UnsupportedFeatureError,
)
from asyncbus.events import Event
from asyncbus.fanout import Fanout
from asyncbus.forks import watch
from asyncbus.handlers import Handler
from asyncbus.history import History, ask
from asyncbus.inbox import Inbox
from asyncbus.options import check_count, check_seconds
from asyncbus.reading import CLOSED, NOT_OPEN
from asyncbus.registry import Registry
from asyncbus.saving import Saving
from asyncbus.shielded import Shielded
from asyncbus.statistics import BusStatistics, DrainReport, Health
from asyncbus.store.base import Bounds, EventStore, KeyedStore, MeasuredStore, check_store
from asyncbus.store.consumers import Change, ConsumerStore
from asyncbus.store.memory import MemoryStore
from asyncbus.subscription import Subscription
from asyncbus.tail import Tail
from asyncbus.writer import Writer

MAX_PAYLOAD: Final = 32 * 2**20
"""What stores must be able to keep, and to read back, as one event."""


class EventBus(Closing):
    """A publish/subscribe bus over a durable, totally ordered event log.

    It is an async context manager: entering opens the store, leaving closes all in the order of the flow. It is opened
    once, and belongs to the event loop it was opened on.

    Args:
        store: where events are kept; None: a `MemoryStore`.
        inbox_capacity: events that may wait to be written; publishers wait for room.
        inbox_bytes: what their payloads and metadata may take; as much is kept for readers that fall behind.
        recent_capacity: events kept in memory for readers that fall behind; never less than `inbox_capacity`.
        max_payload: bytes an event's encoded data may have, and its metadata; at most 32 MiB.
        close_timeout: seconds after which closing cancels what is not done, which then has some seconds more to end.
        clock: the time, for tests.

    Raises:
        InvalidOptionError: an option out of its range.
    """

    def __init__(
        self,
        store: EventStore | None = None,
        *,
        inbox_capacity: int = 8192,
        inbox_bytes: int = 64 * 2**20,
        recent_capacity: int = 8192,
        max_payload: int = 2**20,
        close_timeout: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        check_count("max_payload", max_payload, most=MAX_PAYLOAD)
        check_count("inbox_bytes", inbox_bytes, max_payload)
        self._store = MemoryStore() if store is None else check_store(store)
        self._clock = SystemClock() if clock is None else clock
        self._inbox = Inbox(check_count("inbox_capacity", inbox_capacity), inbox_bytes, self._barred)
        recent_capacity = max(check_count("recent_capacity", recent_capacity), inbox_capacity)
        self._close_timeout = check_seconds("close_timeout", close_timeout)
        self._history = History(self._store, recent_capacity, inbox_bytes)
        self._encoder = Encoder(max_payload, self._clock.now, self._history.being_handled, self._expect)
        self._fanout = Fanout(self._history)
        self._consumers = None
        self._saving = Saving(self._inbox.call, self._note)
        if self._store.features.consumers and isinstance(self._store, ConsumerStore):
            self._consumers = Registry(self._store, self._saving, self._history)
        self._writer = Writer(
            self._store,
            self._inbox,
            self._clock,
            on_committed=self._fanout.dispatch,
            until_readers_allow=self._until_readers_allow,
            saving=None if self._consumers is None else self._saving,
        )
        self._order = itertools.count()
        self._subscriptions: dict[Subscription, Handler | None] = {}
        self._handling: dict[asyncio.Task[None], Subscription] = {}
        self._thread = None
        self._unpublishable = BusClosedError(NOT_OPEN)
        self._was_entered = False
        self._is_open = False
        self._waiting_for: set[asyncio.Task[Event]] = set()
        self._feeding = None
        self._undoing: Shielded | None = None
        self._closing = None
        self._closing_store = None
        self._closers = set()
        self._closing_readers = ()
        self._failure = None

    # ---------------------------------------------------------------------------------------------------- lifetime

    async def __aenter__(self) -> Self:
        """As `open`."""
        return await self.open()

    async def open(self) -> Self:
        """Open the store, and start the handlers registered so far; `close` undoes it.

        `async with` does both. Where opening and closing stand apart, as in two cells of a notebook, call them.

        Raises:
            BusClosedError: it was opened before; make a new bus.
            BrokenUpcastsError: the upcasts of an event type do not lead to its newest class.
            StoreError: the store cannot be opened.
        """
        if self._was_entered or self._closing is not None:
            raise BusClosedError("a bus is opened once; make a new one with the same store")
        CATALOG.check()
        self._was_entered = True
        self._inbox.start(self._store.features.batch_limit)
        self._fanout.loop = self._inbox.loop
        try:
            bounds = await self._open_store()
        except BaseException:
            self._was_entered = False
            raise
        if self._closing is not None:
            self._undoing = Shielded(self._store.close, "asyncbus undo")
            await self._undoing.finished()
            raise BusClosedError(CLOSED)
        self._history.begin(bounds)
        self._is_open = True
        watch(self, EventBus._become_forked)
        if self._store.features.read_only:
            self._unpublishable = StoreReadOnlyError("this bus was opened with read_only=True; it cannot publish")
            feed = Tail(self._store, self._history, on_committed=self._fanout.dispatch, on_lost=self._fall_back).run()
        else:
            self._unpublishable = None
            self._thread = self._inbox.thread
            feed = self._writer.run(bounds.recorded_at)
        self._feeding = asyncio.create_task(feed, name="asyncbus writer")
        self._feeding.add_done_callback(self._stopped_feeding)
        for subscription, handler in tuple(self._subscriptions.items()):
            self._attach_registered(subscription, handler)
        if self._consumers is not None:
            for consumer in self._consumers.active:
                consumer.start()
        return self

    async def _open_store(self) -> Bounds:
        opening = asyncio.create_task(self._store.open(), name="asyncbus open")
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A store cannot be opened by half: what is being made or locked on a thread goes on, and is then undone,
            # whether or not this task is cancelled once more.
            self._undoing = Shielded(lambda: self._undo(opening), "asyncbus undo")
            await self._undoing.finished()
            raise

    async def _undo(self, opening: asyncio.Task[Bounds]) -> None:
        try:
            await asyncio.wait([opening])
        finally:
            # Also where this task is cancelled, as all are when a loop is shut down. It is asked first, for waiting
            # gives others a turn even where there is nothing to wait for, and they may cancel it once more.
            if not opening.done():
                await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                await self._store.close()

    async def _until_readers_allow(self) -> None:
        """The writer's gate: closed while a reader with `when_full="block"` has a full queue."""
        while self._fanout.blockers:
            if self._closing is not None:
                self._end_unread_blockers()
            self._inbox.fail_barred()
            if self._fanout.blockers:
                await self._fanout.change_of_blockers()

    def _expect(self) -> None:
        """An event that is about to be published expects another one to be the last with its key."""
        if not (self._store.features.keyed and isinstance(self._store, KeyedStore)):
            raise UnsupportedFeatureError("expected_sequence", self._store)
        self._writer.is_expecting = True

    def _barred(self) -> set[asyncio.Task[Any] | None]:
        """The tasks for which the writer waits at its gate."""
        return {blocker.reader for blocker in self._fanout.blockers} - {None}

    # ----------------------------------------------------------------------------------------------- administering

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Wait until all that was accepted is stored, and all that is stored is handled; end the durable consumers.

        It waits for handlers, also those that are catching up; iterating subscriptions read at their own pace. Called
        by a handler, it does not wait for that one. Durable consumers hand out nothing more from the call on: what is
        in flight is done or, when the time is over, given back, and their checkpoints are stored. What they have not
        been given comes when their names are consumed again.

        Args:
            timeout: seconds to wait at most; None: no limit.

        Returns:
            What the consumers have given back.

        Raises:
            DrainTimeoutError: it names the handlers of subscriptions that had not finished.
            And what `flush` raises.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        if self._consumers is None or not self._consumers.active:
            await self._drain_subscriptions(timeout)
            return DrainReport()
        ending = asyncio.create_task(
            self._end_consumers(timeout, {asyncio.current_task()}, outcomes=True), name="asyncbus end consumers"
        )
        try:
            try:
                await self._drain_subscriptions(timeout)
            finally:
                unfinished = await ending
        finally:
            ending.cancel()  # they end by themselves, whoever waits for it
        return DrainReport(unfinished)

    async def _drain_subscriptions(self, timeout: float | None) -> None:
        caller = asyncio.current_task()
        handled = [subscription for task, subscription in self._handling.items() if task is not caller]
        finished: set[Subscription] = set()

        async def finish(subscription: Subscription, head: int) -> None:
            await subscription.passed(head)
            finished.add(subscription)

        try:
            async with asyncio.timeout(timeout):
                if not self._store.features.read_only:
                    await self.flush()
                head = self._readable().head
                await asyncio.gather(*(finish(subscription, head) for subscription in handled))
        except TimeoutError:
            unfinished: dict[str, int] = {}
            for subscription in handled:
                if subscription not in finished:
                    owed = subscription.backlog + subscription.is_handling
                    unfinished[subscription.name] = unfinished.get(subscription.name, 0) + owed
            raise DrainTimeoutError(unfinished) from None

    async def clear(self) -> None:
        """Remove all events, after all that was accepted before the call is stored.

        Sequences go on where they were. Subscriptions that had read everything go on at the next event; a reader that
        was owed some of what is removed gets `EventsLostError`. Cancelled before the writer has begun, nothing is
        removed.

        Raises:
            BusClosedError, WrongEventLoopError, StoreReadOnlyError, StoreError
            WouldDeadlockError: called by a handler whose own full queue the writer waits for.
        """
        if self._thread != threading.get_ident():
            self._refuse()
        await self._inbox.command(self._clear)

    def _note(self, change: Change) -> None:
        if self._consumers is not None:
            self._consumers.note(change)

    async def _clear(self) -> None:
        if self._consumers is not None:
            await self._consumers.save_all()
        await ask(self._store.clear())
        self._history.clear(self._history.head)

    def statistics(self) -> BusStatistics:
        """What the bus and its subscriptions have done so far; zeros before it is opened."""
        inbox, writer = self._inbox, self._writer
        ranked = sorted(self._subscriptions, key=lambda subscription: subscription.rank)
        return BusStatistics(
            published=inbox.taken + inbox.depth + inbox.withdrawn,
            stored=writer.stored,
            duplicates=writer.duplicates,
            failed=writer.failed,
            failed_unawaited=writer.failed_unawaited,
            withdrawn=inbox.withdrawn,
            batches=writer.batches,
            inbox_depth=inbox.depth,
            inbox_bytes=inbox.size,
            inbox_high_water=max(inbox.high_water, inbox.depth),
            waiting_publishers=inbox.waiting,
            commit_time=writer.commit_time,
            last_commit_time=writer.last_commit_time,
            slowest_commit_time=writer.slowest_commit_time,
            head=self._history.head,
            blocked_by=tuple(blocker.name for blocker in self._fanout.blockers),
            subscriptions=tuple(subscription.statistics() for subscription in ranked),
            consumers=tuple(consumer.statistics() for consumer in (self._consumers.active if self._consumers else ())),
            store=self._store.statistics() if self._is_open and isinstance(self._store, MeasuredStore) else {},
        )

    def health(self) -> Health:
        """Whether it can store and deliver, and if not, why."""
        if self._failure is not None:
            return Health(status="failed", reason=self._failure)
        if not self._is_open or self._closing is not None:
            return Health(status="closed")
        error = self._writer.error
        if error is None:
            return Health(status="ok")
        return Health(status="failed" if isinstance(error, StoreFailedError) else "degraded", reason=error)

    def _repr_html_(self) -> str:
        return f"<p><code>{escape(repr(self))}</code></p>{self.statistics()._repr_html_()}"  # notebooks' name

    def __repr__(self) -> str:
        state = self.health().status
        return f"<EventBus {state} head={self._history.head} subscriptions={len(self._subscriptions)}>"
