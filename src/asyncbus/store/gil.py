"""Gives the GIL up now and then, so that the SQLite thread is not starved by a busy event loop.

A thread that waits for the GIL asks for it after 5 ms, but the count starts anew whenever the GIL changes hands. A loop
whose tasks compute for some milliseconds and then yield lets it go and takes it back at each turn (its selector does),
so the SQLite thread may never get it: 0 events in 6 seconds were measured. While an operation is in flight, a timer
sleeps now and then for a moment, in which the waiting thread takes the GIL. An operation that has only just begun is
not helped: on an idle loop a commit takes less than a millisecond, and the moment would cost it a tenth of one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

TICK: Final = 0.004
"""Seconds between such moments, below the interpreter's switch interval."""

_YOUNG: Final = TICK / 4
"""Seconds for which an operation may be on its way before it is helped."""

_PAUSE: Final = 50e-6


class GilYielder:
    """A context held while an operation runs on the SQLite thread; without one in flight there is no timer.

    Args:
        pause: lets other threads have the GIL for this many seconds.
    """

    def __init__(self, pause: Callable[[float], object] = time.sleep) -> None:
        self._pause = pause
        self._in_flight = 0
        # When the last operation began that found no other in flight, by the loop's clock.
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._in_flight:
            self._since = loop.time()
        self._in_flight += 1
        if self._timer is None or self._loop is not loop:  # a loop that was closed never fired it
            self._loop = loop
            self._set_timer(loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_flight -= 1

    def give_up(self) -> None:
        """Let another thread have the GIL at once, and not only after the interpreter's switch interval."""
        self._pause(_PAUSE)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(TICK, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if not self._in_flight:
            return
        if loop.time() - self._since >= _YOUNG:
            self.give_up()
        self._set_timer(loop)
