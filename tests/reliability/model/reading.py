"""The subscribers' half of the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from asyncbus import Event, EventsLostError, StartBeyondHeadError
from asyncbus.options import WhenFull
from tests.reliability.model.base import Machine, act, is_even
from tests.reliability.model.log import same
from tests.reliability.model.readers import HandlerReader, Waiter
from tests.reliability.model.words import Wish, patterns, places, rarely, starts, wishes
from tests.reliability.trials import Violation


class Subscribing(Machine):
    """Subscriptions, read in other steps than those that make them; handlers; and who waits for an event."""

    @act(wish=wishes)
    async def subscribe(self, wish: Wish) -> None:
        """A reader that is asked for events in other steps."""
        self.subscribe_as(wish)

    @act(wish=wishes, fails=st.booleans(), waits=st.booleans())
    async def handle(self, wish: Wish, fails: bool, waits: bool) -> None:
        """A handler gets all of it by itself, whether it fails or not."""
        stage = self.stage
        arrived: list[Event] = []
        note = stage.handler(arrived, fails=fails)

        async def patient(event: Event) -> None:
            await asyncio.sleep(0)
            note(event)

        # What the others do depends on how far a handler has got when an event comes, which is nobody's promise.
        when_full: WhenFull = "block" if wish.when_full == "block" else "catch_up"
        begins, owed, moment = self.start(wish.start, wish.place)
        subscription = stage.bus.subscribe(
            wish.terms, patient if waits else note, start=begins, capacity=wish.capacity, when_full=when_full
        )
        handler = HandlerReader(subscription, wish.terms, arrived, when_full=when_full, moment=moment)
        handler.owe(owed)
        stage.handlers.append(handler)
        stage.figures["subscriptions"] += 1

    @act(ahead=st.integers(2, 5), removed=st.booleans(), replay=st.booleans())
    async def begin_where_nothing_is(self, ahead: int, removed: bool, replay: bool) -> None:
        """A start beyond the head, or one that was removed, is an error at the call."""
        stage = self.stage
        open_subscriptions = len(stage.bus.statistics().subscriptions)
        log = stage.log
        start = 1 if removed else log.head + ahead
        begin: Callable[..., object] = stage.bus.replay if replay else stage.bus.subscribe
        if removed and not log.floor:
            return
        try:
            begin("*", start=start)
        except StartBeyondHeadError as error:
            same((error.start, error.head), (start, log.head), "facts of a start beyond the head")
        except EventsLostError as error:
            same((error.first, error.last), (1, log.floor), "facts of a start that was removed")
        else:
            raise Violation(f"start={start} was accepted, and the log has {log.floor + 1} to {log.head}")
        same(len(stage.bus.statistics().subscriptions), open_subscriptions, "subscriptions after one was refused")

    @act(which=places, count=st.integers(1, 5))
    async def read_some(self, which: int, count: int) -> None:
        """Ask a reader for some events."""
        await self._read(which, count)

    @act(which=places)
    async def read_all(self, which: int) -> None:
        """Ask a reader for all there are."""
        await self._read(which, 10_000)

    @act(count=st.integers(1, 2))
    async def read_beside_each_other(self, count: int) -> None:
        """Ask each reader for a few."""
        for which in range(len(self.stage.readers), 0, -1):
            await self._read(which - 1, count)

    async def _read(self, which: int, count: int) -> None:
        readers = self.stage.readers
        if readers:
            reader = readers[which % len(readers)]
            for _ in range(count):
                if not await self.stage.next_of(reader):
                    break

    @act(only=rarely, which=places)
    async def leave(self, which: int) -> None:
        """A closed subscription gives nothing more, and stays where it was."""
        readers = self.stage.readers
        if not readers:
            return
        reader = readers.pop(which % len(readers))
        position = reader.subscription.position
        await reader.subscription.close()
        same(reader.subscription.position, position, "the position after closing")
        if reader.subscription.error is None:
            rest = [event.sequence async for event in reader.subscription]
            same(rest, [], "delivered by a closed subscription")

    @act(terms=patterns, choosy=st.booleans(), start=starts, place=places)
    async def wait_for(self, terms: Sequence[str], choosy: bool, start: str, place: int) -> None:
        """The first event that fits, of those there are or of those to come."""
        stage = self.stage
        where = is_even if choosy else None
        begins, owed, _ = self.start("earliest" if start == "moment" else start, place)
        waiter = Waiter(asyncio.ensure_future(stage.bus.wait_for(terms, where, start=begins)), terms, where)
        for event in owed:
            waiter.offer(event)
        stage.waiters.append(waiter)
