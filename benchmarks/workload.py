"""What is published: an event of the emulator's vocabulary with 90 bytes of JSON, and the handler that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from itertools import cycle, islice
from typing import Any, Protocol

import msgspec

TYPE = "optimization.stage_completed"
PATTERN = "optimization.*"
BYTES = 90

PAYLOADS: tuple[dict[str, Any], ...] = tuple(
    {"stage_name": "loop_unroll", "execution_time_ms": ms, "memory_usage_mb": 48.25, "success": True}
    for ms in range(10, 100)
)
TEXTS: tuple[str, ...] = tuple(msgspec.json.encode(payload).decode() for payload in PAYLOADS)
assert {len(text) for text in TEXTS} == {BYTES}


class Readable(Protocol):
    """What the handler takes: anything with `data`."""

    @property
    def data(self) -> Any:
        """The decoded payload."""
        ...


def payloads(count: int) -> Iterator[dict[str, Any]]:
    """`count` payloads of 90 bytes."""
    return islice(cycle(PAYLOADS), count)


class Handled:
    """Counts what is handled and knows when all is.

    Args:
        expected: how many events are to come; `await all_handled.wait()` returns after the last.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.count = 0
        self.all_handled = asyncio.Event()

    async def handle(self, event: Readable) -> None:
        """The handler of every question: it reads a field of the data, so that decoding is paid for."""
        event.data["execution_time_ms"]
        self.count += 1  # as `counted`, without a call that raw loops do not make either
        if self.count == self.expected:
            self.all_handled.set()

    def handle_at_once(self, event: Readable) -> None:
        """The same as a plain function."""
        event.data["execution_time_ms"]
        self.counted()

    def counted(self) -> None:
        """Count one more event as handled."""
        self.count += 1
        if self.count == self.expected:
            self.all_handled.set()


@asynccontextmanager
async def working(*workers: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the workers as tasks for as long as this is held, and cancel them at its end."""
    tasks = [asyncio.create_task(worker) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
