"""A clock that stands still, for tests of what happens after a while."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from asyncbus.events import from_microseconds, to_microseconds
from asyncbus.futures import resolve

_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Time that stands still until `advance`, which wakes who sleeps when his time has come.

    Hand it in as `EventBus(clock=…)`: retries, pauses between attempts and paced replays then take no time, and events
    occur when the test says so. Each look at the stopwatch takes a nanosecond, so that nothing takes no time at all.

    Args:
        start: the moment at which it stands, aware; None: 2026-01-01, UTC.

    Attributes:
        sleeps: the seconds for which anybody slept, in the order in which they began.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self.sleeps: list[float] = []
        self._microseconds = to_microseconds("start", _BEGIN if start is None else start)
        self._looks = 0
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def moment(self) -> datetime:
        """The moment at which it stands, in UTC."""
        return from_microseconds(self._microseconds)

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return self._microseconds

    def monotonic(self) -> float:
        """Seconds; they grow with `advance`, and by a nanosecond with each look."""
        self._looks += 1
        return self._microseconds / 1e6 + self._looks / 1e9

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has advanced as far."""
        self.sleeps.append(round(seconds, 6))
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._microseconds + round(seconds * 1e6), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Let time pass; who sleeps until then goes on in the loop's next turns.

        Args:
            seconds: how much.
        """
        self._microseconds += round(seconds * 1e6)
        for due, woken in self._sleepers:
            if due <= self._microseconds:
                resolve(woken, None)
        self._sleepers = [(due, woken) for due, woken in self._sleepers if not woken.done()]
