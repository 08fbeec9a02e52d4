"""The in-process emitters: aiopubsub, blinker, broadcaster, pyee and pymitter; each hands on the object it was given.

None of them keeps an event, bounds a queue or waits for a slow receiver unless that is said. A handler is the same
coroutine function for all; it reads a field, and there is nothing to decode.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any

from benchmarks.peers import imported
from benchmarks.workload import PATTERN, TYPE, Handled, payloads, working

_PENDING_TASKS = 1000
"""Tasks that pyee may have started before they are waited for: it starts one for each delivery."""


async def aiopubsub(count: int, subscribers: int) -> float:
    """An unbounded queue and a worker for each subscriber, which listens to a pattern."""
    package = imported("aiopubsub")
    handled = Handled(count * subscribers)
    hub = package.Hub()
    listening = [package.Subscriber(hub, str(number)) for number in range(subscribers)]
    for subscriber in listening:
        subscriber.add_async_listener(package.Key("optimization", "*"), _taker(handled))
    publisher = package.Publisher(hub, prefix=package.Key("optimization"))
    key = package.Key("stage_completed")
    start = perf_counter()
    for payload in payloads(count):
        publisher.publish(key, payload)
    await handled.all_handled.wait()
    seconds = perf_counter() - start
    for subscriber in listening:
        await subscriber.remove_all_listeners()
    return handled.expected / seconds


async def blinker(count: int, subscribers: int) -> float:
    """`send_async`, which awaits one receiver after the other; a signal has no patterns."""
    handled = Handled(count * subscribers)
    signal = imported("blinker").Signal()
    receivers = [_taker(handled) for _ in range(subscribers)]  # the signal holds them weakly
    for receiver in receivers:
        signal.connect(receiver)
    start = perf_counter()
    for payload in payloads(count):
        await signal.send_async(TYPE, data=payload)
    await handled.all_handled.wait()
    return handled.expected / (perf_counter() - start)


async def broadcaster(count: int, subscribers: int) -> float:
    """Its memory back end: an unbounded queue for each subscriber, read by a task; a channel has no patterns."""
    handled = Handled(count * subscribers)
    async with AsyncExitStack() as stack:
        broadcast = await stack.enter_async_context(imported("broadcaster").Broadcast("memory://"))
        subscribed = [await stack.enter_async_context(broadcast.subscribe(TYPE)) for _ in range(subscribers)]
        async with working(*(_read(events, handled) for events in subscribed)):
            start = perf_counter()
            for payload in payloads(count):
                await broadcast.publish(TYPE, payload)
            await handled.all_handled.wait()
            return handled.expected / (perf_counter() - start)


async def pyee(count: int, subscribers: int) -> float:
    """A task for each delivery, waited for together every so many; an event's name has no patterns."""
    handled = Handled(count * subscribers)
    emitter = imported("pyee.asyncio").AsyncIOEventEmitter()
    for _ in range(subscribers):
        emitter.add_listener(TYPE, _taker(handled))
    pending = 0
    start = perf_counter()
    for payload in payloads(count):
        emitter.emit(TYPE, TYPE, payload)
        pending += subscribers
        if pending >= _PENDING_TASKS:
            await emitter.wait_for_complete()
            pending = 0
    await handled.all_handled.wait()
    return handled.expected / (perf_counter() - start)


async def pymitter(count: int, subscribers: int) -> float:
    """`emit_async`, which awaits all handlers of the pattern together."""
    handled = Handled(count * subscribers)
    emitter = imported("pymitter").EventEmitter(wildcard=True)
    for _ in range(subscribers):
        emitter.on(PATTERN, _taker(handled))
    start = perf_counter()
    for payload in payloads(count):
        await emitter.emit_async(TYPE, TYPE, payload)
    await handled.all_handled.wait()
    return handled.expected / (perf_counter() - start)


def _taker(handled: Handled) -> Callable[[Any, Any], Awaitable[None]]:
    """A handler of its own for each subscriber: some of them take the same one twice for one."""

    async def take(origin: object, data: Any) -> None:
        data["execution_time_ms"]
        handled.counted()

    return take


async def _read(events: Any, handled: Handled) -> None:
    take = _taker(handled)
    async for event in events:
        await take(event.channel, event.message)
