"""What a test hands in instead of the world (a clock, stores that fail or wait), and how it waits for a state."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asyncbus.batch import Batch, Submission
from asyncbus.codec import decode
from asyncbus.encoder import Encoder
from asyncbus.events import Event, Record
from asyncbus.fanout import Fanout
from asyncbus.history import History
from asyncbus.inbox import Inbox
from asyncbus.options import Start, WhenFull
from asyncbus.patterns import Pattern
from asyncbus.store.base import Appended, Bounds, Features, Page
from asyncbus.store.memory import MemoryStore
from asyncbus.subscription import Subscription

PATIENCE = 20.0
"""Seconds after which a state is held to be never reached."""

MOMENT = 1_700_000_000_000_000
"""In microseconds since 1970, where a manual clock begins."""


async def until(reached: Callable[[], object]) -> None:
    """Let the others run until a state is reached."""
    async with asyncio.timeout(PATIENCE):
        while not reached():  # noqa: ASYNC110  # the states are attributes, which set no event
            await asyncio.sleep(0)


class ManualClock:
    """Time that stands still until a test moves it; sleeping moves it at once."""

    def __init__(self, now: int = MOMENT) -> None:
        self.microseconds = now
        self.slept: list[float] = []
        self._monotonic = 0.0

    def now(self) -> int:
        return self.microseconds

    def monotonic(self) -> float:
        return self._monotonic

    def pass_by(self, seconds: float) -> None:
        self._monotonic += seconds
        self.microseconds += round(seconds * 1e6)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_by(seconds)
        await asyncio.sleep(0)


_encoder = Encoder(2**20, lambda: MOMENT)


def submission(type: str = "a", data: Any = None, **options: Any) -> Submission:
    """What the inbox gets for one published event."""
    return _encoder.submission(type, data, **options)


def submissions(*types: str, **options: Any) -> list[Submission]:
    """One for each type, with its place among them as data."""
    return [submission(type, place, **options) for place, type in enumerate(types)]


def recorded(*types: str, first: int = 1, at: int = MOMENT) -> list[Record]:
    """Records as a store hands them out, numbered from `first` on."""
    return [Record(sequence, at, at, type, str(sequence), 0) for sequence, type in enumerate(types, first)]


def sequences(events: Sequence[Record] | Sequence[Event]) -> list[int]:
    return [event.sequence for event in events]


# --- the publishers' half of a bus -----------------------------------------------------------------------------------


def inbox_of(
    capacity: int = 10,
    max_bytes: int = 1000,
    batch_limit: int = 100,
    barred: Callable[[], set[asyncio.Task[Any] | None]] = set,
) -> Inbox:
    """One that belongs to the running loop."""
    inbox = Inbox(capacity, max_bytes, barred)
    inbox.start(batch_limit)
    return inbox


async def take_batch(inbox: Inbox) -> Batch:
    """What the writer takes next."""
    batch = await inbox.take()
    assert batch is not None
    return batch


async def has_ended(inbox: Inbox) -> bool:
    """Whether the writer gets no more from it, when it has got something to know."""
    return await inbox.take() is None


async def taken(inbox: Inbox) -> list[str]:
    """The types of the next batch."""
    return [each.type for each in (await take_batch(inbox)).submissions]


async def in_line(inbox: Inbox, group: Sequence[Submission]) -> asyncio.Task[None]:
    """A task that waits in line for room."""
    waiting = inbox.waiting
    task = asyncio.create_task(inbox.wait_in_line(group))
    await until(lambda: inbox.waiting == waiting + 1)
    return task


# --- stores ----------------------------------------------------------------------------------------------------------


class GatedStore(MemoryStore):
    """Holds appends and reads back while its gates are closed."""

    def __init__(self, *, max_events: int | None = None) -> None:
        super().__init__(max_events=max_events)
        self.may_append = asyncio.Event()
        self.may_append.set()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.batches: list[int] = []
        self.appending = 0
        self.reading = 0

    async def append(self, records: Sequence[Record]) -> Appended:
        await self.hold(records)
        return await super().append(records)

    async def hold(self, records: Sequence[Record]) -> None:
        self.batches.append(len(records))
        self.appending += 1
        await self.may_append.wait()
        self.appending -= 1

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        self.reading += 1
        try:  # a reader may be cancelled, the writer never is
            await self.may_read.wait()
        finally:
            self.reading -= 1
        return await super().read(after, pattern, limit)


class FailingStore(GatedStore):
    """Fails the appends whose numbers (from 1 on) are given, before anything is stored."""

    def __init__(self, failures: Mapping[int, Exception]) -> None:
        super().__init__()
        self.failures = dict(failures)

    async def append(self, records: Sequence[Record]) -> Appended:
        number = len(self.batches) + 1
        await self.hold(records)
        if number in self.failures:
            raise self.failures[number]
        return await MemoryStore.append(self, records)


class FollowedStore(MemoryStore):
    """Read-only for the bus; the test appends as another process would, and `told` is how it hears of it."""

    def __init__(self, *, max_events: int | None = None) -> None:
        super().__init__(max_events=max_events)
        self.told = asyncio.Event()
        self.looks = 0

    @property
    def features(self) -> Features:
        return Features(read_only=True)

    async def changed(self) -> None:
        self.looks += 1
        await self.told.wait()
        self.told.clear()


# --- the readers' half of a bus --------------------------------------------------------------------------------------


class Log:
    """A store, its history and a fan-out, without a writer: what a test commits is offered at once."""

    def __init__(self, store: MemoryStore | None = None, *, recent_capacity: int = 8192) -> None:
        self.store = MemoryStore() if store is None else store
        self.history = History(self.store, recent_capacity)
        self.fanout = Fanout(self.history)
        self.ended: list[Subscription] = []
        self._rank = 0

    async def open(self, *types: str) -> Bounds:
        """Open it on a store that holds events of these types already."""
        if types:
            await self.store.append(submissions(*types))
        bounds = await self.store.open()
        self.history.begin(bounds)
        return bounds

    async def commit(self, *types: str, at: int = MOMENT) -> list[Submission]:
        """One batch."""
        batch = submissions(*types)
        for record in batch:
            record.recorded_at = at
        appended = await self.store.append(batch)
        self.fanout.dispatch(batch, appended)
        return batch

    def subscription(
        self,
        pattern: object = "*",
        *,
        start: Start = "latest",
        capacity: int = 1024,
        when_full: WhenFull = "catch_up",
        where: Callable[[Event], object] | None = None,
        priority: int = 0,
        handled: bool = False,
    ) -> Subscription:
        """One that takes part from now on."""
        self._rank += 1
        made = Subscription(
            Pattern.parse(pattern),
            name=str(pattern),
            start=start,
            capacity=capacity,
            when_full=when_full,
            where=where,
            rank=(-priority, self._rank),
            handled=handled,
            on_end=self.ended.append,
        )
        made.attach(self.fanout)
        return made


async def opened(*types: str, store: MemoryStore | None = None) -> Log:
    """A log whose store held events of these types already, so that only the store has them."""
    log = Log(store)
    await log.open(*types)
    return log


async def next_of(subscription: Subscription) -> asyncio.Task[Event]:
    """A task that waits for the next event."""
    task = asyncio.create_task(anext(subscription))
    await until(lambda: subscription._waiter is not None)
    return task


async def take(subscription: Subscription, count: int) -> list[int]:
    """The sequences of its next events."""
    async with asyncio.timeout(PATIENCE):
        return [(await anext(subscription)).sequence for _ in range(count)]


def event(type: str = "a", data: str = "null", **fields: Any) -> Event:
    """One as a subscriber gets it."""
    values = {"sequence": 1, "recorded_at": MOMENT, "time": MOMENT, "checksum": 0} | fields
    return Event(Record(type=type, data=data, **values), decode)
