"""Runs a handler over a subscription: one event at a time, whatever it raises."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from asyncbus.clock import Clock
from asyncbus.errors import AsyncBusError
from asyncbus.events import Event
from asyncbus.subscription import Subscription

log = logging.getLogger("asyncbus")

Handler: TypeAlias = Callable[[Event], Awaitable[Any] | Any]
"""Called with each event: an `async def`, or a plain function, which then runs on the loop's own thread."""

SLICE: Final = 0.005
"""Seconds after which a handler that never waits gives the loop's other tasks a turn."""

_LOOK_EVERY: Final = 64


def handler_name(handler: Handler) -> str:
    """What statistics and logs call it."""
    if isinstance(handler, functools.partial):
        return handler_name(handler.func)
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    return f"{getattr(handler, '__module__', None) or type(handler).__module__}.{name}"


async def run(handler: Handler, subscription: Subscription, clock: Clock) -> None:
    """Handle the events of `subscription` until it ends.

    What the handler publishes into the log that its events are of follows from the event it handles. What it (or
    `where`) raises is logged with the event's sequence and type and counted; the next event goes on. Cancelling ends
    it.
    """
    try:
        while await subscription.ready():
            await _handle_what_is_there(handler, subscription, clock)
    except asyncio.CancelledError:
        if subscription.open:
            log.warning("handler %s was cancelled, and so its subscription has ended", subscription.name)
        raise
    except AsyncBusError as error:
        log.error("subscription %s has ended: %s", subscription.name, error)  # noqa: TRY400  # the error says it all
    finally:
        subscription.end()
        subscription.tell_passed()


async def _handle_what_is_there(handler: Handler, subscription: Subscription, clock: Clock) -> None:
    """Handle events until none is at hand, or the slice of time is over."""
    awaited = inspect.iscoroutinefunction(handler)
    next_nowait = subscription.next_nowait
    begin = subscription.being_handled.set
    began = clock.monotonic()
    more = True
    look_after = 1
    while more and clock.monotonic() - began < SLICE:
        # The clock is asked ever less often, for fast handlers are the hot path (bench_publish_to_handled.py).
        for _ in range(look_after):
            try:
                if (event := next_nowait()) is None:
                    more = False
                    break
                begin(subscription.current)
                outcome = handler(event)
                if awaited or inspect.isawaitable(outcome):
                    await outcome
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                _report(subscription, error)  # what it awaited was cancelled, not the handler
            except Exception as error:  # noqa: BLE001  # the handler is somebody else's code, and harms nobody else
                _report(subscription, error)
        look_after = min(look_after * 2, _LOOK_EVERY)
    subscription.handler_time += clock.monotonic() - began
    subscription.tell_passed()
    if more:
        await asyncio.sleep(0)


def is_cancelled() -> bool:
    """Whether this task itself was cancelled, and not what it has awaited."""
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def _report(subscription: Subscription, error: BaseException) -> None:
    subscription.errors += 1
    record = subscription.current
    if record is not None:
        log.error(
            "subscription %s: error at event %d (%s)", subscription.name, record.sequence, record.type, exc_info=error
        )
