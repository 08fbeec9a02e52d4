"""What a child with consumers does until it is killed: it checks what is stored, publishes, handles and fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, Literal
from zlib import crc32

import aiosqlite
from msgspec import Struct

from asyncbus import Delivery, Event, EventBus, Reject, Retry, SQLiteEffects, SQLiteStore
from asyncbus.store.consumers import ParkedFilter
from tests.reliability.consumer_ledger import CONSUMERS, Claims, ConsumerLedger, Found, Kind

ATTEMPTS: Final = 4


class Life(Struct, frozen=True, kw_only=True):
    """What a child is to do.

    Attributes:
        seed: of its own choices.
        log: the log.
        database: of the effects.
        publishes: how many events it publishes.
        concurrency: of its consumers.
        order: of its consumers.
        is_poisoned: whether one of its events kills whatever process handles it, until nothing fails any more.
        tries_again: whether it has dead letters tried again.
        closes_after: claims after which it closes the bus; None: never.
        ends_all: nothing fails any more; it ends when all is done.
        breaks: breaks a promise on purpose.
    """

    seed: int
    log: Path
    database: Path
    publishes: int = 0
    concurrency: int = 1
    order: Literal["none", "key", "strict"] = "none"
    is_poisoned: bool = False
    tries_again: bool = False
    closes_after: int | None = None
    ends_all: bool = False
    breaks: Callable[[], None] | None = None


async def live(life: Life, ledger: ConsumerLedger, claims: Claims) -> None:
    """Live until somebody kills the process, or until it has closed the bus, if it is to.

    Raises:
        Violation: what is stored does not hold to the ledger.
    """
    if life.breaks is not None:
        life.breaks()
    async with (
        aiosqlite.connect(life.database, isolation_level=None) as connection,
        EventBus(SQLiteStore(life.log, synchronous="normal")) as bus,
    ):
        await connection.execute("PRAGMA synchronous = OFF")  # the system lives
        await connection.execute("CREATE TABLE IF NOT EXISTS effects (sequence INTEGER)")
        found = await look(bus, connection)
        ledger.check(found)
        for name, state in found.states.items():
            claims.say(Kind.settled, name, state.settled_to)
            for sequence in state.owed:
                claims.say(Kind.owed, name, sequence)
        claims.say(Kind.working)
        await _Living(life, bus, connection, claims).live()
        claims.say(Kind.closing)


async def look_at_the_end(life: Life, ledger: ConsumerLedger) -> None:
    """See whether all was done.

    Raises:
        Violation: it was not.
    """
    store = SQLiteStore(life.log, read_only=True)
    async with aiosqlite.connect(life.database) as connection, EventBus(store) as bus:
        found = await look(bus, connection)
        ledger.check(found)
        ledger.check_all_done(found)


async def look(bus: EventBus, connection: aiosqlite.Connection) -> Found:
    """All that is stored."""
    store = bus._store
    assert isinstance(store, SQLiteStore)
    states = {state.name: state for state in await store.consumers()}
    letters: dict[str, list[int]] = {name: [] for name in CONSUMERS}
    for letter in await store.dead_letters(ParkedFilter()):
        letters[letter.consumer].append(letter.record.sequence)
    tasks: dict[int, int] = {}
    followed: dict[int, list[int]] = {}
    async for event in bus.replay():
        if event.type == "task":
            tasks[event.sequence] = event.data["follow"]
        else:
            followed.setdefault(event.data["of"], []).append(event.data["place"])
    rows = await connection.execute_fetchall("SELECT sequence FROM effects")
    return Found(
        tasks=tasks, states=states, letters=letters, effects=[sequence for (sequence,) in rows], followed=followed
    )


class _Living:
    """The publisher and the consumers of one life."""

    def __init__(self, life: Life, bus: EventBus, connection: aiosqlite.Connection, claims: Claims) -> None:
        self._life = life
        self._bus = bus
        self._connection = connection
        self._claims = claims
        self._random = Random(life.seed)

    async def live(self) -> None:
        """Publish and consume."""
        retry = Retry(attempts=ATTEMPTS, backoff=0.002)
        timeout = None if self._life.ends_all else 0.05
        for name, handler in zip(CONSUMERS, (self._plain, self._project, self._follow), strict=True):
            self._bus.consume(
                name,
                "task",
                handler,
                retry=retry,
                timeout=timeout,
                concurrency=self._life.concurrency,
                order=self._life.order,
                effects=SQLiteEffects(self._connection) if name == "project" else None,
            )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            if self._life.tries_again:
                for name in CONSUMERS:
                    tasks.create_task(self._bus.retry_dead_letters(name))
        if self._life.ends_all:
            await self._end_all()
            return
        while self._life.closes_after is None or self._claims.count < self._life.closes_after:  # noqa: ASYNC110  # claims are made everywhere
            await asyncio.sleep(0.001)

    async def _publish(self) -> None:
        poisoned = self._random.randrange(self._life.publishes) if self._life.is_poisoned else None
        for number in range(self._life.publishes):
            task = {"follow": self._random.choice((0, 1, 1, 2)), "kills": number == poisoned}
            await self._bus.publish("task", task, key=self._random.choice((None, "a", "b")))

    async def _end_all(self) -> None:
        last = await self._bus.latest_sequence()
        for name in CONSUMERS:
            await self._bus.wait_processed(name, last)
            await self._bus.retry_dead_letters(name)

    # ----------------------------------------------------------------------------------------------------- handling

    async def _plain(self, event: Event, delivery: Delivery) -> None:
        self._begin(event, delivery)
        if event.data["kills"] and not self._life.ends_all:
            os.kill(os.getpid(), signal.SIGKILL)
        await self._go_on(event, delivery)
        self._claims.say(Kind.done, "plain", event.sequence)

    async def _project(self, event: Event, delivery: Delivery) -> None:
        self._begin(event, delivery)
        await self._connection.execute("INSERT INTO effects VALUES (?)", (event.sequence,))
        await self._go_on(event, delivery)

    async def _follow(self, event: Event, delivery: Delivery) -> None:
        self._begin(event, delivery)
        for place in range(event.data["follow"]):
            # Another body in each attempt.
            body = {"of": event.sequence, "place": place, "attempt": delivery.attempt}
            receipt = await delivery.publish("followed", body)
            self._claims.say(Kind.followed, "follow", event.sequence, place * 2**48 + receipt.sequence)
            await self._go_on(event, delivery)

    def _begin(self, event: Event, delivery: Delivery) -> None:
        kind = Kind.begun if delivery._held.parked is None else Kind.again
        self._claims.say(kind, delivery.consumer, event.sequence, delivery.attempt)

    async def _go_on(self, event: Event, delivery: Delivery) -> None:
        """Fail, hang, or be rejected: what happens follows from the event, the consumer and the attempt."""
        try:
            await asyncio.sleep(0)
            chance = crc32(f"{delivery.consumer}/{event.sequence}".encode()) % 40
            if self._life.ends_all or chance > 8:
                return
            if chance == 0:
                raise Reject
            if chance == 1 and delivery.attempt == 1:
                await asyncio.sleep(60)  # longer than it has time
            if delivery.attempt < chance:
                raise ValueError
        except asyncio.CancelledError:
            self._claims.say(Kind.given_back, delivery.consumer, event.sequence)
            raise
