"""The event bus: puts the parts together and owns their lifetimes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from anyio import CancelScope, move_on_after

from asyncbus.clock import Clock, SystemClock
from asyncbus.encoder import Encoder
from asyncbus.errors import (
    AsyncBusError,
    BusClosedError,
    DrainTimeoutError,
    ForkedProcessError,
    StoreFailedError,
    StoreReadOnlyError,
)
from asyncbus.events import Event
from asyncbus.fanout import Fanout
from asyncbus.forks import watch
from asyncbus.handlers import Handler
from asyncbus.history import History, ask
from asyncbus.inbox import Inbox
from asyncbus.options import check_count, check_seconds
from asyncbus.publishing import Publishing
from asyncbus.reading import CLOSED, NOT_OPEN
from asyncbus.statistics import BusStatistics, Health
from asyncbus.store.base import Bounds, EventStore, MeasuredStore, check_store
from asyncbus.store.memory import MemoryStore
from asyncbus.subscribing import Subscribing
from asyncbus.subscription import Subscription
from asyncbus.tail import Tail
from asyncbus.writer import Writer

log = logging.getLogger("asyncbus")

H = TypeVar("H", bound=Handler)


MAX_PAYLOAD: Final = 32 * 2**20
"""What stores must be able to keep, and to read back, as one event."""

_GRACE: Final = 1.0
"""Seconds that cancelled handlers get to clean up."""


class EventBus(Publishing, Subscribing):
    """A publish/subscribe bus over a durable, totally ordered event log.

    It is an async context manager: entering opens the store, leaving closes all in the order of the flow. It is opened
    once, and belongs to the event loop it was opened on.

    Args:
        store: where events are kept; None: a `MemoryStore`.
        inbox_capacity: events that may wait to be written; publishers wait for room.
        inbox_bytes: what their payloads may take together; as much is kept for readers that fall behind.
        recent_capacity: events kept in memory for readers that fall behind; never less than `inbox_capacity`.
        max_payload: bytes an event's encoded data may have, and its metadata; at most 32 MiB.
        close_timeout: seconds that closing may take.
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
        self._encoder = Encoder(max_payload, self._clock.now)
        self._inbox = Inbox(check_count("inbox_capacity", inbox_capacity), inbox_bytes, self._barred)
        recent_capacity = max(check_count("recent_capacity", recent_capacity), inbox_capacity)
        self._close_timeout = check_seconds("close_timeout", close_timeout)
        self._history = History(self._store, recent_capacity, inbox_bytes)
        self._fanout = Fanout(self._history)
        self._writer = Writer(
            self._store,
            self._inbox,
            self._clock,
            on_committed=self._fanout.dispatch,
            until_readers_allow=self._until_readers_allow,
        )
        self._order = itertools.count()
        self._subscriptions: dict[Subscription, Handler | None] = {}
        self._handling: dict[asyncio.Task[None], Subscription] = {}
        self._thread = None
        self._unpublishable = BusClosedError(NOT_OPEN)
        self._is_opening = False
        self._is_open = False
        self._waiting_for: set[asyncio.Task[Event]] = set()
        self._feeding: asyncio.Task[None] | None = None
        self._undoing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closing_store: asyncio.Task[None] | None = None
        # Tasks that wait for the close, which therefore waits for none of them; and who reads while it goes on.
        self._closers: set[asyncio.Task[Any] | None] = set()
        self._closing_readers: tuple[Subscription, ...] = ()
        self._failure: AsyncBusError | None = None

    # ---------------------------------------------------------------------------------------------------- lifetime

    async def __aenter__(self) -> Self:
        """Open the store, and start the handlers registered so far.

        Raises:
            BusClosedError: it was opened before; make a new bus.
            StoreError: the store cannot be opened.
        """
        if self._is_opening or self._closing is not None:
            raise BusClosedError("a bus is opened once; make a new one with the same store")
        self._is_opening = True
        self._inbox.start(self._store.features.batch_limit)
        self._fanout.loop = self._inbox.loop
        try:
            bounds = await self._open_store()
        except BaseException:
            self._is_opening = False
            raise
        if self._closing is not None:
            await self._store.close()
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
        return self

    async def _open_store(self) -> Bounds:
        opening = asyncio.create_task(self._store.open(), name="asyncbus open")
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A store cannot be opened by half: what is being made or locked on a thread goes on, and is then undone,
            # whether or not this task is cancelled once more.
            self._undoing = asyncio.create_task(self._undo(opening), name="asyncbus undo")
            await asyncio.shield(self._undoing)
            raise

    async def _undo(self, opening: asyncio.Task[Bounds]) -> None:
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            await self._store.close()

    def _stopped_feeding(self, feeding: asyncio.Task[None]) -> None:
        """The source of the fan-out has ended; where nobody asked it to, nobody may wait for it any more."""
        if self._closing is not None:
            self._inbox.abandon("the bus was closed before the store answered")
            return
        if self._forked is not None:
            return  # whoever ends the copies of its tasks means no failure
        error = asyncio.CancelledError("its task was cancelled") if feeding.cancelled() else feeding.exception()
        reason = f"the bus has failed: {error!r}; close it and open a new one"
        self._failure = error if isinstance(error, AsyncBusError) else StoreFailedError(reason)
        self._thread = None
        self._unpublishable = self._unpublishable or BusClosedError(reason)
        self._inbox.abandon(reason)
        for subscription in tuple(self._subscriptions):
            subscription.end(self._failure)
        log.error("%s", reason, exc_info=error)

    def _become_forked(self) -> None:
        """In a forked child nobody serves this bus: say so instead of waiting for ever."""
        self._failure = ForkedProcessError()
        self._thread = None
        self._unpublishable = self._failure
        self._is_open = False
        self._inbox.forked(str(self._failure))
        for subscription in tuple(self._subscriptions):
            subscription.end(self._failure)

    async def _until_readers_allow(self) -> None:
        """The writer's gate: closed while a reader with `when_full="block"` has a full queue."""
        while self._fanout.blockers:
            if self._closing is not None:
                self._end_unread_blockers()
            self._inbox.fail_barred()
            if self._fanout.blockers:
                await self._fanout.change_of_blockers()

    def _barred(self) -> set[asyncio.Task[Any] | None]:
        """The tasks for which the writer waits at its gate."""
        return {blocker.reader for blocker in self._fanout.blockers} - {None}

    def _end_unread_blockers(self) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription in self._fanout.blockers and not subscription.is_read_beside(self._closers):
                subscription.end()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await self._close(deliver=kind is None)

    async def close(self) -> None:
        """Commit what the inbox holds, let live subscriptions finish their queues, and release the store.

        It refuses publishers at once, and those that still wait for room get `BusClosedError`. Readers that are
        catching up stop where they are. What takes longer than `close_timeout` is cancelled and logged. It may be
        called twice, and from a handler, which it then does not wait for. Cancelling the caller does not stop it.
        In a forked child it does nothing: all there is to close is the parent's.

        Raises:
            WrongEventLoopError: the bus was opened on another loop.
        """
        await self._close(deliver=True)

    async def _close(self, *, deliver: bool) -> None:
        if self._forked is not None:
            return  # all there is to close is the parent's
        if self._is_open:
            self._inbox.check_loop()
        closer = asyncio.current_task()
        self._closers.add(closer)
        for subscription in self._closing_readers:
            if subscription.reader is closer:
                subscription.excuse()
        if self._closing is None:
            self._thread = None
            self._unpublishable = BusClosedError(CLOSED)
            if not deliver:
                self._end_subscriptions()
            self._closing = asyncio.create_task(self._close_in_order(), name="asyncbus close")
        await asyncio.shield(self._closing)

    async def _close_in_order(self) -> None:
        ends = asyncio.get_running_loop().time() + self._close_timeout
        try:
            await self._finish_within_limit()
        finally:
            # Also where this task is cancelled, as all are when a loop is shut down: the file must not stay locked.
            self._end_subscriptions()
            try:
                await self._cancel()
            finally:
                self._closing_readers = ()
                self._is_open = False
                await self._close_store(ends)

    async def _finish_within_limit(self) -> None:
        readers = self._closing_readers = tuple(self._subscriptions)
        # A blocking subscription that nobody reads would hold up the writer, and with it the close.
        self._end_unread_blockers()
        with move_on_after(self._close_timeout) as limit:
            self._inbox.close(CLOSED)
            await self._stop_feeding()
            for reader in readers:
                reader.finish()
            await asyncio.gather(*(reader.finished() for reader in readers if reader.is_read_beside(self._closers)))
        if limit.cancelled_caught:
            unfinished = [f"{reader.name} ({reader.unfinished} events)" for reader in readers if reader.unfinished]
            log.warning(
                "close_timeout of %s s is over; not finished: %s",
                self._close_timeout,
                ", ".join(unfinished) or "the store",
            )

    def _end_subscriptions(self) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.end()

    async def _stop_feeding(self) -> None:
        if self._feeding is not None:
            if self._store.features.read_only:
                self._feeding.cancel()
            await asyncio.wait([self._feeding])

    async def _cancel(self) -> None:
        """End what did not end by itself; a handler that swallows its cancellation is left behind, by name."""
        if self._feeding is not None:  # no subscription holds the writer up any more
            await asyncio.wait([self._feeding], timeout=_GRACE)
        if self._waiting_for:  # their subscriptions have ended
            await asyncio.wait(self._waiting_for, timeout=_GRACE)
        tasks = [task for task in (*self._handling, self._feeding) if task and not task.done()]
        tasks = [task for task in tasks if task not in self._closers]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=_GRACE)
            for task in stubborn:
                log.error("%s ignored its cancellation and is still running", task.get_name())

    async def _close_store(self, ends: float) -> None:
        """Release the store; what hangs there longer than closing may take, by the loop's clock, is left behind."""
        closing = self._closing_store = asyncio.create_task(self._store.close(), name="asyncbus close store")
        remaining = ends - asyncio.get_running_loop().time()
        await asyncio.wait([closing], timeout=max(remaining, _GRACE))
        if closing.done():
            closing.result()
        else:
            log.error("the store has not closed within close_timeout, and is left behind: it may still hold its file")

    # ----------------------------------------------------------------------------------------------- administering

    async def drain(self, timeout: float | None = None) -> None:
        """Wait until all that was accepted is stored, and all that is stored is handled.

        It waits for handlers, also those that are catching up; iterating subscriptions read at their own pace. Called
        by a handler, it does not wait for that one.

        Args:
            timeout: seconds to wait at most; None: no limit.

        Raises:
            DrainTimeoutError: it names the handlers that had not finished.
            And what `flush` raises.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
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
                    unfinished[subscription.name] = unfinished.get(subscription.name, 0) + subscription.backlog
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

    async def _clear(self) -> None:
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

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # The function is kept as a default: at the end of the interpreter the module may have lost its names.
        if getattr(self, "_is_open", False):  # not set where __init__ has refused an option
            _warn(f"{self!r} was never closed; use `async with` or await its close()", ResourceWarning, source=self)

    def __repr__(self) -> str:
        state = self.health().status
        return f"<EventBus {state} head={self._history.head} subscriptions={len(self._subscriptions)}>"
