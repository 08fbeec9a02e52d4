"""Random scenes of publishers and readers, and the model they are compared with: what the store committed.

Each seed is a scene with actors of its own; `play` compares what every subscription got with what it was owed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from asyncbus import (
    AsyncBusError,
    Event,
    EventBus,
    EventsLostError,
    InboxFullError,
    PendingReceipt,
    PublishOutcomeUnknownError,
    Receipt,
    StoreFullError,
    Subscription,
    SubscriptionOverflowError,
)
from tests.behaviour.stage import StagedStore, content, ticks, until

T = TypeVar("T")
WhenFull = Literal["catch_up", "block", "drop_oldest", "fail"]
Pattern = str | tuple[str, ...]

TYPES = ("a", "a.b", "a.c", "b", "b.d.e")
PATTERNS: tuple[Pattern, ...] = ("*", "*", "a", "a.*", "a*", ("a.b", "b*"), "b.d.*")
WHEN_FULL: tuple[WhenFull, ...] = ("catch_up", "catch_up", "catch_up", "block", "drop_oldest", "fail")


def wants(pattern: Pattern, type: str) -> bool:
    """The grammar of patterns, told a second time."""
    terms = (pattern,) if isinstance(pattern, str) else pattern
    return any(type.startswith(term[:-1]) if term.endswith("*") else type == term for term in terms)


@dataclass
class Reader:
    """A subscription, what it got, and from where on it is owed events."""

    pattern: Pattern
    when_full: WhenFull
    capacity: int
    owed_above: int
    owed_since: datetime | None
    subscription: Subscription
    got: list[tuple[int, str, Any]] = field(default_factory=list)
    error: AsyncBusError | None = None
    left: bool = False
    dropped: int = 0


@dataclass
class Scene:
    """The actors of one seed."""

    rng: random.Random
    bus: EventBus
    store: StagedStore
    removes: bool
    reading: asyncio.TaskGroup
    over: bool = False
    readers: list[Reader] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stored: dict[tuple[str, int], int] = field(default_factory=dict)
    not_stored: set[tuple[str, int]] = field(default_factory=set)
    groups: list[list[tuple[str, int]]] = field(default_factory=list)
    pending: list[tuple[tuple[str, int], PendingReceipt]] = field(default_factory=list)

    @property
    def head(self) -> int:
        return self.store.committed[-1].sequence if self.store.committed else 0

    # -------------------------------------------------------------------------------------------------- publishers

    async def publish(self, name: str, count: int) -> None:
        number = 0
        while number < count:
            members = [(name, number + offset) for offset in range(self.rng.choice((1, 1, 1, 1, 2, 5)))]
            number += len(members)
            with suppress(asyncio.CancelledError, PublishOutcomeUnknownError):
                try:
                    await self.publish_somehow(members)
                except (InboxFullError, StoreFullError, TimeoutError):
                    self.not_stored.update(members)
            await ticks(self.rng.choice((0, 0, 1, 3)))

    async def publish_somehow(self, members: list[tuple[str, int]]) -> None:
        type = self.rng.choice(TYPES)
        if len(members) > 1:
            self.groups.append(members)
            receipts = await self.sometimes_cancelled(self.bus.publish_many([(type, member) for member in members]))
            self.note(members, receipts)
            return
        match self.rng.choice(("stored", "stored", "accepted", "nowait", "timeout")):
            case "stored":
                self.note(members, [await self.sometimes_cancelled(self.bus.publish(type, members[0]))])
            case "timeout":
                self.note(members, [await self.bus.publish(type, members[0], timeout=self.rng.choice((0, 0.001)))])
            case "accepted":
                receipt = await self.sometimes_cancelled(self.bus.publish(type, members[0], ack="accepted"))
                self.pending.append((members[0], receipt))
            case _:
                self.pending.append((members[0], self.bus.publish_nowait(type, members[0])))

    async def flood(self, groups: int) -> None:
        """More than memory keeps of what was committed last."""
        capacity = 5
        for group in range(groups * 20):
            members = [("flood", group * capacity + number) for number in range(capacity)]
            self.groups.append(members)
            with suppress(StoreFullError):
                self.note(
                    members, await self.bus.publish_many([(self.rng.choice(TYPES), member) for member in members])
                )

    def publish_from_thread(self, name: str, count: int, rng: random.Random) -> None:
        for number in range(count):
            receipt = self.bus.publish_from_thread(rng.choice(TYPES), (name, number), timeout=15)
            self.pending.append(((name, number), receipt))
            if rng.random() < 0.2:
                with suppress(StoreFullError):
                    receipt.result(15)

    def note(self, members: list[tuple[str, int]], receipts: list[Receipt]) -> None:
        self.stored.update(zip(members, (receipt.sequence for receipt in receipts), strict=True))

    async def sometimes_cancelled(self, publishing: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(publishing)
        if self.rng.random() < 0.2:
            await ticks(self.rng.randrange(5))
            task.cancel()
        return await task

    async def settle(self) -> None:
        """Hear what became of all that was accepted; then one more, so that the last commit is one that succeeded."""
        for member, receipt in self.pending:
            try:
                self.note([member], [await receipt])
            except StoreFullError:
                self.not_stored.add(member)
        while ("last", 0) not in self.stored:
            with suppress(StoreFullError):
                self.note([("last", 0)], [await self.bus.publish("a", ("last", 0))])

    # ----------------------------------------------------------------------------------------------------- readers

    async def join_in(self, count: int) -> None:
        for _ in range(count):
            reader = self.subscribe()
            self.readers.append(reader)
            await ticks(self.rng.randrange(12))

    def subscribe(self) -> Reader:
        rng = self.rng
        start: Any = rng.choice(("latest", "earliest", "sequence", "moment"))
        above, since = self.head, None
        if start == "earliest" or (start == "moment" and (self.removes or not self.store.committed)):
            start, above = "earliest", self.store.floor
        elif start == "sequence":
            above = rng.randint(self.store.floor, self.head)
            start = above + 1
        elif start == "moment":
            recorded = rng.choice(self.store.committed).recorded_at + rng.choice((0, 0, 500))
            start = since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=recorded)
            above = 0
        pattern, when_full, capacity = rng.choice(PATTERNS), rng.choice(WHEN_FULL), rng.choice((1, 2, 5, 50))
        options: dict[str, Any] = {"start": start, "capacity": capacity, "when_full": when_full}
        options["priority"] = rng.randrange(3)
        if rng.random() < 0.5:
            reader = Reader(pattern, when_full, capacity, above, since, self.bus.subscribe(pattern, **options))
            self.reading.create_task(self.iterate(reader))
            return reader

        async def handle(event: Event) -> None:
            await self.handle(reader, event)

        reader = Reader(pattern, when_full, capacity, above, since, self.bus.subscribe(pattern, handle, **options))
        return reader

    async def iterate(self, reader: Reader) -> None:
        try:
            while True:
                self.receive(reader, await self.next_of(reader.subscription))
                await ticks(self.rng.choice((0, 0, 1, 3, 10)))
                if self.rng.random() < 0.02 and not self.over:
                    await self.leave_or_come_back(reader)
        except StopAsyncIteration:
            pass
        except (EventsLostError, SubscriptionOverflowError) as error:
            reader.error = error

    async def next_of(self, subscription: Subscription) -> Event:
        while self.rng.random() < 0.1:
            attempt = asyncio.ensure_future(anext(subscription))
            await ticks(self.rng.randrange(4))
            attempt.cancel()
            with suppress(asyncio.CancelledError):
                return await attempt
        return await anext(subscription)

    async def leave_or_come_back(self, reader: Reader) -> None:
        position = reader.subscription.position
        await reader.subscription.close()
        self.expect(reader.subscription.position == position, "closing does not deliver what the queue held")
        if reader.when_full in {"drop_oldest", "fail"} or reader.owed_since is not None or self.rng.random() < 0.3:
            reader.left = True
            raise StopAsyncIteration
        # What it has not got is read again.
        reader.subscription = self.bus.subscribe(
            reader.pattern, start=position + 1, capacity=reader.capacity, when_full=reader.when_full
        )

    async def handle(self, reader: Reader, event: Event) -> None:
        self.receive(reader, event)
        await ticks(self.rng.choice((0, 0, 1, 3, 10)))
        if self.rng.random() < 0.02:
            reader.left = True
            await reader.subscription.close()
        elif self.rng.random() < 0.02:
            raise ValueError("a handler that fails now and then")

    def receive(self, reader: Reader, event: Event) -> None:
        self.expect(event.sequence <= self.head, "delivered before it was committed")
        reader.got.append((event.sequence, event.type, event.data))
        queued = reader.subscription.statistics().queued
        bound = reader.capacity if reader.when_full != "block" else reader.capacity + max(self.store.batches)
        self.expect(queued <= bound, f"a queue for {reader.capacity} holds {queued}")

    def expect(self, kept: bool, promise: str) -> None:
        # An assertion would be the handler's failure, which the bus takes care of.
        if not kept:
            self.problems.append(promise)

    async def clear(self, times: int) -> None:
        for _ in range(times):
            await ticks(self.rng.randrange(60))
            await self.bus.clear()

    # ----------------------------------------------------------------------------------------------------- the end

    async def until_all_have_read(self) -> None:
        head = self.bus.statistics().head
        assert head == self.head
        await until(
            lambda: all(
                reader.left
                or reader.error is not None
                or reader.subscription.error is not None
                or reader.subscription.position >= head
                for reader in self.readers
            )
        )
        await self.bus.drain()
        self.over = True
        for reader in self.readers:
            reader.error = reader.error or reader.subscription.error
            reader.dropped = reader.subscription.statistics().dropped

    def check_publishers(self) -> None:
        committed = {tuple(content(record)): record.sequence for record in self.store.committed}
        assert list(committed.values()) == list(range(1, len(self.store.committed) + 1)), "not dense, or stored twice"
        assert self.stored.items() <= committed.items(), "acknowledged, but not what was stored there"
        assert not self.not_stored & committed.keys(), "stored, though the publisher was told that it was not"
        for group in self.groups:
            found = [committed.get(member, 0) for member in group]
            assert found in ([0] * len(group), list(range(found[0], found[0] + len(group)))), "a group torn apart"
        for name in {name for name, _ in committed}:
            own = [number for other, number in committed if other == name]
            assert own == sorted(own), f"the order of publisher {name}"

    def check_reader(self, reader: Reader) -> None:
        expected = [
            (record.sequence, record.type, content(record))
            for record in self.store.committed
            if wants(reader.pattern, record.type)
            and record.sequence > reader.owed_above
            and (reader.owed_since is None or recorded(record.recorded_at) >= reader.owed_since)
        ]
        got = reader.got
        if reader.when_full == "drop_oldest":
            wanted = iter(expected)
            assert all(event in wanted for event in got), "out of order, twice, or not its own"
            # What was recorded before a moment yet to come is dropped and counted as well, though nobody is owed it.
            if not reader.left and reader.error is None and reader.owed_since is None:
                assert len(got) + reader.dropped == len(expected), "dropped without being counted"
            return
        assert got == expected[: len(got)]
        rest = expected[len(got) :]
        if isinstance(reader.error, EventsLostError):
            assert self.removes
            assert reader.error.first <= reader.error.last <= self.store.floor
            assert not rest or rest[0][0] >= reader.error.first, "lost, but neither delivered nor told"
        elif isinstance(reader.error, SubscriptionOverflowError):
            assert reader.when_full == "fail"
        elif not reader.left:
            assert reader.error is None
            assert rest == []


def recorded(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


async def write_history(store: StagedStore, rng: random.Random) -> None:
    """What an earlier bus left behind is read from the store, not from memory."""
    async with EventBus(store) as earlier:
        for group in range(rng.choice((0, 0, 1, 9))):
            await earlier.publish_many([(rng.choice(TYPES), ("history", 100 * group + n)) for n in range(100)])


async def play(seed: int, make: Callable[..., StagedStore], *, threads: int = 0, removes: bool = False) -> None:
    """Play one scene, and compare it with the model."""
    rng = random.Random(seed)
    faults = rng.choice((0, 0, 1, 3))

    async def pause() -> None:
        if rng.random() < 0.02 * faults and not store.append_faults:
            store.append_faults.append(StoreFullError("the disk is full, for once"))
        await ticks(rng.choice((0, 0, 0, 1, 2, 5)))

    store = make(batch_limit=rng.choice((1, 2, 7, 4096)))
    await write_history(store, rng)
    store.pause = pause
    bus = EventBus(store, inbox_capacity=rng.choice((5, 8, 64)), recent_capacity=rng.choice((1, 8, 64)))
    # The group ends when the readers do, which is when the bus has closed; one that fails ends the scene.
    async with asyncio.TaskGroup() as reading, bus:
        scene = Scene(rng, bus, store, removes, reading)
        joining = asyncio.create_task(scene.join_in(rng.randrange(2, 8)))
        actors: list[Awaitable[None]] = [
            scene.publish(f"task {number}", rng.randrange(5, 30)) for number in range(rng.randrange(1, 4))
        ]
        actors += [
            asyncio.to_thread(scene.publish_from_thread, f"thread {number}", 20, random.Random(seed + number))
            for number in range(threads)
        ]
        if removes:
            actors.append(scene.clear(rng.randrange(3)))
        if not rng.randrange(8):
            actors.append(scene.flood(rng.randrange(5, 9)))
        await asyncio.gather(joining, *actors)
        await scene.settle()
        await scene.until_all_have_read()
        assert [event.sequence for event in await bus.query(limit=None)] == list(range(store.floor + 1, scene.head + 1))
    assert scene.problems == []
    scene.check_publishers()
    for reader in scene.readers:
        scene.check_reader(reader)
