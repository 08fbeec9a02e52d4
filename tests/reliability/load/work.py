"""What goes on in the load tool: publishers of every kind, and readers that stay, come, go, lag and fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

from asyncbus import Event, EventBus, EventsLostError, InboxFullError, SubscriptionOverflowError
from asyncbus.options import WhenFull
from tests.reliability.trials import Figures, Violation

EVERY = 0.02
"""Seconds from one burst of the publisher to the next, where the disk is as fast."""

BURST = 100
"""Events of a burst: together 5,000 a second."""

MOMENT = 0.01
"""Seconds that those who come and go stay at most."""

CLEAR_EVERY = 10
"""Rounds, so that the log never has more than about 100,000 events."""


class Work:
    """The parts that run for as long as the bus does, and `round`, what happens once a round.

    Args:
        bus: an open one.
        random: what and when.
        figures: what is counted.
    """

    def __init__(self, bus: EventBus, random: Random, figures: Figures) -> None:
        self._bus = bus
        self._random = random
        self._figures = figures
        self._number = 0
        self._handled = 0
        bus.subscribe("load.*", self._handle)
        bus.subscribe("load.*", self._fail_sometimes, capacity=64)

    def parts(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """What runs beside each other until it is cancelled."""
        return (
            self._publish,
            lambda: self._iterate("catch_up", capacity=1024, pause=0.0),
            lambda: self._iterate("catch_up", capacity=64, pause=0.5),
            lambda: self._iterate("drop_oldest", capacity=64, pause=0.1),
            lambda: self._iterate("fail", capacity=500, pause=0.3),
            self._come_and_go,
        )

    # ------------------------------------------------------------------------------------------------- publishers

    def _next(self) -> tuple[str, dict[str, Any]]:
        self._number += 1
        return f"load.kind_{self._number % 50}", {"number": self._number, "text": "x" * (self._number % 100)}

    async def _publish(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await self._burst()
            await asyncio.sleep(due - loop.time())

    async def _burst(self) -> None:
        bus = self._bus
        for _ in range(BURST - 20):
            with suppress(InboxFullError):
                bus.publish_nowait(*self._next())
                self._figures["published"] += 1
        await bus.publish_many([self._next() for _ in range(15)])
        await bus.publish(*self._next(), key="vm-1", metadata={"trace": "1"})
        await bus.publish(*self._next(), ack="accepted")
        await asyncio.to_thread(bus.publish_from_thread, *self._next(), timeout=10)
        for _ in range(2):  # the second is a duplicate of the first
            await bus.publish("load.once", 1, id=f"once-{self._number}")
        self._figures["published"] += 19  # what was waited for, without the duplicate

    # ---------------------------------------------------------------------------------------------------- readers

    async def _handle(self, event: Event) -> None:
        self._handled = event.sequence

    def _fail_sometimes(self, event: Event) -> None:
        if event.sequence % 500 == 0:
            self._figures["failures of handlers"] += 1
            raise ValueError("a handler that fails now and then")

    async def _iterate(self, when_full: WhenFull, *, capacity: int, pause: float) -> None:
        """Read on and on, resting after every thousand events, and begin again where that is too slow."""
        while True:
            last = 0
            with suppress(EventsLostError, SubscriptionOverflowError):
                async with self._bus.subscribe("load.*", capacity=capacity, when_full=when_full) as events:
                    async for event in events:
                        if event.sequence <= last:
                            raise Violation(f"event {event.sequence} after event {last}")
                        last = event.sequence
                        self._figures["read"] += 1
                        if pause and event.sequence % 1000 == 0:
                            await asyncio.sleep(pause)
            self._figures["subscriptions that lost or overflowed"] += 1

    async def _come_and_go(self) -> None:
        """Subscriptions that live for a moment, and those who wait for an event or give up."""
        while True:
            kind = f"load.kind_{self._random.randrange(60)}"
            async with self._bus.subscribe((kind, "load.kind_1*"), start="latest") as events:
                await anext(events)
            waiting = asyncio.ensure_future(self._bus.wait_for(kind, lambda event: True))
            await asyncio.sleep(self._random.random() * MOMENT)
            waiting.cancel()
            publishing = asyncio.create_task(self._bus.publish(*self._next()))
            await asyncio.sleep(0)
            publishing.cancel()
            with suppress(TimeoutError):
                await self._bus.wait_for("load.never", timeout=MOMENT)
            self._figures["subscriptions that came and went"] += 3

    # ----------------------------------------------------------------------------------------------------- history

    async def round(self, number: int) -> None:
        """Look into the past in each way there is, and now and then remove it."""
        bus = self._bus
        await bus.drain(timeout=60)
        head = await bus.latest_sequence()
        if self._handled > head:
            raise Violation(f"handled event {self._handled}, and the head is {head}")
        start = max(head - 3000, 1)
        with suppress(EventsLostError):
            last = 0
            async for event in bus.replay("load.kind_1*", start=start):
                if event.sequence <= last:
                    raise Violation(f"replayed event {event.sequence} after event {last}")
                last = event.sequence
        await bus.query("load.*", key="vm-1", limit=200, newest_first=True)
        await bus.query("load.kind_7", where=lambda event: event.data["number"] % 2 == 0, limit=100)
        bus.recent("load.kind_2*")
        if not bus.health().ok:
            raise Violation(f"the bus is not well: {bus.health()}")
        if number % CLEAR_EVERY == 0:
            await bus.clear()
            self._figures["clears"] += 1
