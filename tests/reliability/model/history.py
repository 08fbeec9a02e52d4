"""The rules that look into the past."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from asyncbus.events import from_microseconds
from asyncbus.testing.model import is_wanted
from tests.reliability.model.base import Machine, act, is_even
from tests.reliability.model.log import Stored, same_events
from tests.reliability.model.words import Draft, Limits, Question, drafts, limits, patterns, places, questions, starts


class History(Machine):
    """Queries, replays and what is in memory."""

    @act(asked=questions)
    async def query(self, asked: Question) -> None:
        """All filters at once."""
        start, stop = self.bound(asked.ends.start, asked.ends.by_time), self.bound(asked.ends.stop, asked.ends.by_time)
        since, until = self.moment(asked.times.start), self.moment(asked.times.stop)
        expected = [
            event
            for event in self.stage.log.retained()
            if is_wanted(asked.terms, event.type)
            and _is_within(event, start, stop)
            and (since is None or event.time >= since)
            and (until is None or event.time < until)
            and (asked.key is None or event.key == asked.key)
            and (not asked.choosy or is_even(event))
        ]
        if asked.newest_first:
            expected.reverse()
        found = await self.stage.bus.query(
            asked.terms,
            start=_said(start),
            stop=_said(stop),
            since=None if since is None else from_microseconds(since),
            until=None if until is None else from_microseconds(until),
            key=asked.key,
            where=is_even if asked.choosy else None,
            limit=asked.limit,
            newest_first=asked.newest_first,
        )
        same_events(found, expected[: asked.limit], "found by a query")

    @act(terms=patterns, start=starts, place=places, stop=limits, late=drafts)
    async def replay(self, terms: Sequence[str], start: str, place: int, stop: Limits, late: Draft) -> None:
        """It ends at the head as it was at the call, whatever is published while it goes on."""
        stage = self.stage
        stops = self.bound(stop.stop, stop.by_time)
        begins, owed, moment = self.start(start, place)
        expected = [
            event
            for event in (stage.log.retained() if moment is not None else owed)
            if is_wanted(terms, event.type)
            and (moment is None or event.recorded_at >= moment)
            and _is_within(event, None, stops)
        ]
        replay = stage.bus.replay(terms, start=begins, stop=_said(stops))
        if stage.log.max_events is None:
            await self.publish_one_now(self.proposal(late))
            await asyncio.sleep(0)
        same_events([event async for event in replay], expected, "replayed")

    @act(terms=patterns)
    async def recent(self, terms: Sequence[str]) -> None:
        """The last ones of this run, from memory."""
        stage = self.stage
        newest = stage.log.recent[-max(stage.world.recent_capacity, stage.world.inbox_capacity) :]
        expected = [event for event in newest if is_wanted(terms, event.type)]
        same_events(stage.bus.recent(terms), expected, "recent")


def _is_within(event: Stored, start: tuple[str, int] | None, stop: tuple[str, int] | None) -> bool:
    def value(bound: tuple[str, int]) -> int:
        return event.sequence if bound[0] == "sequence" else event.recorded_at

    return (start is None or value(start) >= start[1]) and (stop is None or value(stop) < stop[1])


def _said(bound: tuple[str, int] | None) -> Any:
    if bound is None:
        return None
    return bound[1] if bound[0] == "sequence" else from_microseconds(bound[1])
