"""bubus: an event bus with pydantic events and a history in memory; its log file is written after the handlers ran."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from benchmarks.peers import DEADLINE, imported
from benchmarks.workload import Handled, payloads

PENDING = 50
"""Events that are dispatched before the first of them is awaited: it refuses more than a hundred pending ones."""


async def publish_to_handled(count: int, history: int = PENDING, log: Path | None = None) -> float:
    """Events a second from the first dispatch to the last event handled, dispatched in lots of `history`.

    `wait_until_idle` did not return in every trial, so the events are counted.
    """
    handled = Handled(count)
    async with _opened(history, log) as (bus, event_class):
        bus.on(event_class, _handler(handled, 0))
        start = perf_counter()
        lot: list[Any] = []
        for payload in payloads(count):
            lot.append(bus.dispatch(event_class(**payload)))
            if len(lot) == history:
                for event in lot:
                    await event
                lot.clear()
        await handled.all_handled.wait()
        return count / (perf_counter() - start)


async def awaited(count: int, log: Path | None, tasks: int = 1) -> float:
    """Events a second that so many tasks dispatch, each awaiting its event before the next."""
    handled = Handled(count)
    async with _opened(PENDING, log) as (bus, event_class):
        bus.on(event_class, _handler(handled, 0))
        admitted = asyncio.Semaphore(PENDING)
        waiting = payloads(count)

        async def publish() -> None:
            for payload in waiting:
                async with admitted:
                    await bus.dispatch(event_class(**payload))

        start = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(publish())
        return count / (perf_counter() - start)


async def fan_out(count: int, subscribers: int) -> float:
    """Deliveries a second to so many handlers of one event class."""
    handled = Handled(count * subscribers)
    async with _opened(PENDING, None) as (bus, event_class):
        for number in range(subscribers):
            bus.on(event_class, _handler(handled, number))
        start = perf_counter()
        for payload in payloads(count):
            await bus.dispatch(event_class(**payload))
        await handled.all_handled.wait()
        return handled.expected / (perf_counter() - start)


@asynccontextmanager
async def _opened(history: int, log: Path | None) -> AsyncIterator[tuple[Any, Any]]:
    """A bus, and a class of events with the fields of the payload."""
    bubus = _bubus()
    bus = bubus.EventBus(max_history_size=history, wal_path=log)
    fields = {"stage_name": str, "execution_time_ms": int, "memory_usage_mb": float, "success": bool}
    attributes = {"__annotations__": fields, "__module__": __name__}
    try:
        async with asyncio.timeout(DEADLINE):
            yield bus, type("StageCompleted", (bubus.BaseEvent,), attributes)
    finally:
        await bus.stop(timeout=0, clear=True)


def _handler(handled: Handled, number: int) -> Any:
    async def handle(event: Any) -> None:
        event.execution_time_ms  # noqa: B018 - reading it is what the handler does
        handled.counted()

    handle.__name__ = f"handle_{number}"  # results are kept by the handler's name, and doubles are warned of
    return handle


def _bubus() -> ModuleType:
    # It reads this once, at its import: its log of every event would be most of what is measured.
    os.environ["BUBUS_LOGGING_LEVEL"] = "CRITICAL"
    return imported("bubus")
