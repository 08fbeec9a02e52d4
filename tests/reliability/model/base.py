"""What all rules of the machine stand on: the loop, the stage, and the arguments of a step as they are meant there."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from hypothesis.strategies import SearchStrategy

from asyncbus import Event, EventStore, InboxFullError
from asyncbus.events import from_microseconds
from tests.reliability.model.log import Proposal, Stored, same
from tests.reliability.model.readers import Reader
from tests.reliability.model.stage import PATIENCE, Stage
from tests.reliability.model.words import DATA, Draft, Wish, wishes, worlds
from tests.reliability.model.world import World
from tests.reliability.trials import Figures

Act = Callable[..., Coroutine[Any, Any, None]]


def act(*, only: SearchStrategy[bool] = st.just(True), **drawn: Any) -> Callable[[Act], Any]:  # noqa: B008
    """A rule whose body runs on the machine's loop, after which bus and model must be level; counted as a step.

    Args:
        only: when; `rarely` for what should be.
        drawn: the strategies of its arguments.
    """

    def register(body: Act) -> Any:
        @wraps(body)
        def step(machine: Machine, only: bool, **values: Any) -> None:
            if only:
                machine.loop.run_until_complete(machine.play(body(machine, **values)))
                machine.stage.figures["steps"] += 1

        return rule(only=only, **drawn)(step)  # type: ignore[no-untyped-call]  # hypothesis leaves this one out

    return register


def is_even(event: Event | Stored) -> bool:
    """A predicate for `where`."""
    return event.sequence % 2 == 0


class Machine(RuleBasedStateMachine):
    """A bus and the model beside it; the rules are in the classes built on it."""

    def __init__(self, folder: Path, make: Callable[[World, Path], EventStore], figures: Figures) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._make = make
        self._figures = figures
        self._runner = asyncio.Runner()
        self.loop = self._runner.get_loop()
        self._over = False

    @initialize(world=worlds, wishes=st.lists(wishes, min_size=1, max_size=3))
    def begin(self, world: World, wishes: list[Wish]) -> None:
        self.stage = Stage(world, self._folder, self._make, self._figures)
        self.loop.run_until_complete(self._begin(wishes))

    async def _begin(self, wishes: list[Wish]) -> None:
        await self.stage.open()
        for wish in wishes:
            self.subscribe_as(wish)

    async def play(self, body: Coroutine[Any, Any, None]) -> None:
        try:
            await body
            await self.stage.settle()
        except BaseException:
            self._over = True
            raise

    def teardown(self) -> None:
        try:
            if hasattr(self, "stage"):
                self.loop.run_until_complete(self._abandon() if self._over else self._end())
        finally:
            self._runner.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _abandon(self) -> None:
        """A step has failed: what comes now must not raise, for that would be told in its place."""
        stage = self.stage
        with suppress(Exception):
            await asyncio.wait_for(stage.bus.close(), PATIENCE)
        waiting = [accepted.waits for accepted in stage.accepted if isinstance(accepted.waits, asyncio.Future)]
        waiting += [waiter.waiting for waiter in stage.waiters]
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _end(self) -> None:
        stage = self.stage
        await stage.close()
        await stage.open()
        await stage.compare_all()
        await stage.bus.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        same([task.get_name() for task in left], [], "tasks left behind")

    # -------------------------------------------------------------------------------------- what several rules do

    async def publish_one_now(self, proposal: Proposal) -> None:
        stage = self.stage
        room = self.has_room(1)
        try:
            receipt = stage.bus.publish_nowait(proposal.type, proposal.data, **proposal.options())
        except InboxFullError:
            same(room, False, "whether the inbox has room")
        else:
            same(room, True, "whether the inbox has room")
            stage.accept([proposal], receipt)

    def subscribe_as(self, wish: Wish) -> None:
        stage = self.stage
        where = is_even if wish.choosy else None
        begins, owed, moment = self.start(wish.start, wish.place)
        options: dict[str, Any] = {"when_full": wish.when_full, "capacity": wish.capacity, "where": where}
        subscription = stage.bus.subscribe(wish.terms, start=begins, priority=wish.priority, **options)
        reader = Reader(subscription, wish.terms, moment=moment, **options)
        same(reader.live, moment is None and self._is_head(begins), "whether a new subscription is live")
        reader.owe(owed)
        stage.readers.append(reader)
        stage.figures["subscriptions"] += 1

    # ------------------------------------------------------------------------------------------ arguments as meant

    def proposal(self, draft: Draft) -> Proposal:
        stage = self.stage
        data, read = DATA[draft.data]
        says_time = draft.earlier is not None
        time = stage.clock.now() - (draft.earlier or 0)
        # What a bounded log forgets in the middle of a commit decides which ids are new; only one at a time is clear.
        id = None if stage.log.max_events is not None and stage.accepted else draft.id
        return Proposal(draft.type, data, read, time, id, draft.key, draft.metadata, says_time)

    def has_room(self, events: int) -> bool:
        said = self.stage.bus.statistics()
        return not said.waiting_publishers and said.inbox_depth + events <= self.stage.world.inbox_capacity

    def _is_head(self, begins: Any) -> bool:
        log = self.stage.log
        return begins in ("latest", log.head + 1) or (begins == "earliest" and log.floor == log.head)

    def start(self, start: str, place: int) -> tuple[Any, list[Stored], int | None]:
        """What to give as `start`, what of the past that makes owed, and the moment, if it is one."""
        log = self.stage.log
        match start:
            case "latest":
                return "latest", [], None
            case "earliest":
                return "earliest", log.retained(), None
            case "sequence":
                first = log.floor + 1 + place % (log.head - log.floor + 1)
                return first, [event for event in log.retained() if event.sequence >= first], None
        moment = self.moment(place) or 0
        return from_microseconds(moment), [], moment

    def moment(self, place: int | None) -> int | None:
        """A moment about which something was recorded."""
        if place is None:
            return None
        log = self.stage.log.retained()
        about = log[place % len(log)].recorded_at if log else self.stage.clock.now()
        return about + place % 3 - 1

    def bound(self, place: int | None, by_time: bool) -> tuple[Literal["sequence", "moment"], int] | None:
        if place is None:
            return None
        if by_time:
            return "moment", self.moment(place) or 0
        return "sequence", 1 + place % (self.stage.log.head + 3)
