"""Offers committed events to those who want them, and never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from asyncbus.events import Record
from asyncbus.futures import resolve
from asyncbus.history import History
from asyncbus.patterns import Pattern, PatternIndex, Ranked
from asyncbus.store.base import Appended


class Receiver(Ranked, Protocol):
    """What committed events are offered to."""

    @property
    def name(self) -> str:
        """How to call it in statistics."""
        ...

    @property
    def reader(self) -> asyncio.Task[object] | None:
        """The task that takes what is offered, where it is known."""
        ...

    def offer(self, records: Sequence[Record]) -> None:
        """Take committed records that it wants, ascending, or remember that it has to read them later."""
        ...

    def wake(self) -> None:
        """Let whoever waits for records go on."""
        ...


class Fanout:
    """Event type → receivers; all committed events pass here, so that all see the same order.

    Args:
        history: moved on with each batch.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        # On which receivers may wait for more; None before the bus is open.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._index: PatternIndex[Receiver] = PatternIndex()
        self._blockers: dict[Receiver, None] = {}
        self._unblocked: asyncio.Future[None] | None = None

    def add(self, pattern: Pattern, receiver: Receiver) -> None:
        """Offer it matching events from the next batch on."""
        self._index.add(pattern, receiver)

    def remove(self, pattern: Pattern, receiver: Receiver) -> None:
        """Offer it nothing more, not even of the batch that is being offered."""
        self._index.remove(pattern, receiver)
        self.unblock(receiver)

    def dispatch(self, records: Sequence[Record], appended: Appended) -> None:
        """Offer one committed batch: in runs of events that have the same receivers, then one wake-up for each."""
        self.history.add(records, appended.floor)
        receivers_of = self._index.receivers
        offered: dict[tuple[Receiver, ...], None] = {}
        receivers: tuple[Receiver, ...] = ()
        begin = 0
        for place, record in enumerate(records):
            wanted_by = receivers_of(record.type)
            if wanted_by is not receivers:
                self._offer(receivers, records[begin:place])
                # Looked up again: who was just offered something may have left.
                receivers, begin = receivers_of(record.type), place
                offered[receivers] = None
        self._offer(receivers, records[begin:] if begin else records)
        self._wake(offered)

    @staticmethod
    def _offer(receivers: tuple[Receiver, ...], records: Sequence[Record]) -> None:
        for receiver in receivers:
            receiver.offer(records)

    @staticmethod
    def _wake(offered: dict[tuple[Receiver, ...], None]) -> None:
        if len(offered) == 1:
            woken = next(iter(offered))
        else:
            each = {receiver: None for receivers in offered for receiver in receivers}
            woken = tuple(sorted(each, key=lambda receiver: receiver.rank))
        for receiver in woken:
            receiver.wake()

    # ------------------------------------------------------------------------------------------ when_full="block"

    @property
    def blockers(self) -> tuple[Receiver, ...]:
        """Those whose full queues keep the writer from its next batch."""
        return tuple(self._blockers)

    def block(self, receiver: Receiver) -> None:
        """Keep the writer from its next batch until `unblock`."""
        self._blockers[receiver] = None

    def unblock(self, receiver: Receiver) -> None:
        """Undo `block`, if it was."""
        if receiver in self._blockers:
            del self._blockers[receiver]
            if self._unblocked is not None:
                resolve(self._unblocked, None)

    async def change_of_blockers(self) -> None:
        """Wait until one of the blockers has left."""
        self._unblocked = asyncio.get_running_loop().create_future()
        await self._unblocked
