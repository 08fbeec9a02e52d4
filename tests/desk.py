"""A writer at work, for tests of what it does: where publishers hand in and what it passes on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from asyncbus.batch import Submission
from asyncbus.events import Record
from asyncbus.inbox import Inbox
from asyncbus.receipts import PendingReceipt
from asyncbus.store.base import Appended
from asyncbus.store.memory import MemoryStore
from asyncbus.writer import Writer
from tests.fakes import ManualClock, sequences, submission


class Desk:
    """A writer at work, what it passes on, and a way to publish."""

    def __init__(self, store: MemoryStore, clock: ManualClock, batch_limit: int) -> None:
        self.clock = clock
        self.inbox = Inbox(100, 10_000, set)
        self.inbox.start(batch_limit)
        self.committed: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0
        self.writer = Writer(
            store, self.inbox, clock, on_committed=self._note, until_readers_allow=self._until_readers_allow
        )

    def _note(self, records: Sequence[Record], appended: Appended) -> None:
        self.committed.append(sequences(records))

    async def _until_readers_allow(self) -> None:
        self.asked += 1
        await self.gate.wait()

    def publish(self, type: str = "a", data: Any = None, **options: Any) -> PendingReceipt:
        proposed = submission(type, data, **options)
        assert self.inbox.put(proposed)
        return PendingReceipt(proposed, self.inbox)

    def publish_many(self, group: list[Submission]) -> list[PendingReceipt]:
        assert self.inbox.put_group(group)
        return [PendingReceipt(proposed, self.inbox) for proposed in group]


@asynccontextmanager
async def writing(
    store: MemoryStore, *, recorded_at: int = 0, clock: ManualClock | None = None, batch_limit: int = 100
) -> AsyncIterator[Desk]:
    await store.open()
    desk = Desk(store, clock or ManualClock(), batch_limit)
    running = asyncio.create_task(desk.writer.run(recorded_at))
    try:
        yield desk
    finally:
        desk.inbox.close("the test is over")
        desk.gate.set()
        await running


async def outcomes(receipts: Sequence[PendingReceipt]) -> list[Any]:
    return await asyncio.gather(*receipts, return_exceptions=True)
