"""What consumers store shares commits, and what they wait for waits for no large batch."""

from collections.abc import Sequence

import pytest

import asyncbus
from asyncbus.events import Record
from asyncbus.store.base import Appended
from asyncbus.store.consumers import Change, ConsumerState
from tests.fakes import until

pytestmark = pytest.mark.asyncio

MANY = 600
"""Events of a batch that is a large one."""


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


async def test_what_consumers_wait_for_goes_before_a_large_batch() -> None:
    store = NotingStore()
    async with asyncbus.EventBus(store) as bus, bus.consume("one", "a.*", ack="manual") as deliveries:
        await bus.publish("a.b")
        delivery = await anext(deliveries)
        await bus.flush()
        store.commits.clear()

        waiting = await bus.publish("b.c", ack="accepted")
        for _ in range(MANY):
            waiting = await bus.publish("b.c", ack="accepted")
        await delivery.ack()
        await waiting

    stored, states = store.commits[0]
    assert stored == 0
    assert states[0].checkpoint == delivery.event.sequence
    assert store.commits[1][0] == MANY + 1


async def test_and_with_a_small_one() -> None:
    store = NotingStore()
    async with asyncbus.EventBus(store) as bus, bus.consume("one", "a.*", ack="manual") as deliveries:
        await bus.publish("a.b")
        delivery = await anext(deliveries)
        await bus.flush()
        store.commits.clear()

        waiting = await bus.publish("b.c", ack="accepted")
        await delivery.ack()
        await waiting

    stored, states = store.commits[0]
    assert stored == 1
    assert states[0].checkpoint == delivery.event.sequence
