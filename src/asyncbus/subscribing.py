"""The subscribers' side of a bus."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from typing import Any, TypedDict, TypeVar, Unpack, overload

from asyncbus.conditions import Where, predicate
from asyncbus.decoding import Wanted, WhenNewer, select
from asyncbus.errors import (
    AsyncBusError,
    BusClosedError,
    InvalidOptionError,
    WrongEventLoopError,
)
from asyncbus.events import Event
from asyncbus.fanout import Fanout
from asyncbus.handlers import Handler, handler_name, run
from asyncbus.options import (
    Start,
    WhenFull,
    check_count,
    check_handler,
    check_priority,
    check_seconds,
    check_start,
    check_when_full,
)
from asyncbus.reading import CLOSED, Reading
from asyncbus.shielded import Shielded
from asyncbus.subscription import Subscription

log = logging.getLogger("asyncbus")

H = TypeVar("H", bound=Handler)
T = TypeVar("T")
R = TypeVar("R")


class SubscribeOptions(TypedDict, total=False):
    """The options of `EventBus.subscribe`, which documents them."""

    start: Start
    capacity: int
    when_full: WhenFull
    where: Where | None
    priority: int
    when_newer: WhenNewer | None


class Subscribing(Reading):
    """What subscribers call; `EventBus` adds the rest."""

    _fanout: Fanout
    # The order of subscribing.
    _order: Iterator[int]
    # Open ones with their handlers, the tasks of handlers, and the tasks of `wait_for`.
    _subscriptions: dict[Subscription, Handler | None]
    _handling: dict[asyncio.Task[None], Subscription]
    _waiting_for: set[asyncio.Task[Event]]
    _closing: Shielded | None
    _failure: AsyncBusError | None

    @overload
    def subscribe(
        self,
        pattern: type[T],
        handler: Callable[[Event[T]], Any] | None = None,
        **options: Unpack[SubscribeOptions],
    ) -> Subscription[T]: ...

    @overload
    def subscribe(
        self, pattern: Wanted, handler: Handler | None = None, **options: Unpack[SubscribeOptions]
    ) -> Subscription: ...

    def subscribe(
        self,
        pattern: object,
        handler: Handler | None = None,
        *,
        start: Start = "latest",
        capacity: int = 1024,
        when_full: WhenFull = "catch_up",
        where: Where | None = None,
        priority: int = 0,
        when_newer: WhenNewer | None = None,
    ) -> Subscription[Any]:
        """Receive events, from the call on: an event accepted afterwards is seen.

        Before the bus is opened this registers a subscription that begins when it opens.

        Args:
            pattern: an event type, a prefix that ends in `*`, a class declared with `event`, a base class of such, a
                union of them; or several in a list. Of a class the events come as instances, older ones by upcasts.
                By a string, what was published as an instance comes as one where its class is declared here.
            handler: called with each event, one at a time, by a task of its own; what it raises is logged and counted.
                `async def`, or a plain function, which runs on the loop's thread. None: iterate the subscription.
            start: "latest": after the last committed event; "earliest": with the first that is retained; a sequence:
                with that one; an aware datetime: with the first recorded at or after it.
            capacity: events its queue holds while it is live.
            when_full: what happens when a live reader's queue is full. "catch_up": it reads what did not fit from the
                log, later; nothing is lost and nobody waits. "block": the writer takes no next batch until there is
                room, so the queue holds at most its capacity and one batch. "drop_oldest": counted and logged.
                "fail": `SubscriptionOverflowError` ends it, after what the queue holds.
            where: a predicate on the event, or conditions as text as for `query`, asked when it is delivered.
            priority: higher ones are offered events, and woken, before others; otherwise in the order of subscribing.
            when_newer: what the data of an event is that was stored in a newer version than the class here: "raw":
                plain data; "refuse": reading it raises `NewerVersionError`. None: "refuse" where a class was asked for,
                else "raw".

        Returns:
            The subscription.

        Raises:
            InvalidPatternError, InvalidHandlerError, InvalidOptionError: a wrong argument.
            InvalidOptionError: also for "block" on a read-only bus, which cannot hold the writer back.
            StartBeyondHeadError, EventsLostError: `start` is not in this log. Where finding out needs the store (a
                datetime), or the bus is not open yet, the first event asked for raises it; the subscription of a
                handler then ends, and its `error` says why.
            BusClosedError, WrongEventLoopError: the bus is closed or has failed, or it is another thread's.
        """
        self._refuse_closed()
        if handler is not None:
            check_handler(handler)
        check_start(start)
        check_when_full(when_full)
        check_priority(priority)
        wanted, decoding = select(pattern, when_newer)
        subscription: Subscription[Any] = Subscription(
            wanted,
            decoding=decoding,
            name=str(wanted) if handler is None else handler_name(handler),
            start=start,
            capacity=check_count("capacity", capacity),
            when_full=when_full,
            where=predicate(where),
            rank=(-priority, next(self._order)),
            handled=handler is not None,
            on_end=self._forget,
        )
        if self._is_open:
            self._attach(subscription, handler)
        self._subscriptions[subscription] = handler
        return subscription

    @overload
    def on(
        self, pattern: type[T], **options: Unpack[SubscribeOptions]
    ) -> Callable[[Callable[[Event[T]], R]], Callable[[Event[T]], R]]: ...

    @overload
    def on(self, pattern: Wanted, **options: Unpack[SubscribeOptions]) -> Callable[[H], H]: ...

    def on(self, pattern: Any, **options: Unpack[SubscribeOptions]) -> Callable[[H], H]:
        """Subscribe the decorated function as a handler; it stays the function it is.

        Args:
            pattern: as for `subscribe`.
            options: as for `subscribe`.

        Raises:
            What `subscribe` raises.
        """

        def register(handler: H) -> H:
            self.subscribe(pattern, handler, **options)
            return handler

        return register

    @overload
    def wait_for(
        self,
        pattern: type[T],
        where: Callable[[Event[T]], object] | str | None = None,
        *,
        timeout: float | None = None,
        start: Start = "latest",
    ) -> Awaitable[Event[T]]: ...

    @overload
    def wait_for(
        self,
        pattern: Wanted,
        where: Where | None = None,
        *,
        timeout: float | None = None,
        start: Start = "latest",
    ) -> Awaitable[Event]: ...

    def wait_for(
        self,
        pattern: Any,
        where: Where | None = None,
        *,
        timeout: float | None = None,
        start: Start = "latest",
    ) -> Awaitable[Event]:
        """The first event that fits; it is looked for from the call on, not from the first await.

        Args:
            pattern: which events.
            where: as for `subscribe`.
            timeout: seconds to wait at most, from the call on; None: no limit.
            start: where to begin to look, as for `subscribe`.

        Returns:
            An awaitable that gives the event. It raises TimeoutError, BusClosedError when the bus closes first, what
            `where` raised, or what reading the past raised. Cancelling it ends the search.

        Raises:
            What `subscribe` raises, at the call.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        self._readable_here()
        subscription = self.subscribe(pattern, where=where, start=start)
        waiting = asyncio.create_task(_first(subscription, timeout), name=f"asyncbus wait for {subscription.name}")
        self._waiting_for.add(waiting)

        def forget(task: asyncio.Task[Event]) -> None:
            """It has ended."""
            self._waiting_for.discard(task)
            subscription.end()  # where it was cancelled before its first step
            if not task.cancelled():
                task.exception()  # nobody has to await it

        waiting.add_done_callback(forget)
        return waiting

    def _refuse_closed(self) -> None:
        """Raise what a bus that has ended says to whoever wants to receive events of it."""
        if self._closing is not None:
            raise BusClosedError(CLOSED)
        if self._forked is not None:
            raise copy(self._forked)
        if self._failure is not None:
            raise BusClosedError("the bus has failed; close it and open a new one") from self._failure

    def _attach(self, subscription: Subscription, handler: Handler | None) -> None:
        if threading.get_ident() != self._inbox.thread:
            raise WrongEventLoopError("this bus was opened on another thread; subscribe there")
        if subscription.blocks:
            if self._store.features.read_only:
                raise InvalidOptionError(
                    "when_full", 'not "block" on a read-only bus: it cannot hold the writer back', "block"
                )
            self._inbox.watch_tasks = True
        subscription.attach(self._fanout)
        if handler is not None:
            task = self._inbox.loop.create_task(
                run(handler, subscription, self._clock), name=f"asyncbus handler {subscription.name}"
            )
            subscription.reader = task
            self._handling[task] = subscription

            def forget(task: asyncio.Task[None]) -> None:
                """It has ended."""
                del self._handling[task]
                subscription.end()  # where it was cancelled before its first step
                subscription.tell_passed()

            task.add_done_callback(forget)

    def _attach_registered(self, subscription: Subscription, handler: Handler | None) -> None:
        """What was registered before the bus opened has no caller any more that an error could reach."""
        try:
            self._attach(subscription, handler)
        except AsyncBusError as error:
            log.error("subscription %s cannot start: %s", subscription.name, error)  # noqa: TRY400  # it says it all
            subscription.end(error)

    def _fall_back(self) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.fall_back()

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)


async def _first(subscription: Subscription, timeout: float | None) -> Event:
    async with subscription, asyncio.timeout(timeout):
        async for event in subscription:
            return event
    raise BusClosedError("the bus was closed before the event came")
