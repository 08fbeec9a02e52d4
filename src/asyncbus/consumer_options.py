"""What is wanted of a consumer, and what is wrong with that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, TypedDict, get_args

from msgspec import Struct

from asyncbus.decoding import Decoding, WhenNewer
from asyncbus.effects.base import Effects
from asyncbus.errors import InvalidOptionError
from asyncbus.events import check_name
from asyncbus.lanes import Order
from asyncbus.options import Start, check_count, check_handler, check_seconds, check_start
from asyncbus.patterns import Pattern
from asyncbus.policies import Retry

OnExhausted: TypeAlias = Literal["dead_letter", "stop", "skip"]
"""What becomes of an event whose last attempt has failed."""

AckMode: TypeAlias = Literal["auto", "manual"]
"""Who says that an event is done: its handler by returning, or somebody by `Delivery.ack`."""

MAX_NAME: Final = 200
"""Characters of a consumer's name: it is part of the ids of what its handler publishes."""

_MAX_CONCURRENCY: Final = 10_000
_MAX_IN_FLIGHT: Final = 100_000


class ConsumeOptions(TypedDict, total=False):
    """The options of `EventBus.consume`, which documents them."""

    start: Start
    retry: Retry | None
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
    when_newer: WhenNewer | None


class ConsumerOptions(Struct, frozen=True, kw_only=True):
    """Those that an active consumer goes by, all of them given; `EventBus.consume` documents them."""

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


class Wanted(Struct, frozen=True, kw_only=True):
    """A consumer as its user wants it.

    Attributes:
        name: which is remembered.
        pattern: of the events.
        decoding: of their data.
        handler: called with each event; None: the consumer is iterated.
        options: how it goes about it.
        rank: its feed's place among the readers of the bus, ascending.
    """

    name: str
    pattern: Pattern
    decoding: Decoding
    handler: Callable[..., Any] | None
    options: ConsumerOptions
    rank: tuple[int, int]


def check_consumer_name(option: str, name: object) -> str:
    """Return `name` if it can be that of a consumer, or raise `InvalidOptionError`."""
    return check_name(option, name, MAX_NAME)


def check_options(options: ConsumerOptions, handler: object) -> None:
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
    if options.effects is not None and not isinstance(options.effects, Effects):
        raise InvalidOptionError("effects", "an Effects: SQLiteEffects(connection), say", options.effects)
    if options.effects is not None and (handler is None or options.ack == "manual"):
        raise InvalidOptionError("effects", 'None without a handler, or with ack="manual"', options.effects)
