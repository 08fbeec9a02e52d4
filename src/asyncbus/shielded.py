"""A task that goes on whoever is cancelled while waiting for it, and that no cancellation keeps from beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import CancelScope


class Shielded:
    """Work that must be done, in a task of its own that is made at once.

    Where a loop is shut down all tasks are cancelled, also one that has not made its first step, and so could neither
    finish nor clean up. Then it is begun again.

    Args:
        work: makes the coroutine.
        name: of the task.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._work = work
        self._name = name
        self._has_begun = False
        self._was_in_vain = False
        self._task = self._begin()

    def _begin(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(), name=self._name)
        task.add_done_callback(self._begin_again)
        return task

    async def _run(self) -> None:
        self._has_begun = True
        await self._work()

    def _begin_again(self, ended: asyncio.Task[None]) -> None:
        if ended.cancelled() and not self._has_begun:
            self._was_in_vain = True
            self._task = self._begin()

    async def finished(self) -> None:
        """Wait for its end, and raise what it raised; cancelling this does not stop it."""
        try:
            await self._ended()
        except asyncio.CancelledError:
            if not self._has_begun and (self._was_in_vain or self._task.cancelling()):
                await self._ended()  # the loop is being shut down, and waits for nothing that is new
            raise
        self._task.result()

    async def _ended(self) -> None:
        ended = None
        while ended is not self._task:
            ended = self._task
            await asyncio.wait([ended])


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do some work and wait for it, however often this is cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    cancelled = None
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    failed = None if task.cancelled() else task.exception()
    if cancelled is not None:
        raise cancelled from failed
    task.result()
