"""A task that goes on whoever is cancelled while waiting for it, and that no cancellation keeps from beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Shielded:
    """Work that must be done, in a task of its own that is made at once.

    Where a loop is shut down all tasks are cancelled, also one that has not made its first step, and so could neither
    finish nor clean up. Then whoever waits for it begins it again.

    Args:
        work: makes the coroutine.
        name: of the task.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._work = work
        self._name = name
        self._has_begun = False
        self._task = self._begin()

    def _begin(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._run(), name=self._name)

    async def _run(self) -> None:
        self._has_begun = True
        await self._work()

    async def finished(self) -> None:
        """Wait for its end, and raise what it raised; cancelling this does not stop it."""
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if self._task.cancelling() and not self._has_begun:  # so it never will
                again = self._task = self._begin()
                await asyncio.shield(again)
            raise
