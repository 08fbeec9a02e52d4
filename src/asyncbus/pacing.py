"""The spacing of a replay."""

from __future__ import annotations

from asyncbus.clock import Clock
from asyncbus.events import Record


class Pace:
    """Keeps the recorded spacing between events, without adding up what each wait is off."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self._began: float | None = None
        self._first = 0

    async def wait_for(self, record: Record) -> None:
        """Wait until it is time for `record`."""
        if self._began is None:
            self._began, self._first = self._clock.monotonic(), record.time
        due = self._began + (record.time - self._first) / 1e6 / self._speed
        await self._clock.sleep(max(due - self._clock.monotonic(), 0))
