"""What consumers store shares commits."""

from collections.abc import Sequence

import pytest

import asyncbus
from asyncbus.events import Record
from asyncbus.store.base import Appended
from asyncbus.store.consumers import Change, ConsumerState
from tests.fakes import until

pytestmark = pytest.mark.asyncio


class NotingStore(asyncbus.MemoryStore):
    """Notes of each commit how many events it has stored, and the states of consumers."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[int, list[ConsumerState]]] = []

    async def append(self, records: Sequence[Record]) -> Appended:
        self.commits.append((len(records), []))
        return await super().append(records)

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        appended = await super().commit(records, changes)  # by `append`
        self.commits[-1] = len(records), [change for change in changes if isinstance(change, ConsumerState)]
        return appended


async def test_that_an_event_is_done_is_stored_with_the_beginning_of_the_next_one() -> None:
    store = NotingStore()
    async with asyncbus.EventBus(store) as bus:
        await bus.publish_many([("a.b", number) for number in range(20)])
        store.commits.clear()

        bus.consume("one", "a.*", lambda event: None)
        await bus.wait_processed("one", 20)
        await until(lambda: store.commits[-1][1][0].checkpoint == 20)

    begun = [states[0].begun_to for _, states in store.commits]
    # Its name, each event, and that the last one is done.
    assert begun[:22] == [0, *range(1, 21), 20]
