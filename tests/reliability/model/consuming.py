"""Everything that can be done to a consumer by hand, as rules that hypothesis puts together."""

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

from asyncbus import ConsumerClosedError, StaleAckError, UnknownAckError
from asyncbus.testing.model import is_wanted
from tests.reliability.model import desk as desks
from tests.reliability.model.desk import NAME, TERMS, Desk, Setting
from tests.reliability.model.log import same
from tests.reliability.model.words import rarely
from tests.reliability.trials import Figures, Violation

Act = Callable[..., Coroutine[Any, Any, None]]


def act(*, only: SearchStrategy[bool] = st.just(True), **drawn: Any) -> Callable[[Act], Any]:  # noqa: B008
    """A rule whose body runs on the machine's loop, and after which all is compared; counted as a step."""

    def register(body: Act) -> Any:
        @wraps(body)
        def step(machine: ConsumerMachine, only: bool, **values: Any) -> None:
            if only:
                machine.run(body(machine, **values))
                machine.desk.figures["steps"] += 1

        return rule(only=only, **drawn)(step)  # type: ignore[no-untyped-call]  # hypothesis leaves this one out

    return register


Outcome = Literal["ack", "nak", "reject"] | int
"""What is said of a delivery; a number: a nak with so many microseconds until it comes again."""

which = st.integers(0, 20)
types = st.sampled_from(("a", "a.b", "b"))
keys = st.sampled_from((None, "k", "l"))
outcomes = st.sampled_from(("ack", "ack", "nak", 0, 1_000, 5_000_000, "reject"))
sometimes = st.sampled_from((False, False, True))


class ConsumerMachine(RuleBasedStateMachine):
    """Everything that can be done to a consumer by hand, in any order."""

    def __init__(self, folder: Path, figures: Figures) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._figures = figures
        self._runner = asyncio.Runner()
        self._over = False

    def run(self, body: Coroutine[Any, Any, None]) -> None:
        async def play() -> None:
            await body
            await self.desk.check()

        try:
            self._runner.get_loop().run_until_complete(play())
        except BaseException:
            self._over = True
            raise

    @initialize(
        setting=st.builds(
            Setting,
            st.sampled_from(("memory", "sqlite")),
            st.sampled_from(("none", "key", "strict")),
            st.integers(1, 3),
            st.sampled_from((1, 3, 1000)),
        )
    )
    def begin(self, setting: Setting) -> None:
        if setting.order != "none":  # what waits behind others takes room, and nobody says how much
            setting = Setting(setting.kind, setting.order, setting.attempts, 1000)
        self.desk = Desk(setting, self._folder, self._figures)
        self.run(self.desk.open())

    def teardown(self) -> None:
        try:
            if hasattr(self, "desk"):
                self._runner.get_loop().run_until_complete(self._end())
        finally:
            self._runner.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _end(self) -> None:
        if self._over:
            with suppress(Exception):
                await asyncio.wait_for(self.desk.bus.close(), desks.PATIENCE)
            return
        await self.desk.in_time(self.desk.bus.close())
        left = asyncio.all_tasks() - {asyncio.current_task()}
        same([task.get_name() for task in left], [], "tasks left behind")

    # ------------------------------------------------------------------------------------------------- its events

    @act(batch=st.lists(st.tuples(types, keys), min_size=1, max_size=8))
    async def publish(self, batch: list[tuple[str, str | None]]) -> None:
        """Some events, of which some match."""
        desk = self.desk
        for type, key in batch:
            receipt = await desk.bus.publish(type, key=key)
            desk.head = receipt.sequence
            if is_wanted(TERMS, type):
                desk.matching[receipt.sequence] = key
                desk.owed.stored(receipt.sequence, key)
        desk.figures["stored"] += len(batch)

    @act(count=st.sampled_from((1, 1, 2, 5, 50)))
    async def take(self, count: int) -> None:
        """Ask for some deliveries."""
        await self._take(count)

    async def _take(self, count: int) -> None:
        for _ in range(count):
            if not await self.desk.next():
                break

    @act(count=st.sampled_from((5, 50)))
    async def work_off(self, count: int) -> None:
        """Ask, and say that it is done, each time."""
        for _ in range(count):
            before = set(self.desk.owed.in_flight)
            if not await self.desk.next():
                break
            for sequence in set(self.desk.owed.in_flight) - before:
                await self._say(sequence, "ack")

    @act(microseconds=st.sampled_from((1, 1_000, 1_000_000, 2_000_000)))
    async def let_time_pass(self, microseconds: int) -> None:
        """Retries may become due."""
        self.desk.clock.pass_by(microseconds)

    # --------------------------------------------------------------------------------------------------- outcomes

    @act(said=st.lists(st.tuples(which, outcomes), min_size=1, max_size=5))
    async def say(self, said: list[tuple[int, Outcome]]) -> None:
        """Some of those in flight are done, in any order, or have failed, or will never work."""
        for which, outcome in said:
            flight = list(self.desk.owed.in_flight)
            if flight:
                await self._say(flight[which % len(flight)], outcome)

    async def _say(self, sequence: int, outcome: Outcome) -> None:
        desk, owed = self.desk, self.desk.owed
        delivery = owed.events[sequence].delivery
        assert delivery is not None  # it is in flight
        desk.settled.append(delivery)
        reason = f"{outcome} of {sequence}"
        match outcome:
            case "ack":
                await desk.in_time(delivery.ack())
                owed.done(sequence)
            case "reject":
                await desk.in_time(delivery.reject(reason))
                owed.park(sequence, reason)
                desk.figures["parked"] += 1
            case "nak":
                await desk.in_time(delivery.nak(reason=reason))
                owed.failed(sequence, desk.clock.now(), None, reason)
            case delay:
                await desk.in_time(delivery.nak(delay / 1e6, reason))
                owed.failed(sequence, desk.clock.now(), delay, reason)

    @act(which=which, how=st.sampled_from(("ack", "nak", "reject", "in_progress")))
    async def say_it_again(self, which: int, how: str) -> None:
        """What has had its outcome, or is not in flight any more, gets no other."""
        settled = self.desk.settled
        if not settled:
            return
        delivery = settled[which % len(settled)]
        with suppress(UnknownAckError, StaleAckError, ConsumerClosedError):
            await getattr(delivery, how)()
            raise Violation(f"{how} was taken of {delivery!r}, which had its outcome")

    # -------------------------------------------------------------------------------------------------- its lives

    @act(only=sometimes, reopens=st.booleans(), count=st.integers(0, 5))
    async def come_again(self, reopens: bool, count: int) -> None:
        """It is closed, and consumed again, perhaps by another bus."""
        await self.desk.close()
        await (self.desk.reopen() if reopens else self.desk.consume())
        await self._take(count)

    @act(only=rarely)
    async def leave_the_bus(self) -> None:
        """The bus closes it."""
        self.desk.forget_flight()
        self.desk.owed.close()
        await self.desk.reopen()

    @act(only=sometimes, count=st.integers(0, 5))
    async def crash(self, count: int) -> None:
        """Its process is no more, and another one goes on."""
        await self.desk.crash()
        await self._take(count)
        self.desk.figures["crashes"] += 1

    @act(only=rarely, place=st.integers(0, 40))
    async def seek(self, place: int) -> None:
        """It goes on elsewhere; what is in flight is stale."""
        desk = self.desk
        start = 1 + place % (desk.head + 1)
        await desk.in_time(desk.bus.seek(NAME, start=start))
        desk.forget_flight()
        desk.owed.seek({sequence: key for sequence, key in desk.matching.items() if sequence >= start})
        desk.may_be_anywhere()

    @act(only=rarely, paused=st.booleans())
    async def pause(self, paused: bool) -> None:
        """It hands out nothing more, or goes on."""
        bus = self.desk.bus
        await self.desk.in_time(bus.pause(NAME) if paused else bus.resume(NAME))
        self.desk.owed.is_paused = paused

    @act(only=rarely)
    async def delete(self) -> None:
        """It is forgotten, and begins anew."""
        desk = self.desk
        await desk.close()
        await desk.in_time(desk.bus.delete_consumer(NAME))
        desk.owed = desk.nothing_owed()
        desk.owed.seek(desk.matching)
        desk.may_be_anywhere()
        await desk.consume()

    @act(only=rarely, limit=st.sampled_from((None, 1, 2)))
    async def discard(self, limit: int | None) -> None:
        """Some dead letters are removed, the oldest first."""
        letters = self.desk.owed.letters
        oldest = list(letters)[:limit]
        same(await self.desk.bus.discard_dead_letters(NAME, limit=limit), len(oldest), "dead letters removed")
        for sequence in oldest:
            del letters[sequence]
