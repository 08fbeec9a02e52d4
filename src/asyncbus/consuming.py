"""How a bus makes its durable consumers."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any, TypeAlias, TypeVar, Unpack, overload

from asyncbus.consumer import Consumer
from asyncbus.consumer_options import (
    AckMode,
    ConsumeOptions,
    ConsumerOptions,
    OnExhausted,
    Wanted,
    check_consumer_name,
    check_options,
)
from asyncbus.decoding import Wanted as Selection
from asyncbus.decoding import WhenNewer, select
from asyncbus.delivery import Delivery
from asyncbus.effects.base import Effects
from asyncbus.errors import StoreReadOnlyError, UnsupportedFeatureError
from asyncbus.events import Event
from asyncbus.feed import Feed
from asyncbus.lanes import Order
from asyncbus.options import Start, check_priority
from asyncbus.policies import Retry
from asyncbus.publishing import Publishing
from asyncbus.registry import Registry
from asyncbus.saving import Saving
from asyncbus.store.consumers import ConsumerStore
from asyncbus.subscribing import Subscribing
from asyncbus.surroundings import Surroundings
from asyncbus.working import ConsumerHandler

H = TypeVar("H", bound=ConsumerHandler)
T = TypeVar("T")

HandlerOf: TypeAlias = Callable[[Event[T]], Any] | Callable[[Event[T], Delivery[T]], Any]
"""A handler of the events of one class, with or without their deliveries."""


class Consuming(Subscribing, Publishing):
    """What durable consumers are made by; `EventBus` adds the rest."""

    _saving: Saving
    _consumers: Registry | None

    @overload
    def consume(
        self,
        name: str,
        pattern: type[T],
        handler: HandlerOf[T] | None = None,
        **options: Unpack[ConsumeOptions],
    ) -> Consumer[T]: ...

    @overload
    def consume(
        self,
        name: str,
        pattern: Selection,
        handler: ConsumerHandler | None = None,
        **options: Unpack[ConsumeOptions],
    ) -> Consumer: ...

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
        when_newer: WhenNewer | None = None,
    ) -> Consumer[Any]:
        """Consume events under a name that is remembered: what is owed comes again until it is done.

        Each matching event is handed out at least once, in ascending sequence, except where it is tried again; it is
        done by an ack, given up as a dead letter, or skipped. What was in flight when a process ended comes again,
        `attempt` one higher, one at a time. Before the bus is opened this registers a consumer that begins when it
        opens.

        Args:
            name: of the consumer, printable, at most 200 characters.
            pattern: as for `subscribe`. The event types it stands for are stored with the name.
            handler: called with each event, or, where a second parameter has no default, with `(event, delivery)`.
                Returning is an ack, an exception a nak (all but `KeyboardInterrupt` and `SystemExit`), `Reject` parks
                at once. `async def`, or a plain function, which runs on the loop's thread. None: iterate the consumer.
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
            priority, when_newer: as for `subscribe`.

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
        check_consumer_name("name", name)
        check_options(options, handler)
        check_priority(priority)
        selected, decoding = select(pattern, when_newer)
        wanted = Wanted(
            name=name,
            pattern=selected,
            decoding=decoding,
            handler=handler,
            options=options,
            rank=(-priority, next(self._order)),
        )
        consumer: Consumer[Any] = Consumer(wanted, self._surroundings(registry), on_end=registry.remove)
        if self._is_open:
            self._inbox.check_loop()
        registry.add(consumer)
        if self._is_open:
            consumer.start()
        return consumer

    @overload
    def consumer(
        self, name: str, pattern: type[T], **options: Unpack[ConsumeOptions]
    ) -> Callable[[HandlerOf[T]], HandlerOf[T]]: ...

    @overload
    def consumer(self, name: str, pattern: Selection, **options: Unpack[ConsumeOptions]) -> Callable[[H], H]: ...

    def consumer(self, name: str, pattern: Any, **options: Unpack[ConsumeOptions]) -> Callable[[H], H]:
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
        self._refuse_closed()
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
            taken=registry.taken,
            attach=self._attach_feed,
            forget=self._forget,
            publish=self.publish,
        )

    def _attach_feed(self, feed: Feed, after: int) -> None:
        feed.attach_after(self._fanout, after)
        self._subscriptions[feed] = None
