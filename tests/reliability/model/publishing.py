"""The publishers' half of the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from asyncbus import AsyncBusError, NewEvent, PublishOutcomeUnknownError
from tests.reliability.model.base import Machine, act
from tests.reliability.model.log import Proposal, same
from tests.reliability.model.stage import PATIENCE
from tests.reliability.model.words import BAD, Draft, drafts, rarely
from tests.reliability.trials import Violation


class Publishing(Machine):
    """Every way to publish, and what removes."""

    @act(draft=drafts, way=st.sampled_from(("stored", "accepted", "nowait", "thread")))
    async def publish(self, draft: Draft, way: str) -> None:
        """One event, in each of the ways there are."""
        stage, proposal = self.stage, self.proposal(draft)
        told = (proposal.type, proposal.data)
        options = proposal.options()
        if way == "nowait":
            await self.publish_one_now(proposal)
        elif way == "thread":
            if self.has_room(1):
                receipt = await asyncio.to_thread(stage.bus.publish_from_thread, *told, timeout=PATIENCE, **options)
                stage.accept([proposal], receipt)
        elif way == "accepted" and self.has_room(1):
            stage.accept([proposal], await stage.bus.publish(*told, ack="accepted", **options))
        else:
            stage.accept([proposal], asyncio.create_task(stage.bus.publish(*told, **options)))
            await asyncio.sleep(0)

    @act(batch=st.lists(drafts, max_size=6))
    async def publish_at_once(self, batch: list[Draft]) -> None:
        """Several events before the writer gets a turn: one commit."""
        for draft in batch:
            await self.publish_one_now(self.proposal(draft))

    @act(group=st.lists(drafts, max_size=4))
    async def publish_many(self, group: list[Draft]) -> None:
        """A group is stored whole, with consecutive sequences, or not at all."""
        await self._publish_group([self.proposal(draft) for draft in group])

    @act(count=st.sampled_from((4, 16, 100, 700)))
    async def publish_a_flood(self, count: int) -> None:
        """As much as the inbox takes, and more than some pages."""
        now = self.stage.clock.now()
        count = min(count, self.stage.world.inbox_capacity)
        await self._publish_group([Proposal(f"many.{number % 40}", number, number, now) for number in range(count)])

    async def _publish_group(self, group: Sequence[Proposal]) -> None:
        stage = self.stage
        publishing = asyncio.create_task(stage.bus.publish_many([proposal.proposed() for proposal in group]))
        await asyncio.sleep(0)
        if group:
            stage.accept(group, publishing)
        else:
            same(await publishing, [], "the receipts of nothing")

    @act(which=st.integers(0, len(BAD) - 1), beside=st.lists(drafts, max_size=2), way=st.integers(0, 2))
    async def publish_a_bad_event(self, which: int, beside: list[Draft], way: int) -> None:
        """It is refused at the call, and so is all that was to be stored with it."""
        type, data, options = BAD[which]
        bus = self.stage.bus
        published = bus.statistics().published
        try:
            match way:
                case 0:
                    await bus.publish(type, data, **options)
                case 1:
                    bus.publish_nowait(type, data, **options)
                case _:
                    good = [self.proposal(draft).proposed() for draft in beside]
                    await bus.publish_many([*good, NewEvent(type, data, **options)])
        except (AsyncBusError, ValueError):
            same(bus.statistics().published, published, "accepted of what was refused")
        else:
            raise Violation(f"accepted: {type!r}, {data!r}, {options!r}")

    @act(group=st.lists(drafts, min_size=1, max_size=3), ticks=st.integers(0, 6))
    async def cancel_a_publish(self, group: list[Draft], ticks: int) -> None:
        """Cancelled before the writer took it, it is not stored; afterwards nobody can know, but it is whole."""
        stage = self.stage
        proposals = [self.proposal(draft) for draft in group]
        if len(proposals) == 1:
            [only] = proposals
            publishing: asyncio.Task[Any] = asyncio.create_task(
                stage.bus.publish(only.type, only.data, **only.options())
            )
        else:
            publishing = asyncio.create_task(stage.bus.publish_many([each.proposed() for each in proposals]))
        for _ in range(ticks):
            await asyncio.sleep(0)
        if publishing.cancel():
            await asyncio.wait([publishing], timeout=PATIENCE)
        if publishing.cancelled():
            await stage.unknown(proposals, taken=None)
        else:
            stage.accept(proposals, publishing)

    @act(draft=drafts)
    async def publish_without_patience(self, draft: Draft) -> None:
        """A time limit that is over at once has each of the three outcomes."""
        stage, proposal = self.stage, self.proposal(draft)
        publishing = asyncio.create_task(
            stage.bus.publish(proposal.type, proposal.data, timeout=0, **proposal.options())
        )
        await asyncio.wait([publishing], timeout=PATIENCE)
        match publishing.exception():
            case PublishOutcomeUnknownError():
                await stage.unknown([proposal], taken=True)
            case TimeoutError():
                await stage.unknown([proposal], taken=False)
            case _:
                stage.accept([proposal], publishing)

    @act()
    async def flush(self) -> None:
        """Afterwards all that was accepted is stored."""
        if not self.stage.stuck:
            await self.stage.bus.flush()
            same((self.stage.absorb(), len(self.stage.accepted)), (True, 0), "level after a flush, and still accepted")

    @act(only=rarely)
    async def clear(self) -> None:
        """It comes after all that was accepted before, and before what comes later."""
        clearing = asyncio.create_task(self.stage.bus.clear())
        await asyncio.sleep(0)
        self.stage.accept_clear(clearing)
