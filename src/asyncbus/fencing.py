"""Lets each event have its effect once in a database of the user's, whose transactions say which had it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
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
        # One transaction at a time, as one connection has.
        self._lock = asyncio.Lock()

    @property
    def checkpoint(self) -> int:
        """Every matching event at or below it has had its effect, or was parked or skipped."""
        return self._fence.checkpoint

    async def load(self) -> bool:
        """Ask the database; False: it does not know the consumer."""
        text = await self._effects.load(self._consumer)
        if text is not None:
            self._fence = Fence.from_text(text, self._consumer)
        return text is not None

    async def move(self, checkpoint: int) -> None:
        """Tell it where the consumer goes on: what comes after has its effect, perhaps once more."""
        fence = self._fence.at(checkpoint)
        async with self._lock, self._effects.transaction(self._consumer, fence.to_text()):
            pass
        self._fence = fence

    async def apply(self, held: Held, checkpoint: Callable[[], int], call: Callable[[], Any]) -> None:
        """Run a handler in a transaction that also says that this event has had its effect, if it has not.

        Args:
            held: the event.
            checkpoint: gives where the consumer's will be once this event is done.
            call: the handler.
        """
        async with self._lock:
            is_retried = held.parked is not None
            if self._fence.has(held.record.sequence, retried=is_retried):
                return
            fence = self._fence.with_applied(held.record.sequence, checkpoint(), retried=is_retried)
            async with self._effects.transaction(self._consumer, fence.to_text()):
                outcome = call()
                if inspect.isawaitable(outcome):
                    await outcome
            self._fence = fence
