"""eventsource-py: its SQLite store, which writes row by row, and its bus in memory, joined as its repository does.

The store opens its file in WAL mode and leaves synchronous at SQLite's default, FULL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from msgspec import Struct

from benchmarks.peers import imported
from benchmarks.workload import Handled, payloads

LOT = 100
"""Events of one append where they are pipelined: more at once are not faster, each is an INSERT of its own."""

_CLASS = "StageCompleted"


class Store(Struct, frozen=True):
    """An open store: how to make an event, and how to append a lot of them to an aggregate of its own."""

    store: Any
    event_class: Any
    append: Callable[[Any, Sequence[Any]], Any]


async def publish_to_handled(path: Path, count: int) -> float:
    """Events a second, appended in lots and each lot published to one handler when it is stored."""
    handled = Handled(count)

    async def handle(event: Any) -> None:
        event.execution_time_ms  # noqa: B018 - reading it is what the handler does
        handled.counted()

    async with _opened(path) as store:
        bus = imported("eventsource").InMemoryEventBus(enable_tracing=False)
        bus.subscribe(store.event_class, handle)
        aggregate = uuid4()
        waiting = payloads(count)
        start = perf_counter()
        while lot := [store.event_class(aggregate_id=aggregate, **payload) for payload in islice(waiting, LOT)]:
            await store.append(aggregate, lot)
            await bus.publish(lot)
        await handled.all_handled.wait()
        return count / (perf_counter() - start)


async def awaited(path: Path, tasks: int, each: int) -> float:
    """Events a second of tasks that append each event by itself, each task to an aggregate of its own."""

    async def publish(store: Store) -> None:
        aggregate = uuid4()
        for payload in payloads(each):
            await store.append(aggregate, [store.event_class(aggregate_id=aggregate, **payload)])

    async with _opened(path) as store:
        start = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(publish(store))
        return tasks * each / (perf_counter() - start)


async def fill(path: Path, count: int) -> None:
    """Make a log of `count` events."""
    async with _opened(path) as store:
        aggregate = uuid4()
        waiting = payloads(count)
        while lot := [store.event_class(aggregate_id=aggregate, **payload) for payload in islice(waiting, LOT)]:
            await store.append(aggregate, lot)


async def caught_up(path: Path, count: int) -> float:
    """Events a second of `read_all`, from the first on, whose data is read."""
    seen = 0
    async with _opened(path) as store:
        start = perf_counter()
        async for envelope in store.store.read_all():
            envelope.event.execution_time_ms  # noqa: B018 - reading it is what a reader does
            seen += 1
        seconds = perf_counter() - start
    assert seen == count, f"read {seen} of {count}"
    return count / seconds


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[Store]:
    eventsource = imported("eventsource")
    expected = imported("eventsource.ports").ExpectedVersion.any_()
    store = eventsource.SQLiteEventStore(str(path))

    async def append(aggregate: Any, events: Sequence[Any]) -> None:
        await store.append(eventsource.StreamId(aggregate_id=aggregate, category="Stages"), events, expected)

    try:
        yield Store(store, _event_class(eventsource), append)
    finally:
        await store.close()


def _event_class(eventsource: Any) -> Any:
    """The class of the events, registered once in a process, as its decorator does."""
    found = eventsource.get_event_class_or_none(_CLASS)
    if found is not None:
        return found
    fields = {"event_type": str, "aggregate_type": str, "stage_name": str, "execution_time_ms": int}
    attributes = {
        "__annotations__": {**fields, "memory_usage_mb": float, "success": bool},
        "__module__": __name__,
        "event_type": _CLASS,
        "aggregate_type": "Stages",
    }
    return eventsource.register_event(type(_CLASS, (eventsource.DomainEvent,), attributes))
