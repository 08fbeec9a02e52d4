"""Everything a user can do to a bus, as rules that hypothesis puts together; each is compared with the model."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from asyncbus import Event, Subscription
from tests.reliability.model import damage
from tests.reliability.model.base import act
from tests.reliability.model.history import History
from tests.reliability.model.log import same_events
from tests.reliability.model.publishing import Publishing
from tests.reliability.model.reading import Subscribing
from tests.reliability.model.stage import PATIENCE
from tests.reliability.model.words import Draft, drafts, places, rarely


class BusMachine(Publishing, Subscribing, History):
    """All of it, and what happens to the clock and to the file."""

    @act(step=st.sampled_from((1, 1, 1000, -700)))
    async def let_time_pass(self, step: int) -> None:
        """The wall clock goes on, and sometimes back."""
        clock = self.stage.clock
        clock.microseconds = max(clock.now() + step, self.stage.earliest)

    @act(only=rarely, how=st.sampled_from(("close", "leave", "leave by an error")))
    async def reopen(self, how: Literal["close", "leave", "leave by an error"]) -> None:
        """Another bus on the same log finds it as it was."""
        await self.stage.close(how)
        await self.stage.open()
        await self.stage.compare_all()

    @precondition(lambda self: self.stage.in_file)
    @act(only=rarely, late=drafts)
    async def look_from_beside(self, late: Draft) -> None:
        """A second, read-only bus sees what is stored, and what comes."""
        stage = self.stage
        async with stage.beside() as bus, bus.subscribe("*", start="earliest") as events:
            same_events(await bus.query(limit=None), stage.log.retained(), "the whole log from beside")
            same_events(await _take(events, len(stage.log.events)), stage.log.retained(), "followed from beside")
            await self.publish_one_now(self.proposal(late))
            before = stage.log.head
            await stage.until(lambda: stage.absorb() and (not stage.accepted or stage.stuck))
            fresh = [stage.log.ever[sequence] for sequence in range(before + 1, stage.log.head + 1)]
            same_events(await _take(events, len(fresh)), fresh, "followed from beside, live")

    @precondition(lambda self: self.stage.in_file)
    @act(only=rarely, which=places, column=st.sampled_from(damage.COLUMNS), bit=st.integers(0, 500))
    async def flip_a_bit(self, which: int, column: str, bit: int) -> None:
        """The damaged event is told, and only that; those before and after it are read."""
        if self.stage.log.events:
            await damage.flip_a_bit(self.stage, which, column, bit)

    @precondition(lambda self: self.stage.in_file)
    @act(only=rarely, part=st.integers(0, 100), read_only=st.booleans())
    async def cut_the_wal(self, part: int, read_only: bool) -> None:
        """A copy that has lost the end of its write-ahead log is refused, or holds what it should."""
        await damage.cut_the_wal(self.stage, part, read_only=read_only)


async def _take(events: Subscription, count: int) -> list[Event]:
    with suppress(StopAsyncIteration):
        async with asyncio.timeout(PATIENCE):
            return [await anext(events) for _ in range(count)]
    return []
