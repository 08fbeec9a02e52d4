"""What the tests of durable consumers share: handlers that are watched, held or fail, states, a log after a crash."""

import asyncio
import copy
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from asyncbus import Consumer, DeadLetter, Delivery, Event, EventBus, Retry
from asyncbus.store.consumers import ConsumerStore
from tests.behaviour.stage import Log, ticks, until

ONCE = Retry(attempts=1)
THREE_AT_ONCE = Retry(attempts=3, backoff=0)
FIVE_AT_ONCE = Retry(attempts=5, backoff=0)
"""What failed comes again without waiting."""

_copies = count(1)


class Handler:
    """Notes what it is called with and how many events it has at once; `hold` makes it wait.

    Args:
        act: called with each delivery, and awaited, before it returns.

    Attributes:
        got: sequence and attempt of each call, in their order.
        done: sequences of the calls that returned, in their order.
        running: sequences it has now.
        most: how many it had at once.
    """

    def __init__(self, act: Callable[[Delivery], Awaitable[Any]] | None = None) -> None:
        self._act = act
        self.got: list[tuple[int, int]] = []
        self.done: list[int] = []
        self.running: list[int] = []
        self.most = 0
        self._held: dict[int, asyncio.Event] = {}

    def hold(self, *sequences: int) -> None:
        """Have it wait at these events until they are released."""
        self._held.update((sequence, asyncio.Event()) for sequence in sequences)

    def release(self, *sequences: int) -> None:
        """Let it go on at these events, or at all."""
        for sequence in sequences or tuple(self._held):
            self._held.pop(sequence).set()

    @property
    def sequences(self) -> list[int]:
        """What it was called with, in order."""
        return [sequence for sequence, _ in self.got]

    async def __call__(self, event: Event, delivery: Delivery) -> None:
        self.got.append((event.sequence, delivery.attempt))
        self.running.append(event.sequence)
        self.most = max(self.most, len(self.running))
        try:
            if event.sequence in self._held:
                await self._held[event.sequence].wait()
            if self._act is not None:
                await self._act(delivery)
            self.done.append(event.sequence)
        finally:
            self.running.remove(event.sequence)


def failing(*sequences: int, times: int = 1) -> Callable[[Delivery], Awaitable[None]]:
    """What a handler does: fail at these events in their first attempts."""

    async def act(delivery: Delivery) -> None:
        if delivery.event.sequence in sequences and delivery.attempt <= times:
            raise RuntimeError(f"event {delivery.event.sequence}, attempt {delivery.attempt}")

    return act


class FailingHandler:
    """Fails at some events in all their attempts, and waits while its gate is closed; `handle` is what to consume with.

    Attributes:
        got: the sequences it was called with.
        done: those it has returned from.
        failing: for these it raises `error`.
        gate: it waits while this is cleared.
    """

    def __init__(self, failing: Collection[int] = (), error: Exception | None = None) -> None:
        self.got: list[int] = []
        self.done: list[int] = []
        self.failing = set(failing)
        self.error = ValueError("no such block") if error is None else error
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, event: Event) -> None:
        self.got.append(event.sequence)
        await self.gate.wait()
        if event.sequence in self.failing:
            raise self.error.with_traceback(None)  # or each raise would lengthen it
        self.done.append(event.sequence)


async def passing(consumer: Consumer, sequence: int) -> None:
    """Wait until nothing up to a sequence is owed."""
    await until(lambda: consumer.checkpoint >= sequence)


async def settled(bus: EventBus, name: str = "one") -> None:
    """Wait until a consumer owes nothing."""
    await bus.wait_processed(name, await bus.latest_sequence())


async def quiet(bus: EventBus) -> None:
    """Wait until nothing more is stored of itself."""
    batches = -1
    while batches != bus.statistics().batches:
        batches = bus.statistics().batches
        await ticks(50)
        await bus.flush()


async def publish_keys(bus: EventBus, *keys: str | None, type: str = "a") -> None:
    """One event for each key, each committed by itself."""
    for key in keys:
        await bus.publish(type, key=key)


async def publish_batch(bus: EventBus, count: int, type: str = "a") -> int:
    """So many events in one batch; the sequence of the last one."""
    receipts = await bus.publish_many([(type, number) for number in range(1, count + 1)])
    return receipts[-1].sequence


def parked(letters: Iterable[DeadLetter]) -> list[int]:
    """The sequences of the events."""
    return [letter.event.sequence for letter in letters]


async def handled_events(bus: EventBus, count: int) -> tuple[Consumer, FailingHandler]:
    """A consumer, "one", which owes nothing of so many events; and its handler, which has got all of them."""
    handling = FailingHandler()
    consumer = bus.consume("one", "a", handling.handle)
    await publish_batch(bus, count)
    await settled(bus)
    return consumer, handling


async def parked_events(bus: EventBus, count: int, name: str = "one") -> FailingHandler:
    """A consumer all of whose events were parked; the handler, which fails no more."""
    handling = FailingHandler(failing=range(1, count + 1))
    bus.consume(name, "a", handling.handle, retry=ONCE)
    await publish_batch(bus, count)
    await settled(bus, name)
    assert parked(await bus.dead_letters(name)) == list(range(1, count + 1))
    handling.failing.clear()
    handling.got.clear()
    return handling


async def states(log: Log) -> dict[str, Any]:
    """What is stored, by the name of the consumer."""
    async with log.bus() as bus:
        store: Any = bus._store
        return {state.name: state for state in await store.consumers()}


def keeping(log: Log) -> ConsumerStore:
    """The store of a log, to look at what it keeps for consumers."""
    store = log.store()
    assert isinstance(store, ConsumerStore)
    return store


def crashed(log: Log, folder: Path) -> Log:
    """The log as it would be found if the process that has it open were killed now."""
    found = Log(log.kind, folder)
    if log.kind == "memory":
        found._memory = copy.deepcopy(log._memory)
        return found
    found.path = folder / f"crashed-{next(_copies)}.db"
    with closing(sqlite3.connect(log.path)) as connection:
        connection.execute("VACUUM INTO ?", [str(found.path)])
    return found
