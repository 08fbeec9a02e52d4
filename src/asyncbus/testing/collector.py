"""Awaits the events that a test expects, instead of sleeping until they have come."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

from asyncbus.bus import EventBus
from asyncbus.conditions import Where
from asyncbus.events import Event

_PATIENCE: Final = 5.0


class Collector:
    """What a bus stores from here on, to be awaited by pattern and count.

    Args:
        bus: an open one.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._start = bus.statistics().head + 1

    async def until(
        self, pattern: Any, *, count: int = 1, where: Where | None = None, timeout: float = _PATIENCE
    ) -> list[Event]:
        """Wait until so many matching events are stored; those that came before the call count as well.

        Args:
            pattern: which events, as for `EventBus.subscribe`.
            count: how many.
            where: a predicate or conditions, as for `EventBus.subscribe`.
            timeout: seconds to wait at most.

        Returns:
            The first `count` of them, in order; each call begins where the collector did.

        Raises:
            TimeoutError: fewer came; it says how many, and what came instead.
            EventsLostError: some were removed before they were read.
        """
        found: list[Event] = []
        try:
            async with (
                asyncio.timeout(timeout),
                self._bus.subscribe(pattern, start=self._start, where=where) as events,
            ):
                while len(found) < count:
                    found.append(await anext(events))
        except TimeoutError:
            came = Counter(event.type for event in await self.events())
            others = ", ".join(f"{number} of {type}" for type, number in sorted(came.items())) or "nothing"
            raise TimeoutError(
                f"{len(found)} of {count} events of {pattern!r} within {timeout} s; what came at all: {others}"
            ) from None
        return found

    async def events(self, pattern: Any = "*") -> list[Event]:
        """All matching events that are stored by now.

        Args:
            pattern: which events, as for `EventBus.query`.
        """
        return await self._bus.query(pattern, start=self._start, limit=None)
