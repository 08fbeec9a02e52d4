"""What users hold of a subscription: iterate it, look at it, close it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Generic, Self

from asyncbus.errors import SubscriptionBusyError
from asyncbus.events import D, Event
from asyncbus.receiving import Receiving
from asyncbus.statistics import SubscriptionStatistics


class Subscription(Receiving, Generic[D]):
    """A reader of the events of one pattern, forgotten when it is closed.

    Iterate it (`async for event in subscription`), or let the bus run a handler over it. Use it as an async context
    manager: leaving releases it at once, also by `break`. Made by `EventBus.subscribe`, which documents the options.

    Each matching event comes exactly once, in ascending sequence. Cancelling a task that waits for an event loses none.
    """

    def __aiter__(self) -> Self:
        self._know_reader()
        return self

    async def __anext__(self) -> Event[D]:
        """The next event, waiting for it if need be.

        Raises:
            StopAsyncIteration: the subscription or the bus was closed.
            EventsLostError: what it was owed was removed.
            SubscriptionOverflowError: with `when_full="fail"`, after what the queue held.
            SubscriptionBusyError: another task, or a handler, reads it.
            BusClosedError: the bus is not open yet.
            WrongEventLoopError, ForkedProcessError: it is another loop's, or the parent process's.
            StartBeyondHeadError: where finding out needed the store.
            Exception: what `where` raised; that event is passed over.
            StoreCorruptError, StoreFailedError: the past could not be read.
        """
        if self._handled:
            raise SubscriptionBusyError(f"{self.name} has a handler; subscribe without one to iterate")
        if self.reader is None:
            self._know_reader()
        while True:
            try:
                event = self.next_nowait()
            except Exception:
                self.errors += 1
                raise
            if event is not None:
                return event
            if not await self.ready():
                raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it at once: what its queue holds is not delivered any more.

        With a handler it waits until the event being handled is done, unless the handler itself calls it. So two
        handlers that close each other's subscription wait for each other, until the bus is closed and its
        `close_timeout` is over. It may be called twice. Cancelling it does not undo it.
        """
        self.end()
        if self._handled and self.reader is not None and self.reader is not asyncio.current_task():
            await asyncio.wait([self.reader])

    def statistics(self) -> SubscriptionStatistics:
        """What it has done so far."""
        return SubscriptionStatistics(
            name=self.name,
            pattern=str(self.pattern),
            phase=self.phase,
            position=self.position,
            backlog=self.backlog,
            queued=len(self._queue),
            delivered=self.delivered,
            dropped=self.dropped,
            overflows=self.overflows,
            errors=self.errors,
            handler_time=self.handler_time,
            error=self.error,
        )

    def __repr__(self) -> str:
        state = self.phase if self._open else "closed"
        return f"<Subscription {self.name!r} {state} position={self.position} backlog={self.backlog}>"
