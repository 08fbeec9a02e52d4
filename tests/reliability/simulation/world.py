"""What happens in a simulated scene: a bus, and actors that publish, read, clear, drain and leave, as a seed has it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

from msgspec import Struct, field

from asyncbus import AsyncBusError, BusClosedError, Consumer, Event, EventBus, PendingReceipt, Receipt, Subscription
from asyncbus.events import to_microseconds
from asyncbus.options import WhenFull
from tests.reliability.simulation.disk import START, Ledger
from tests.reliability.simulation.loop import SimulatedLoop

Outcome = Literal["stored", "not stored", "unknown"]


class VirtualClock:
    """The loop's time; as wall clocks do, it is set back now and then."""

    def __init__(self, loop: SimulatedLoop, random: Random) -> None:
        self._loop = loop
        self._random = random

    def now(self) -> int:
        return START + round(self._loop.time() * 1e6) - self._random.choice((0, 0, 0, 500))

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Attempt(Struct, eq=False):
    """One publish: what it proposed, and what the publisher was told.

    Attributes:
        payloads: one an event; of a `publish_many`, several.
        id: under which it was published, if any.
        key: what it belongs to, if anything.
        expected: the sequence that the last event with its key was to have.
        cause: the event that was handled when it was published.
        error: what it raised.
        accepted: the publisher knows that its place in the order is fixed.
    """

    type: str
    payloads: list[str]
    id: str | None = None
    key: str | None = None
    expected: int | None = None
    cause: int | None = None
    outcome: Outcome = "unknown"
    sequences: list[int] = field(default_factory=list)
    error: BaseException | None = None
    accepted: bool = False


class Reader(Struct, eq=False):
    """Somebody who gets events, and what it is owed.

    Attributes:
        owed_above: it is owed what comes after this sequence,
        owed_since: and was recorded at or after this moment.
        left: it went away by itself, or was cancelled: it is owed no more than it got.
        closed: nothing may be delivered any more.
        ended: by the end of the subscription, or by `error`.
    """

    name: str
    pattern: str
    when_full: WhenFull
    owed_above: int
    owed_since: int = 0
    owed_up_to: int | None = None
    subscription: Subscription | None = None
    got: list[int] = field(default_factory=list)
    left: bool = False
    closed: bool = False
    ended: bool = False
    stuck: bool = False
    error: BaseException | None = None


class Named(Struct, eq=False):
    """A durable consumer, in all of its lives.

    Attributes:
        consumer: the one that has the name, or had it last.
        done: of what somebody has said that it is done.
        left: it went away by itself, or was cancelled.
        discarded: some of its dead letters were discarded.
        held: what its handlers have at work until nothing else happens any more.
        sought: it was moved, or forgotten: what it owes is another matter from then on.
    """

    name: str
    pattern: str
    sought: bool = False
    discarded: bool = False
    consumer: Consumer | None = None
    done: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    left: bool = False

    def wants(self, type: str) -> bool:
        """Whether an event of this type is its business."""
        return type.startswith(self.pattern[:-1]) if self.pattern.endswith("*") else type == self.pattern


class World(Struct, eq=False):
    """One scene.

    Attributes:
        acknowledged: the highest sequence that anybody was told of.
        opened, leaving: set when the bus is open or will never be, and when its host leaves.
        removes: whether events are removed.
        pending: what was accepted, until the publisher asks what became of it.
        last_of: by key, the last event that anybody knows of.
        closing: somebody has begun to close the bus.
        problems: broken promises that were seen on the way.
    """

    loop: SimulatedLoop
    random: Random
    bus: EventBus
    ledger: Ledger
    removes: bool = False
    acknowledged: int = 0
    closing: bool = False
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: list[Attempt] = field(default_factory=list)
    pending: list[tuple[Attempt, PendingReceipt]] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    names: dict[str, Named] = field(default_factory=dict)
    last_of: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def expect(self, kept: bool, promise: str) -> None:
        # An assertion inside a handler would be the handler's failure, which the bus takes care of.
        if not kept:
            self.problems.append(promise)

    def moment(self) -> datetime:
        """One in the scene, or shortly after."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START + self.random.randrange(3000))

    async def pause(self) -> None:
        """A few turns, some time, or neither."""
        kind = self.random.random()
        if kind < 0.4:
            return
        if kind < 0.7:
            for _ in range(self.random.randrange(1, 4)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.random.randrange(1, 40) * 1e-5)

    async def host(self, how: str) -> None:
        """Open the bus, and leave it when it is time, or by an error."""
        try:
            async with self.bus:
                self.opened.set()
                if how == "early":
                    await asyncio.sleep(self.random.randrange(1, 100) * 1e-5)
                else:
                    await self.leaving.wait()
                self.closing = True
                if how == "by an error":
                    raise _LeftError  # noqa: TRY301  # it is to leave the block of the bus
                if how == "close":
                    await self.bus.close()
        except (_LeftError, BusClosedError):  # closed by another while it was being opened
            pass
        finally:
            self.closing = True
            self.opened.set()

    # -------------------------------------------------------------------------------------- what the bus tells anybody

    def told(self, attempt: Attempt, receipts: list[Receipt]) -> None:
        """The publisher has got receipts."""
        attempt.outcome = "stored"
        attempt.sequences = [receipt.sequence for receipt in receipts]
        if attempt.key is not None:
            self.last_of[attempt.key] = attempt.sequences[-1]
        for sequence in attempt.sequences:
            self.expect(sequence in self.ledger.rows, f"acknowledged {sequence} before it was durable")
            self.acknowledged = max(self.acknowledged, sequence)

    def delivered(self, reader: Reader, event: Event) -> None:
        """A reader has got an event."""
        sequence = event.sequence
        row = self.ledger.rows.get(sequence)
        self.expect(row is not None, f"delivered {sequence} to {reader.name} before it was durable")
        self.expect(row is None or row.type == event.type, f"{sequence} was stored as something else")
        self.expect(not reader.closed, f"delivered {sequence} to {reader.name}, which was closed")
        reader.got.append(sequence)
        self.acknowledged = max(self.acknowledged, sequence)

    def named(self, name: str) -> Named:
        """The consumer of this name."""
        if name not in self.names:
            self.names[name] = Named(name, self.random.choice(("*", "a", "a.*", "c*")))
        return self.names[name]

    def subscribe(self, name: str, handler: Any = None) -> Reader | None:
        """A subscription of some kind, and what it is owed; None: the bus is closed."""
        random = self.random
        start: Any = random.choice(("latest", "latest", "earliest", "sequence", "moment"))
        if start == "sequence":
            start = random.randint(min(self.ledger.floor, self.acknowledged), self.acknowledged) + 1
        elif start == "moment":
            # What was removed before anybody looked for the moment, nobody is owed; so it is left to the other scenes.
            start = "earliest" if self.removes else self.moment()
        when_full: WhenFull = random.choice(("catch_up", "catch_up", "block", "drop_oldest", "fail"))
        reader = Reader(name, random.choice(("*", "*", "a", "a.*", "b*")), when_full, 0)
        handle = None if handler is None else handler(reader)
        try:
            subscription = self.bus.subscribe(
                reader.pattern,
                handle,
                start=start,
                capacity=random.choice((1, 2, 3, 50)),
                when_full=when_full,
                priority=random.randrange(2),
            )
        except AsyncBusError:
            return None
        reader.subscription = subscription
        subscription._page_size = random.choice((1, 2, 512))
        reader.owed_above = subscription.position
        if start == "latest":
            failed = self.bus.health().status == "failed"
            fits = (failed or self.acknowledged <= reader.owed_above) and reader.owed_above <= self.ledger.head
        elif start == "earliest":
            fits = reader.owed_above <= self.ledger.floor
        elif isinstance(start, int):
            fits = reader.owed_above == start - 1
        else:
            fits, reader.owed_above, reader.owed_since = True, 0, to_microseconds("start", start)
        self.expect(fits, f"start={start!r} began after {reader.owed_above}")
        self.readers.append(reader)
        return reader


class _LeftError(Exception):
    """By which a host leaves its bus."""
