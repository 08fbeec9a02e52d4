"""A consumer that is worked by hand, beside what it must owe, in one life after the other."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from asyncbus import (
    Consumer,
    ConsumerStore,
    Delivery,
    EventBus,
    MemoryStore,
    Retry,
    SQLiteStore,
)
from asyncbus.lanes import Order
from asyncbus.testing import FakeClock
from tests.reliability.model.log import same
from tests.reliability.model.owed import BACKOFF, Owed
from tests.reliability.trials import Figures, Violation

PATIENCE = 20.0
"""Seconds after which something is held to hang."""

TURNS = 20
"""Of the loop, in which what must not come has its chance to."""

NAME = "projector"
TERMS = ("a", "a.*")


class Setting(Struct, frozen=True):
    """What one run is played in."""

    kind: Literal["memory", "sqlite"]
    order: Order
    attempts: int
    max_in_flight: int


class ByHand:
    """A bus with one consumer, and what it must owe.

    Args:
        setting: what to open.
        folder: where files may be.
        figures: what is counted.
    """

    def __init__(self, setting: Setting, folder: Path, figures: Figures) -> None:
        self.setting = setting
        self.figures = figures
        self.clock = FakeClock()
        self.owed = self.nothing_owed()
        # The matching events of the log, with their keys; the head; and deliveries that have had their outcome.
        self.matching: dict[int, str | None] = {}
        self.head = 0
        self.settled: list[Delivery] = []
        self._folder = folder
        self._lives = 0
        self._path = folder / "log.db"
        self._checkpoint = 0
        self._store: ConsumerStore = self._open_store()

    def nothing_owed(self) -> Owed:
        return Owed(self.setting.order, self.setting.attempts, self.setting.max_in_flight)

    def _open_store(self) -> ConsumerStore:
        return MemoryStore() if self.setting.kind == "memory" else SQLiteStore(self._path)

    # ------------------------------------------------------------------------------------------------------- its lives

    async def open(self) -> None:
        self.bus = EventBus(self._store, clock=self.clock)
        await self.bus.__aenter__()
        await self.consume()

    async def consume(self) -> None:
        setting = self.setting
        self.consumer: Consumer = self.bus.consume(
            NAME,
            TERMS,
            ack="manual",
            order=setting.order,
            max_in_flight=setting.max_in_flight,
            retry=Retry(attempts=setting.attempts, backoff=BACKOFF / 1e6, maximum=1e6, jitter=False),
        )
        await self.in_time(self.bus.wait_processed(NAME, 0))
        before = len(self.owed.letters)
        self.owed.were_parked({letter.event.sequence: letter.attempts for letter in await self.letters()})
        self.figures["parked between two lives"] += len(self.owed.letters) - before

    async def close(self) -> None:
        await self.in_time(self.consumer.close())
        self.forget_flight()
        self.owed.close()

    def forget_flight(self) -> None:
        self.settled += [owing.delivery for owing in self.owed.in_flight.values() if owing.delivery is not None]

    async def reopen(self) -> None:
        """Another bus on the same log."""
        await self.in_time(self.bus.close())
        if self.setting.kind == "sqlite":
            self._store = self._open_store()
        await self.open()

    async def crash(self) -> None:
        """Go on with what the store holds now, as if the process had been killed."""
        await self.in_time(self.bus.flush())
        before = self.bus
        self._lives += 1
        if isinstance(self._store, MemoryStore):
            self._store = deepcopy(self._store)
        else:
            copy = self._folder / str(self._lives) / self._path.name
            copy.parent.mkdir()
            for name in ("", "-wal", "-watermark"):
                with suppress(FileNotFoundError):
                    shutil.copy(f"{self._path}{name}", f"{copy}{name}")
            self._path = copy
            self._store = self._open_store()
        self.forget_flight()
        self.owed.crash()
        self.may_be_anywhere()  # what it has passed may not have been stored
        await self.in_time(before.close())
        await self.open()

    # ------------------------------------------------------------------------------------------------------- asking

    async def next(self) -> bool:
        """Ask for the next delivery, which must come if it is owed, and not otherwise; whether one came."""
        asking = asyncio.ensure_future(anext(self.consumer))
        if self.owed.must_come(self.clock.now()):
            await self.until(asking.done, f"owed are {self.owed.events}")
        else:
            await self.in_time(self.bus.flush())
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if not asking.done():
                asking.cancel()
        await asyncio.wait([asking])
        if asking.cancelled():
            return False
        delivery = asking.result()
        self.owed.handed_out(delivery, self.clock.now())
        same(self.matching[delivery.event.sequence], delivery.event.key, "the key of what was handed out")
        self.figures["handed out"] += 1
        self.figures["handed out again"] += delivery.redelivered
        return True

    async def letters(self) -> Sequence[Any]:
        return await self.bus.dead_letters(NAME, limit=None)

    def may_be_anywhere(self) -> None:
        """The checkpoint may go back."""
        self._checkpoint = 0

    async def check(self) -> None:
        """See that what it says of itself, and what is stored of it, is true."""
        owed, consumer = self.owed, self.consumer
        same(consumer.error, None, "what has ended the consumer")
        said = consumer.statistics()
        first = min(owed.events, default=self.head + 1)
        if not self._checkpoint <= said.checkpoint < first:
            raise Violation(f"the checkpoint is {said.checkpoint}, was {self._checkpoint}, and {first} is owed")
        self._checkpoint = said.checkpoint
        same(said.in_flight, len(owed.in_flight), "events in flight")
        same(said.paused, owed.is_paused, "whether it is paused")
        letters = await self.letters()
        found = {letter.event.sequence: letter.attempts for letter in letters}
        same(list(found.items()), [(s, letter.attempts) for s, letter in owed.letters.items()], "dead letters")
        for letter in letters:
            expected = owed.letters[letter.event.sequence].error
            if expected is not None:
                same(letter.error, expected, f"the error of the dead letter of event {letter.event.sequence}")
        counted = consumer.statistics().dead_letters
        same(counted, len(letters), "dead letters that are counted")

    # ------------------------------------------------------------------------------------------------------- waiting

    async def until(self, reached: Callable[[], object], what: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not reached():  # noqa: ASYNC110  # the states are attributes, which set no event
                    await asyncio.sleep(0)
                return
        raise Violation(f"hangs: {what}; {self.consumer.statistics()}")

    async def in_time(self, call: Coroutine[Any, Any, Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await call
        except TimeoutError:
            raise Violation(f"hangs: {call}; {self.consumer.statistics()}") from None
