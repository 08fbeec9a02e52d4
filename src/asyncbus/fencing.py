"""Lets each event have its effect once in a database of the user's, whose transactions say which had it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection
from typing import Any

from asyncbus.effects import Effects
from asyncbus.fence import Fence
from asyncbus.ledger import Held


class Fencing:
    """What a consumer knows of its effects.

    Args:
        consumer: its name.
        effects: where they are kept.
    """

    def __init__(self, consumer: str, effects: Effects) -> None:
        self._consumer = consumer
        self._effects = effects
        self._fence = Fence()
        # Whether the fence is what the database holds; not where a commit was cancelled or has failed.
        self._is_known = True
        # One transaction at a time, as one connection has.
        self._lock = asyncio.Lock()
        self.turn = asyncio.Lock()
        """Held by whoever goes on to `apply`: the time a handler has does not run while it waits for others."""

    @property
    def checkpoint(self) -> int:
        """Every matching event at or below it has had its effect, or was parked or skipped."""
        return self._fence.checkpoint

    async def load(self) -> bool:
        """Ask the database; False: it does not know the consumer."""
        text = await self._effects.load(self._consumer)
        self._fence = Fence() if text is None else Fence.from_text(text, self._consumer)
        self._is_known = True
        return text is not None

    async def move(self, checkpoint: int) -> None:
        """Tell it where the consumer goes on: what comes after has its effect, perhaps once more."""
        async with self._lock:
            await self._save(self._fence.at(checkpoint))

    async def pass_by(self, checkpoint: int) -> None:
        """Tell it how far the consumer is, also by what it has given up and will not have any effect."""
        async with self._lock:
            if not self._is_known:
                await self.load()
            if checkpoint > self.checkpoint:
                await self._save(self._fence.passing(checkpoint))

    def forget(self, sequences: Collection[int]) -> None:
        """These dead letters are done, and durably gone; the database is told with the next effect."""
        self._fence = self._fence.forgetting(sequences)

    async def _save(self, fence: Fence) -> None:
        self._is_known = False
        async with self._effects.transaction(self._consumer, fence.to_text()):
            pass
        self._fence = fence
        self._is_known = True

    async def apply(self, held: Held, checkpoint: Callable[[], int], call: Callable[[], Any]) -> None:
        """Run a handler in a transaction that also says that this event has had its effect, if it has not.

        Args:
            held: the event.
            checkpoint: gives where the consumer's will be once this event is done.
            call: the handler.
        """
        async with self._lock:
            if not self._is_known:
                await self.load()
            is_retried = held.parked is not None
            if self._fence.has(held.record.sequence, retried=is_retried):
                return
            fence = self._fence.with_applied(held.record.sequence, checkpoint(), retried=is_retried)
            async with self._effects.transaction(self._consumer, fence.to_text()):
                outcome = call()
                if inspect.isawaitable(outcome):
                    await outcome
                self._is_known = False  # it may be committed from here on, also where this is cancelled
            self._fence = fence
            self._is_known = True
