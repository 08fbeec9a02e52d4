"""What a child does until it is killed: it checks the log, then publishes by all ways, reads, and says what it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import asdict

from asyncbus import (
    BusClosedError,
    Event,
    EventBus,
    EventsLostError,
    InboxFullError,
    PendingReceipt,
    Receipt,
    SQLiteStore,
    Subscription,
)
from tests.reliability.ledger import Claims, Kind, Ledger
from tests.reliability.tokens import SOURCES, Token, Way
from tests.reliability.trials import Violation

BURST: Final = 20
"""Events a source has accepted before it waits for the first of them."""


class Life(Struct, frozen=True, kw_only=True):
    """What a child is to do.

    Attributes:
        number: its place among the children of one log, from 1 on.
        seed: of its own choices.
        path: the log.
        synchronous: as for the store.
        weight: of its events, a place in `WEIGHTS`.
        clears_after: acknowledgements after which it clears the log once; 0: never.
        closes_after: acknowledgements after which it closes the bus; 0: as soon as the log is checked; None: never.
        store: what the log is opened with.
    """

    number: int
    seed: int
    path: Path
    synchronous: Literal["full", "normal"] = "full"
    weight: int = 0
    clears_after: int = 0
    closes_after: int | None = None
    store: Callable[..., SQLiteStore] = SQLiteStore


async def live(life: Life, ledger: Ledger, claims: Claims) -> None:
    """Live until somebody kills the process, or until it has closed the bus, if it is to.

    Raises:
        Violation: the log does not hold to the ledger.
        ExceptionGroup: anything else that must not happen.
    """
    store = life.store(life.path, synchronous=life.synchronous)
    async with asyncio.TaskGroup() as tasks, EventBus(store, inbox_capacity=256) as bus:
        events = [event async for event in bus.replay()]
        head = await bus.latest_sequence()
        floor = ledger.check(events, head)
        claims.highest = head
        claims.say(Kind.opened, head, floor)
        living = _Living(life, bus, claims)
        if life.closes_after != 0:
            await living.publish_again(events)
            for act in living.acts():
                tasks.create_task(act)
            await living.until(life.closes_after)
        living.closing = True
        claims.say(Kind.closing)


class _Living:
    """The sources and readers of one life."""

    def __init__(self, life: Life, bus: EventBus, claims: Claims) -> None:
        self._life = life
        self._bus = bus
        self._claims = claims
        self._random = Random(life.seed)
        self.closing = False

    def acts(self) -> list[Coroutine[Any, Any, None]]:
        """All it does on the loop at the same time."""
        ways: dict[Way, Callable[[Token], Coroutine[Any, Any, None]]] = {
            Way.stored: self._stored,
            Way.accepted: self._accepted,
            Way.many: self._many,
            Way.nowait: self._nowait,
            Way.thread: self._thread,
            Way.ids: self._stored,
        }
        # Subscribed before anything is published, so that the first reader gets what the first publisher does.
        self._bus.subscribe("*", lambda event: self._claims.delivered(event, 0), capacity=8)
        acts = [
            self._read(1, lambda: self._bus.subscribe("*")),
            self._read(2, lambda: self._bus.subscribe("kills.many.*", start="earliest", capacity=16)),
            *(ways[way](self._first(source)) for source, way in enumerate(SOURCES)),
        ]
        if self._life.clears_after:
            acts.append(self._clear())
        return [self._until_closed(act) for act in acts]

    async def until(self, acknowledged: int | None) -> None:
        """Wait for so many acknowledgements, or until the bus is closed; None: for ever."""
        while not self.closing and (acknowledged is None or self._claims.acknowledged < acknowledged):  # noqa: ASYNC110  # threads count as well
            await asyncio.sleep(0.001)

    def _first(self, source: int) -> Token:
        return Token(self._life.number, self._life.weight, source, 0)

    async def _until_closed(self, act: Coroutine[Any, Any, None]) -> None:
        try:
            await act
        except BusClosedError:
            if not self.closing:
                raise

    # ---------------------------------------------------------------------------------------------------- publishing

    async def publish_again(self, events: list[Event]) -> None:
        """Publish ids again: some that are stored, and those of the last life of which nobody knows whether they are.

        Raises:
            Violation: the log held one of them and took it again, or gave it another sequence.
        """
        stored = {Token.of_event(event): event.sequence for event in events if event.id is not None}
        again = self._random.sample(sorted(stored), min(len(stored), 10))
        last = {token.source: token for token in sorted(stored) if token.life == self._life.number - 1}
        again += [token.next() for token in last.values()]
        for token in again:
            receipt = await self._publish_twice(token)
            if receipt != Receipt(stored.get(token, receipt.sequence), token in stored):
                raise Violation(f"{token} was published again: {receipt}; it is stored as {stored.get(token)}")

    async def _publish_twice(self, token: Token) -> Receipt:
        """Publish it twice at the same time; the receipt that is not a duplicate, if there is one."""
        event = token.event()
        receipts: list[Receipt] = await asyncio.gather(*(self._bus.publish(**asdict(event)) for _ in range(2)))
        self._claims.stored([token, token], receipts)
        return min(receipts, key=lambda receipt: receipt.duplicate)

    async def _stored(self, first: Token) -> None:
        for token in first.count_on():
            receipt = await self._bus.publish(**asdict(token.event()))
            self._claims.stored([token], [receipt])

    async def _accepted(self, first: Token) -> None:
        tokens = first.count_on()
        while True:
            burst = list(islice(tokens, BURST))
            pending = [await self._bus.publish(**asdict(token.event()), ack="accepted") for token in burst]
            await self._receive(burst, pending)

    async def _nowait(self, first: Token) -> None:
        tokens = first.count_on()
        while True:
            burst: list[Token] = []
            pending: list[PendingReceipt] = []
            with suppress(InboxFullError):
                for token in islice(tokens, BURST):
                    pending.append(self._bus.publish_nowait(**asdict(token.event())))
                    burst.append(token)
            await self._receive(burst, pending)
            await self._bus.flush()  # where there was no room, there is some now

    async def _receive(self, tokens: list[Token], pending: list[PendingReceipt]) -> None:
        for token, receipt in zip(tokens, pending, strict=True):
            self._claims.stored([token], [await receipt])

    async def _many(self, first: Token) -> None:
        while True:
            tokens = first.group()
            receipts = await self._bus.publish_many([token.event() for token in tokens])
            self._claims.stored(tokens, receipts)
            first = first.next_group()

    async def _thread(self, first: Token) -> None:
        await asyncio.to_thread(self._from_thread, first)

    def _from_thread(self, first: Token) -> None:
        tokens = first.count_on()
        while True:
            burst = list(islice(tokens, BURST))
            pending = [self._bus.publish_from_thread(**asdict(token.event())) for token in burst]
            for token, receipt in zip(burst, pending, strict=True):
                self._claims.stored([token], [receipt.result()])

    async def _clear(self) -> None:
        await self.until(self._life.clears_after)
        self._claims.say(Kind.clearing, self._claims.highest)
        await self._bus.clear()
        self._claims.say(Kind.cleared)

    # ------------------------------------------------------------------------------------------------------- reading

    async def _read(self, reader: int, subscribe: Callable[[], Subscription]) -> None:
        while not self.closing:
            async with subscribe() as events:
                try:
                    async for event in events:
                        self._claims.delivered(event, reader)
                except EventsLostError:
                    # What it was owed was cleared: it begins anew.
                    if not self._life.clears_after:
                        raise
