"""The durable consumers' side of a bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from datetime import datetime
from random import random
from typing import Final, TypedDict, TypeVar, Unpack, get_args

from asyncbus.consumer import Consumer
from asyncbus.dead_letters import DeadLetter, RetriedLetters
from asyncbus.delivering import AckMode, ConsumerOptions, OnExhausted
from asyncbus.effects import Effects
from asyncbus.errors import BusClosedError, InvalidOptionError, StoreReadOnlyError, UnsupportedFeatureError
from asyncbus.events import check_name, to_microseconds
from asyncbus.feed import Feed
from asyncbus.lanes import Order
from asyncbus.options import Start, bound, check_count, check_handler, check_seconds, check_start
from asyncbus.patterns import Pattern
from asyncbus.policies import Retry
from asyncbus.publishing import Publishing
from asyncbus.reading import CLOSED
from asyncbus.registry import Registry
from asyncbus.saving import Saving
from asyncbus.statistics import ConsumerStatistics
from asyncbus.store.consumers import ConsumerStore, ParkedFilter
from asyncbus.subscribing import Subscribing
from asyncbus.surroundings import Surroundings
from asyncbus.working import ConsumerHandler

MAX_NAME: Final = 200
"""Characters of a consumer's name: it is part of the ids of what its handler publishes."""

_MAX_CONCURRENCY: Final = 10_000
_MAX_IN_FLIGHT: Final = 100_000

H = TypeVar("H", bound=ConsumerHandler)


class ConsumeOptions(TypedDict, total=False):
    """The options of `EventBus.consume`, which documents them."""

    start: Start
    retry: Retry
    timeout: float | None
    concurrency: int
    max_in_flight: int
    order: Order
    ack: AckMode
    on_exhausted: OnExhausted
    max_dead_letters: int
    effects: Effects | None
    shared: bool
    priority: int


class Consuming(Subscribing, Publishing):
    """What durable consumers are made and administered by; `EventBus` adds the rest."""

    _saving: Saving
    _consumers: Registry | None

    def consume(
        self,
        name: str,
        pattern: object,
        handler: ConsumerHandler | None = None,
        *,
        start: Start = "earliest",
        retry: Retry | None = None,
        timeout: float | None = None,
        concurrency: int = 1,
        max_in_flight: int = 4096,
        order: Order = "key",
        ack: AckMode = "auto",
        on_exhausted: OnExhausted = "dead_letter",
        max_dead_letters: int = 1_000_000,
        effects: Effects | None = None,
        shared: bool = False,
        priority: int = 0,
    ) -> Consumer:
        """Consume events under a name that is remembered: what is owed comes again until it is done.

        Each matching event is handed out at least once, in ascending sequence, except where it is tried again; it is
        done by an ack, given up as a dead letter, or skipped. What was in flight when a process ended comes again,
        `attempt` one higher, one at a time. Before the bus is opened this registers a consumer that begins when it
        opens.

        Args:
            name: of the consumer, printable, at most 200 characters.
            pattern: an event type, a prefix that ends in `*`, or several of them. It is stored with the name.
            handler: called with each event, or, where it has two parameters, with `(event, delivery)`. Returning is an
                ack, an exception a nak, `Reject` parks at once. `async def`, or a plain function, which runs on the
                loop's thread. None: iterate the consumer.
            start: where to begin, as for `subscribe`, the first time the name is seen; afterwards the consumer goes on
                after its checkpoint.
            retry: how often, when, and after which exceptions an event is tried again; None: `Retry()`.
            timeout: seconds after which an attempt without an outcome has failed, and its handler is cancelled;
                `Delivery.in_progress` begins them anew. A plain function is not cancelled. None: no limit.
            concurrency: handlers that run at the same time.
            max_in_flight: events that are handed out or wait for their retry at the same time, and those read ahead.
            order: which events wait while one is in flight or waits for its retry. "none": none; "key": those with the
                same key; "strict": all that come later.
            ack: "auto": a handler's return, or asking an iterating consumer for the next delivery, is the ack;
                "manual": only `Delivery.ack` is.
            on_exhausted: what becomes of an event whose last attempt has failed. "dead_letter": it is parked, with its
                history, and the consumer goes on. "stop": the consumer ends with `ConsumerStoppedError`. "skip": it is
                logged and counted.
            max_dead_letters: one more and the consumer ends with `ConsumerStoppedError`.
            effects: the database in which the handler has its effects: each commits with the checkpoint, once. One
                handler is in a transaction at a time, whatever `concurrency` says.
            shared: for stores that let several consumers share a name; none does yet.
            priority: as for `subscribe`.

        Returns:
            The consumer. What ends it later (a changed pattern, a checkpoint beyond the log, events that were removed)
            is logged, stands in its `error`, and is raised where it is iterated.

        Raises:
            InvalidPatternError, InvalidHandlerError, InvalidOptionError: a wrong argument.
            ConsumerInUseError: the name is in use on this bus.
            StoreReadOnlyError: on a read-only bus, which cannot store a checkpoint.
            UnsupportedFeatureError: the store does not keep consumers, or does not let them share a name.
            BusClosedError, WrongEventLoopError, ForkedProcessError: the bus is not usable here.
        """
        options = ConsumerOptions(
            start=start,
            retry=Retry() if retry is None else retry,
            timeout=timeout,
            concurrency=concurrency,
            max_in_flight=max_in_flight,
            order=order,
            ack=ack,
            on_exhausted=on_exhausted,
            max_dead_letters=max_dead_letters,
            effects=effects,
        )
        self._check_consumable()
        registry = self._registry(shared=shared)
        _check_name(name)
        _check(options, handler, priority)
        consumer = Consumer(
            name,
            Pattern.parse(pattern),
            options,
            self._surroundings(registry),
            (-priority, next(self._order)),
            handler=handler,
            on_end=registry.remove,
        )
        if self._is_open:
            self._inbox.check_loop()
        registry.add(consumer)
        if self._is_open:
            consumer.start()
        return consumer

    def consumer(self, name: str, pattern: object, **options: Unpack[ConsumeOptions]) -> Callable[[H], H]:
        """Consume with the decorated function as handler; it stays the function it is.

        Args:
            name, pattern, options: as for `consume`.

        Raises:
            What `consume` raises.
        """

        def register(handler: H) -> H:
            self.consume(name, pattern, handler, **options)
            return handler

        return register

    def _check_consumable(self) -> None:
        if self._closing is not None:
            raise BusClosedError(CLOSED)
        if self._forked is not None:
            raise copy(self._forked)
        if self._failure is not None:
            raise BusClosedError("the bus has failed; close it and open a new one") from self._failure
        if self._store.features.read_only:
            raise StoreReadOnlyError("this bus was opened with read_only=True; a consumer has to store its checkpoint")

    def _registry(self, *, shared: bool = False) -> Registry:
        if self._consumers is None or shared:
            raise UnsupportedFeatureError("shared consumers" if self._consumers else "consumers", self._store)
        return self._consumers

    def _surroundings(self, registry: Registry) -> Surroundings:
        assert isinstance(self._store, ConsumerStore)  # noqa: S101  # or there would be no registry
        return Surroundings(
            store=self._store,
            history=self._history,
            saving=self._saving,
            clock=self._clock,
            random=random,
            state=registry.state,
            dead_letters=registry.dead_letters,
            attach=self._attach_feed,
            forget=self._forget,
            publish=self.publish,
        )

    def _attach_feed(self, feed: Feed, after: int) -> None:
        feed.attach_after(self._fanout, after)
        self._subscriptions[feed] = None

    # ------------------------------------------------------------------------------------------------ administering

    def _administered(self) -> Registry:
        self._readable_here()
        return self._registry()

    def _changed(self) -> Registry:
        """As `_administered`, for what has something stored."""
        registry = self._administered()
        if self._store.features.read_only:
            raise StoreReadOnlyError("this bus was opened with read_only=True; it cannot change a consumer")
        return registry

    async def consumers(self) -> list[ConsumerStatistics]:
        """What each known consumer has done and owes, by name; also those that are not active.

        Raises:
            BusClosedError, WrongEventLoopError, UnsupportedFeatureError, StoreCorruptError, StoreFailedError
        """
        return await self._administered().statistics()

    async def seek(self, name: str, *, start: Start) -> None:
        """Have a consumer go on somewhere else; this is stored when it returns.

        An active one finishes the handlers at work before. What an iterating one has handed out is stale: its outcome
        is refused. What waits for a retry comes again only if it lies after the new place.

        Args:
            name: of the consumer.
            start: as for `consume`.

        Raises:
            UnknownConsumerError: the store does not know it.
            StartBeyondHeadError, EventsLostError, InvalidOptionError: `start` is not in this log.
            WouldDeadlockError: called by a handler of this consumer.
            BusClosedError, WrongEventLoopError, UnsupportedFeatureError, StoreError
        """
        registry = self._changed()
        check_start(start)
        before = self._history.before(start)
        if before is None:
            before = await self._history.before_moment(to_microseconds("start", start))
        await registry.seek(name, before)

    async def pause(self, name: str) -> None:
        """Have a consumer hand out nothing more until `resume`; what is in flight goes on. This is remembered.

        Args:
            name: of the consumer.

        Raises:
            UnknownConsumerError, StoreReadOnlyError, BusClosedError, WrongEventLoopError, UnsupportedFeatureError,
            StoreError
            ConsumerClosedError, or what ended it, where it has not begun yet and never will.
        """
        await self._changed().pause(name, paused=True)

    async def resume(self, name: str) -> None:
        """Undo `pause`.

        Args:
            name: of the consumer.

        Raises:
            What `pause` raises.
        """
        await self._changed().pause(name, paused=False)

    async def delete_consumer(self, name: str) -> None:
        """Forget a consumer: its checkpoint, what it owes, and its dead letters.

        Args:
            name: of the consumer.

        Raises:
            ConsumerInUseError: it is active; close it first.
            UnknownConsumerError, StoreReadOnlyError, BusClosedError, WrongEventLoopError, UnsupportedFeatureError,
            StoreError
        """
        await self._changed().forget(name)

    async def wait_processed(self, name: str, sequence: int, timeout: float | None = None) -> None:
        """Wait until a consumer owes nothing up to a sequence: done, parked or skipped. So one reads one's own writes.

        Args:
            name: of the consumer, which must be active on this bus.
            sequence: of an event that is stored.
            timeout: seconds to wait at most; None: no limit.

        Raises:
            TimeoutError: it still owes something at or below `sequence`.
            UnknownConsumerError: no such consumer is active on this bus.
            InvalidOptionError: `sequence` lies beyond the head.
            ConsumerClosedError, or what ended the consumer meanwhile.
            BusClosedError, WrongEventLoopError, UnsupportedFeatureError
        """
        registry = self._administered()
        if timeout is not None:
            check_seconds("timeout", timeout)
        check_count("sequence", sequence, 0)
        if sequence > self._history.head:
            raise InvalidOptionError("sequence", f"that of a stored event, at most {self._history.head}", sequence)
        async with asyncio.timeout(timeout):
            await registry.get(name).passed(sequence)

    # -------------------------------------------------------------------------------------------------- dead letters

    async def dead_letters(
        self,
        consumer: str | None = None,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        after: int = 0,
        limit: int | None = 1000,
    ) -> list[DeadLetter]:
        """List dead letters, in the order in which they were parked; all conditions must hold.

        Args:
            consumer: of this consumer; None: of all.
            pattern: of these event types.
            start: the first event's sequence wanted, or those parked at or after a datetime.
            stop: the first event's sequence, or moment of parking, not wanted any more.
            after: above this `DeadLetter.number`: the last one's of the page before.
            limit: at most this many; None: all there are.

        Raises:
            InvalidPatternError, InvalidOptionError, BusClosedError, WrongEventLoopError, UnsupportedFeatureError,
            StoreCorruptError, StoreFailedError
        """
        registry = self._administered()
        wanted = _letters(consumer, pattern, start=start, stop=stop, after=after, limit=limit)
        return [DeadLetter.of(parked) for parked in await registry.letters(wanted)]

    async def retry_dead_letters(
        self,
        consumer: str,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        limit: int | None = None,
    ) -> RetriedLetters:
        """Hand a consumer's dead letters out again, each once, the oldest first, and wait for what comes of it.

        What is done is removed; what fails stays a dead letter, with one failure more, and is not tried again before
        the next call. They are removed only when they are done, so a crash in between loses none.

        Args:
            consumer: its name; it must be active on this bus.
            pattern: of these event types.
            start, stop: as for `dead_letters`; without `stop`, what was parked before the call.
            limit: at most this many; None: no limit.

        Raises:
            UnknownConsumerError: no such consumer is active on this bus.
            ConsumerClosedError: it was closed meanwhile; what was not done is a dead letter as before.
            And what `dead_letters` raises.
        """
        registry = self._changed()
        wanted = _letters(consumer, pattern, start=start, stop=stop, limit=limit)
        return RetriedLetters(*await registry.retry(registry.get(consumer), wanted))

    async def discard_dead_letters(
        self,
        consumer: str,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        limit: int | None = None,
    ) -> int:
        """Remove dead letters for good.

        Args:
            consumer: its name; it need not be active.
            pattern, start, stop, limit: as for `dead_letters`.

        Returns:
            How many were removed.

        Raises:
            What `dead_letters` raises.
        """
        registry = self._changed()
        return await registry.discard(_letters(consumer, pattern, start=start, stop=stop, limit=limit))


def _letters(
    consumer: str | None,
    pattern: object,
    *,
    start: int | datetime | None,
    stop: int | datetime | None,
    after: int = 0,
    limit: int | None,
) -> ParkedFilter:
    start_sequence, start_parked = bound("start", start)
    stop_sequence, stop_parked = bound("stop", stop)
    wanted = Pattern.parse(pattern)
    return ParkedFilter(
        consumer=None if consumer is None else check_name("consumer", consumer),
        pattern=None if wanted.matches_all else wanted,
        start_sequence=start_sequence,
        stop_sequence=stop_sequence,
        start_parked=start_parked,
        stop_parked=stop_parked,
        after=check_count("after", after, 0),
        limit=None if limit is None else check_count("limit", limit),
    )


def _check_name(name: object) -> None:
    if len(check_name("name", name)) > MAX_NAME:
        raise InvalidOptionError("name", f"at most {MAX_NAME} characters", name)


def _check(options: ConsumerOptions, handler: object, priority: object) -> None:
    """Raise what is wrong with the options of a consumer."""
    if handler is not None:
        check_handler(handler)
    check_start(options.start)
    if not isinstance(options.retry, Retry):
        raise InvalidOptionError("retry", "a Retry", options.retry)
    if options.timeout is not None:
        check_seconds("timeout", options.timeout, zero=False)
    check_count("concurrency", options.concurrency, most=_MAX_CONCURRENCY)
    check_count("max_in_flight", options.max_in_flight, most=_MAX_IN_FLIGHT)
    check_count("max_dead_letters", options.max_dead_letters, 0)
    for option, value, choices in (
        ("order", options.order, get_args(Order)),
        ("ack", options.ack, get_args(AckMode)),
        ("on_exhausted", options.on_exhausted, get_args(OnExhausted)),
    ):
        if value not in choices:
            raise InvalidOptionError(option, " or ".join(f'"{choice}"' for choice in choices), value)
    if not isinstance(priority, int):
        raise InvalidOptionError("priority", "an integer", priority)
    if options.effects is not None and not isinstance(options.effects, Effects):
        raise InvalidOptionError("effects", "an Effects: SQLiteEffects(connection), say", options.effects)
    if options.effects is not None and (handler is None or options.ack == "manual"):
        raise InvalidOptionError("effects", 'None without a handler, or with ack="manual"', options.effects)
