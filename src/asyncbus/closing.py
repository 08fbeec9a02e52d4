"""How a bus ends: closed in the order of the flow, failed, or found in a forked child."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Collection
from functools import partial
from types import TracebackType
from typing import Any, Final

from anyio import CancelScope, move_on_after

from asyncbus.administering import Administering
from asyncbus.errors import AsyncBusError, BusClosedError, ForkedProcessError, StoreFailedError
from asyncbus.reading import CLOSED
from asyncbus.shielded import Shielded
from asyncbus.subscription import Subscription

log = logging.getLogger("asyncbus")

_GRACE: Final = 1.0
"""Seconds that each part gets after the deadline: the writer, waits for an event, what is cancelled, the store."""


class Closing(Administering):
    """What ends a bus; `EventBus` adds the rest."""

    _close_timeout: float
    # As publishers know them: they are refused from the moment on at which the bus ends.
    _thread: int | None
    _unpublishable: AsyncBusError | None
    # The task that feeds the fan-out: the writer, or the tail of a read-only bus.
    _feeding: asyncio.Task[None] | None
    _closing_store: Shielded | None
    # Tasks that have asked for the close, which therefore waits for none of them; and who reads while it goes on.
    _closers: set[asyncio.Task[Any] | None]
    _closing_readers: tuple[Subscription, ...]

    # ---------------------------------------------------------------------------------------------------- it is closed

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
            self._closing = Shielded(partial(self._close_in_order, deliver=deliver), "asyncbus close")
        await self._closing.finished()

    async def _close_in_order(self, *, deliver: bool) -> None:
        ends = asyncio.get_running_loop().time() + self._close_timeout
        try:
            timeout = self._close_timeout if deliver else 0
            with move_on_after(timeout + 3 * _GRACE):  # they cancel what is late, and store where they are
                await self._end_consumers(timeout, self._closers)
            await self._finish_within_limit(ends)
        finally:
            # Also where this task is cancelled, as all are when a loop is shut down: the file must not stay locked.
            self._end_subscriptions()
            try:
                await self._cancel()
            finally:
                self._closing_readers = ()
                self._is_open = False
                await self._close_store(ends)

    async def _end_consumers(
        self, timeout: float | None, callers: Collection[asyncio.Task[Any] | None], *, outcomes: bool = False
    ) -> dict[str, int]:
        """Consumers hand out nothing more, and store their checkpoints, for which the writer must be there."""
        return {} if self._consumers is None else await self._consumers.end(timeout, callers, outcomes=outcomes)

    async def _finish_within_limit(self, ends: float) -> None:
        readers = self._closing_readers = tuple(self._subscriptions)
        # A blocking subscription that nobody reads would hold up the writer, and with it the close.
        self._end_unread_blockers()
        with move_on_after(max(ends - asyncio.get_running_loop().time(), 0)) as limit:
            self._inbox.close(CLOSED)
            await self._stop_feeding()
            for reader in readers:
                reader.finish()
            await asyncio.gather(*(reader.finished() for reader in readers if reader.is_read_beside(self._closers)))
        if limit.cancelled_caught:
            owed = [(reader.name, reader.held + reader.is_handling) for reader in readers]
            unfinished = [f"{name} ({count} events)" for name, count in owed if count]
            log.warning(
                "close_timeout of %s s is over; not finished: %s",
                self._close_timeout,
                ", ".join(unfinished) or "the store",
            )

    def _end_unread_blockers(self) -> None:
        for subscription in tuple(self._subscriptions):
            if subscription in self._fanout.blockers and not subscription.is_read_beside(self._closers):
                subscription.end()

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
        remaining = ends - asyncio.get_running_loop().time()
        with move_on_after(max(remaining, _GRACE)) as limit:
            self._closing_store = Shielded(self._store.close, "asyncbus close store")
            await self._closing_store.finished()
        if limit.cancelled_caught:
            log.error("the store has not closed within close_timeout, and is left behind: it may still hold its file")

    # ----------------------------------------------------------------------------------------- it ends without a close

    def _stopped_feeding(self, feeding: asyncio.Task[None]) -> None:
        """The source of the fan-out has ended; where nobody asked it to, nobody may wait for it any more."""
        if self._closing is not None:
            self._inbox.abandon("the bus was closed before the store answered")
            self._saving.end(BusClosedError(CLOSED))
            return
        if self._forked is not None:
            return  # whoever ends the copies of its tasks means no failure
        error = asyncio.CancelledError("its task was cancelled") if feeding.cancelled() else feeding.exception()
        reason = f"the bus has failed: {error!r}; close it and open a new one"
        self._failure = error if isinstance(error, AsyncBusError) else StoreFailedError(reason)
        self._thread = None
        self._unpublishable = self._unpublishable or BusClosedError(reason)
        self._inbox.abandon(reason)
        self._saving.end(self._failure)
        for subscription in tuple(self._subscriptions):
            subscription.end(self._failure)
        log.error("%s", reason, exc_info=error)

    def _become_forked(self) -> None:
        """In a forked child nobody serves this bus: say so instead of waiting for ever."""
        self._failure = ForkedProcessError()
        self._thread = None
        self._unpublishable = self._failure
        self._is_open = False
        self._inbox.become_forked(str(self._failure))
        for subscription in tuple(self._subscriptions):
            subscription.end(self._failure)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # The function is kept as a default: at the end of the interpreter the module may have lost its names.
        if getattr(self, "_is_open", False):  # not set where __init__ has refused an option
            _warn(f"{self!r} was never closed; use `async with` or await its close()", ResourceWarning, source=self)
