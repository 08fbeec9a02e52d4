"""Time, as the bus asks for it; a test hands in its own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What a bus needs to know of time."""

    def now(self) -> int:
        """Microseconds since 1970 UTC, as the wall clock says; it may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from some moment on; they never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait as `asyncio.sleep` does."""
        await asyncio.sleep(seconds)
