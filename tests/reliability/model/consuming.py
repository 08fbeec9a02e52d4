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
from tests.reliability.model import by_hand
from tests.reliability.model.by_hand import NAME, TERMS, ByHand, Setting
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
                machine.hand.figures["steps"] += 1

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
            await self.hand.check()

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
        self.hand = ByHand(setting, self._folder, self._figures)
        self.run(self.hand.open())

    def teardown(self) -> None:
        try:
            if hasattr(self, "hand"):
                self._runner.get_loop().run_until_complete(self._end())
        finally:
            self._runner.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _end(self) -> None:
        if self._over:
            with suppress(Exception):
                await asyncio.wait_for(self.hand.bus.close(), by_hand.PATIENCE)
            return
        await self.hand.in_time(self.hand.bus.close())
        left = asyncio.all_tasks() - {asyncio.current_task()}
        same([task.get_name() for task in left], [], "tasks left behind")

    # ------------------------------------------------------------------------------------------------- its events

    @act(batch=st.lists(st.tuples(types, keys), min_size=1, max_size=8))
    async def publish(self, batch: list[tuple[str, str | None]]) -> None:
        """Some events, of which some match."""
        hand = self.hand
        for type, key in batch:
            receipt = await hand.bus.publish(type, key=key)
            hand.head = receipt.sequence
            if is_wanted(TERMS, type):
                hand.matching[receipt.sequence] = key
                hand.owed.stored(receipt.sequence, key)
        hand.figures["stored"] += len(batch)

    @act(count=st.sampled_from((1, 1, 2, 5, 50)))
    async def take(self, count: int) -> None:
        """Ask for some deliveries."""
        await self._take(count)

    async def _take(self, count: int) -> None:
        for _ in range(count):
            if not await self.hand.next():
                break

    @act(count=st.sampled_from((5, 50)))
    async def work_off(self, count: int) -> None:
        """Ask, and say that it is done, each time."""
        for _ in range(count):
            before = set(self.hand.owed.in_flight)
            if not await self.hand.next():
                break
            for sequence in set(self.hand.owed.in_flight) - before:
                await self._say(sequence, "ack")

    @act(microseconds=st.sampled_from((1, 1_000, 1_000_000, 2_000_000)))
    async def let_time_pass(self, microseconds: int) -> None:
        """Retries may become due."""
        self.hand.clock.advance(microseconds / 1e6)

    # --------------------------------------------------------------------------------------------------- outcomes

    @act(said=st.lists(st.tuples(which, outcomes), min_size=1, max_size=5))
    async def say(self, said: list[tuple[int, Outcome]]) -> None:
        """Some of those in flight are done, in any order, or have failed, or will never work."""
        for which, outcome in said:
            flight = list(self.hand.owed.in_flight)
            if flight:
                await self._say(flight[which % len(flight)], outcome)

    async def _say(self, sequence: int, outcome: Outcome) -> None:
        hand, owed = self.hand, self.hand.owed
        delivery = owed.events[sequence].delivery
        assert delivery is not None  # it is in flight
        hand.settled.append(delivery)
        reason = f"{outcome} of {sequence}"
        match outcome:
            case "ack":
                await hand.in_time(delivery.ack())
                owed.done(sequence)
            case "reject":
                await hand.in_time(delivery.reject(reason))
                owed.park(sequence, reason)
                hand.figures["parked"] += 1
            case "nak":
                await hand.in_time(delivery.nak(reason=reason))
                owed.failed(sequence, hand.clock.now(), None, reason)
            case delay:
                await hand.in_time(delivery.nak(delay / 1e6, reason))
                owed.failed(sequence, hand.clock.now(), delay, reason)

    @act(which=which, how=st.sampled_from(("ack", "nak", "reject", "in_progress")))
    async def say_it_again(self, which: int, how: str) -> None:
        """What has had its outcome, or is not in flight any more, gets no other."""
        settled = self.hand.settled
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
        await self.hand.close()
        await (self.hand.reopen() if reopens else self.hand.consume())
        await self._take(count)

    @act(only=rarely)
    async def leave_the_bus(self) -> None:
        """The bus closes it."""
        self.hand.forget_flight()
        self.hand.owed.close()
        await self.hand.reopen()

    @act(only=sometimes, count=st.integers(0, 5))
    async def crash(self, count: int) -> None:
        """Its process is no more, and another one goes on."""
        await self.hand.crash()
        await self._take(count)
        self.hand.figures["crashes"] += 1

    @act(only=rarely, place=st.integers(0, 40))
    async def seek(self, place: int) -> None:
        """It goes on elsewhere; what is in flight is stale."""
        hand = self.hand
        start = 1 + place % (hand.head + 1)
        await hand.in_time(hand.bus.seek(NAME, start=start))
        hand.forget_flight()
        hand.owed.seek({sequence: key for sequence, key in hand.matching.items() if sequence >= start})
        hand.may_be_anywhere()

    @act(only=rarely, paused=st.booleans())
    async def pause(self, paused: bool) -> None:
        """It hands out nothing more, or goes on."""
        bus = self.hand.bus
        await self.hand.in_time(bus.pause(NAME) if paused else bus.resume(NAME))
        self.hand.owed.is_paused = paused

    @act(only=rarely)
    async def delete(self) -> None:
        """It is forgotten, and begins anew."""
        hand = self.hand
        await hand.close()
        await hand.in_time(hand.bus.delete_consumer(NAME))
        hand.owed = hand.nothing_owed()
        hand.owed.seek(hand.matching)
        hand.may_be_anywhere()
        await hand.consume()

    @act(only=rarely, limit=st.sampled_from((None, 1, 2)))
    async def discard(self, limit: int | None) -> None:
        """Some dead letters are removed, the oldest first."""
        letters = self.hand.owed.letters
        oldest = list(letters)[:limit]
        same(await self.hand.bus.discard_dead_letters(NAME, limit=limit), len(oldest), "dead letters removed")
        for sequence in oldest:
            del letters[sequence]
