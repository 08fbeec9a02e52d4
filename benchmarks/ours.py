"""The library in the roles that several questions share: publish to handled, and a log that is there beforehand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncbus
from benchmarks.raw import Synchronous
from benchmarks.workload import PATTERN, TYPE, Handled, payloads

_A_CALL = 4096
"""Events handed to one `publish_many` when a log is built."""


@asynccontextmanager
async def opened(path: Path | None, synchronous: Synchronous = "full") -> AsyncIterator[asyncbus.EventBus]:
    """A bus on a SQLite file, or in memory where there is no path."""
    store = asyncbus.MemoryStore() if path is None else asyncbus.SQLiteStore(path, synchronous=synchronous)
    async with asyncbus.EventBus(store) as bus:
        yield bus


async def accepted_to_handled(path: Path, count: int, *, plain: bool = False, durable: bool = False) -> float:
    """Events a second from the first `publish(ack="accepted")` to the last event handled by one pattern subscriber.

    Args:
        path: the database file, synchronous FULL.
        count: how many events.
        plain: the handler is a plain function instead of an `async def`.
        durable: it is the handler of a durable consumer instead of a subscription.
    """
    handled = Handled(count)
    handler = handled.handle_at_once if plain else handled.handle
    async with opened(path) as bus:
        if durable:
            bus.consume("benchmark", PATTERN, handler)
        else:
            bus.subscribe(PATTERN, handler)
        start = perf_counter()
        for payload in payloads(count):
            await bus.publish(TYPE, payload, ack="accepted")
        await handled.all_handled.wait()
        return count / (perf_counter() - start)


async def all_to_handled(path: Path, events: Sequence[tuple[str, Any]], handled: Handled) -> float:
    """The same for events of several types or sizes, given as types and payloads."""
    async with opened(path) as bus:
        bus.subscribe(PATTERN, handled.handle)
        start = perf_counter()
        for type_, payload in events:
            await bus.publish(type_, payload, ack="accepted")
        await handled.all_handled.wait()
        return handled.expected / (perf_counter() - start)


async def thread_to_handled(path: Path, count: int) -> float:
    """Events a second from the first `publish_from_thread` of one worker thread to the last event handled."""
    handled = Handled(count)

    def publish(bus: asyncbus.EventBus) -> None:
        for payload in payloads(count):
            bus.publish_from_thread(TYPE, payload)

    async with opened(path) as bus:
        bus.subscribe(PATTERN, handled.handle)
        worker = threading.Thread(target=publish, args=(bus,))
        start = perf_counter()
        worker.start()
        await handled.all_handled.wait()
        seconds = perf_counter() - start
        worker.join()
    return count / seconds


async def fill(path: Path, count: int, type_of: Callable[[int], str] = lambda _: TYPE) -> None:
    """Make a log of `count` events; `type_of` says the type of the n-th, from 0 on."""
    async with opened(path, "normal") as bus:
        numbered = enumerate(payloads(count))
        for start in range(0, count, _A_CALL):
            batch = islice(numbered, min(_A_CALL, count - start))
            await bus.publish_many([(type_of(number), payload) for number, payload in batch])


def filled(path: Path, count: int, type_of: Callable[[int], str] = lambda _: TYPE) -> None:
    """As `fill`, from outside a loop; a log that is there already is kept."""
    if not path.exists():
        asyncio.run(fill(path, count, type_of))
