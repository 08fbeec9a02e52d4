"""Everything a user can do to a bus, as rules that hypothesis puts together; each is compared with the model."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from asyncbus import (
    AsyncBusError,
    Event,
    EventBus,
    EventsLostError,
    EventStore,
    InboxFullError,
    NewEvent,
    PublishOutcomeUnknownError,
    StartBeyondHeadError,
    Subscription,
)
from asyncbus.events import from_microseconds
from asyncbus.options import WhenFull
from tests.reliability import model_damage
from tests.reliability.model_log import Proposal, Stored, same, same_events
from tests.reliability.model_readers import HandlerReader, Reader, Waiter
from tests.reliability.model_stage import PATIENCE, Stage, World
from tests.reliability.model_words import (
    BAD,
    DATA,
    Draft,
    Limits,
    Wish,
    drafts,
    limits,
    patterns,
    places,
    rarely,
    starts,
    wishes,
    worlds,
)
from tests.reliability.trials import Figures, Violation
from asyncbus.testing.model import is_wanted

Act = Callable[..., Coroutine[Any, Any, None]]


def act(*, only: SearchStrategy[bool] = st.just(True), **drawn: Any) -> Callable[[Act], Any]:  # noqa: B008
    """A rule whose body runs on the machine's loop, after which bus and model must be level; counted as a step.

    Args:
        only: when; `rarely` for what should be.
        drawn: the strategies of its arguments.
    """

    def register(body: Act) -> Any:
        @wraps(body)
        def step(machine: BusMachine, only: bool, **values: Any) -> None:
            if only:
                machine.loop.run_until_complete(machine.play(body(machine, **values)))
                machine.stage.figures["steps"] += 1

        return rule(only=only, **drawn)(step)

    return register


def is_even(event: Event | Stored) -> bool:
    """A predicate for `where`."""
    return event.sequence % 2 == 0


class BusMachine(RuleBasedStateMachine):
    """A bus, and the rules by which it is used."""

    def __init__(self, folder: Path, make: Callable[[World, Path], EventStore], figures: Figures) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._make = make
        self._figures = figures
        self._runner = asyncio.Runner()
        self.loop = self._runner.get_loop()

    @initialize(world=worlds, wishes=st.lists(wishes, min_size=1, max_size=3))
    def begin(self, world: World, wishes: list[Wish]) -> None:
        self.stage = Stage(world, self._folder, self._make, self._figures)
        self.loop.run_until_complete(self._begin(wishes))

    async def _begin(self, wishes: list[Wish]) -> None:
        await self.stage.open()
        for wish in wishes:
            self._subscribe(wish)

    async def play(self, body: Coroutine[Any, Any, None]) -> None:
        await body
        await self.stage.settle()

    def teardown(self) -> None:
        try:
            if hasattr(self, "stage"):
                self.loop.run_until_complete(self._end())
        finally:
            self._runner.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _end(self) -> None:
        stage = self.stage
        await stage.close()
        await stage.open()
        await stage.compare_all()
        await stage.bus.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        same([task.get_name() for task in left], [], "tasks left behind")

    # ------------------------------------------------------------------------------------------------- publishing

    @act(draft=drafts, way=st.sampled_from(("stored", "accepted", "nowait", "thread")))
    async def publish(self, draft: Draft, way: str) -> None:
        """One event, in each of the ways there are."""
        stage, proposal = self.stage, self._proposal(draft)
        told = (proposal.type, proposal.data)
        options = proposal.options()
        if way == "nowait":
            await self._publish_nowait(proposal)
        elif way == "thread":
            if self._has_room(1):
                receipt = await asyncio.to_thread(stage.bus.publish_from_thread, *told, timeout=PATIENCE, **options)
                stage.accept([proposal], receipt)
        elif way == "accepted" and self._has_room(1):
            stage.accept([proposal], await stage.bus.publish(*told, ack="accepted", **options))
        else:
            stage.accept([proposal], asyncio.create_task(stage.bus.publish(*told, **options)))
            await asyncio.sleep(0)

    async def _publish_nowait(self, proposal: Proposal) -> None:
        stage = self.stage
        room = self._has_room(1)
        try:
            receipt = stage.bus.publish_nowait(proposal.type, proposal.data, **proposal.options())
        except InboxFullError:
            same(room, False, "whether the inbox has room")
        else:
            same(room, True, "whether the inbox has room")
            stage.accept([proposal], receipt)

    @act(batch=st.lists(drafts, max_size=6))
    async def publish_at_once(self, batch: list[Draft]) -> None:
        """Several events before the writer gets a turn: one commit."""
        for draft in batch:
            await self._publish_nowait(self._proposal(draft))

    @act(group=st.lists(drafts, max_size=4))
    async def publish_many(self, group: list[Draft]) -> None:
        """A group is stored whole, with consecutive sequences, or not at all."""
        await self._publish_group([self._proposal(draft) for draft in group])

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
                    good = [self._proposal(draft).proposed() for draft in beside]
                    await bus.publish_many([*good, NewEvent(type, data, **options)])
        except (AsyncBusError, ValueError):
            same(bus.statistics().published, published, "accepted of what was refused")
        else:
            raise Violation(f"accepted: {type!r}, {data!r}, {options!r}")

    @act(group=st.lists(drafts, min_size=1, max_size=3), ticks=st.integers(0, 6))
    async def cancel_a_publish(self, group: list[Draft], ticks: int) -> None:
        """Cancelled before the writer took it, it is not stored; afterwards nobody can know, but it is whole."""
        stage = self.stage
        proposals = [self._proposal(draft) for draft in group]
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
        stage, proposal = self.stage, self._proposal(draft)
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
        self.stage.accept([], asyncio.create_task(self.stage.bus.clear()))
        await asyncio.sleep(0)

    # ---------------------------------------------------------------------------------------------------- reading

    @act(wish=wishes)
    async def subscribe(self, wish: Wish) -> None:
        """A reader that is asked for events in other steps."""
        self._subscribe(wish)

    def _subscribe(self, wish: Wish) -> None:
        stage = self.stage
        where = is_even if wish.choosy else None
        begins, owed, moment = self._start(wish.start, wish.place)
        options: dict[str, Any] = {"when_full": wish.when_full, "capacity": wish.capacity, "where": where}
        subscription = stage.bus.subscribe(wish.terms, start=begins, priority=wish.priority, **options)
        reader = Reader(subscription, wish.terms, moment=moment, **options)
        same(reader.live, moment is None and self._is_head(begins), "whether a new subscription is live")
        reader.owe(owed)
        stage.readers.append(reader)
        stage.figures["subscriptions"] += 1

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
        begins, owed, moment = self._start(wish.start, wish.place)
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
        begins, owed, moment = self._start("earliest" if start == "moment" else start, place)
        waiter = Waiter(asyncio.ensure_future(stage.bus.wait_for(terms, where, start=begins)), terms, where)
        for event in owed:
            waiter.offer(event)
        stage.waiters.append(waiter)

    # ---------------------------------------------------------------------------------------------------- history

    @act(
        terms=patterns,
        ends=limits,
        times=limits,
        key=st.sampled_from((None, None, "k", "nobody's")),
        choosy=st.booleans(),
        limit=st.sampled_from((None, None, 1, 3)),
        newest_first=st.booleans(),
    )
    async def query(
        self,
        terms: Sequence[str],
        ends: Limits,
        times: Limits,
        key: str | None,
        choosy: bool,
        limit: int | None,
        newest_first: bool,
    ) -> None:
        """All filters at once."""
        start, stop = self._bound(ends.start, ends.by_time), self._bound(ends.stop, ends.by_time)
        since, until = self._moment(times.start), self._moment(times.stop)
        expected = [
            event
            for event in self.stage.log.retained()
            if is_wanted(terms, event.type)
            and _is_within(event, start, stop)
            and (since is None or event.time >= since)
            and (until is None or event.time < until)
            and (key is None or event.key == key)
            and (not choosy or is_even(event))
        ]
        if newest_first:
            expected.reverse()
        found = await self.stage.bus.query(
            terms,
            start=_said(start),
            stop=_said(stop),
            since=None if since is None else from_microseconds(since),
            until=None if until is None else from_microseconds(until),
            key=key,
            where=is_even if choosy else None,
            limit=limit,
            newest_first=newest_first,
        )
        same_events(found, expected[:limit], "found by a query")

    @act(terms=patterns, start=starts, place=places, stop=limits, late=drafts)
    async def replay(self, terms: Sequence[str], start: str, place: int, stop: Limits, late: Draft) -> None:
        """It ends at the head as it was at the call, whatever is published while it goes on."""
        stage = self.stage
        stops = self._bound(stop.stop, stop.by_time)
        begins, owed, moment = self._start(start, place)
        expected = [
            event
            for event in (stage.log.retained() if moment is not None else owed)
            if is_wanted(terms, event.type)
            and (moment is None or event.recorded_at >= moment)
            and _is_within(event, None, stops)
        ]
        replay = stage.bus.replay(terms, start=begins, stop=_said(stops))
        if stage.log.max_events is None:
            await self._publish_nowait(self._proposal(late))
            await asyncio.sleep(0)
        same_events([event async for event in replay], expected, "replayed")

    @act(terms=patterns)
    async def recent(self, terms: Sequence[str]) -> None:
        """The last ones of this run, from memory."""
        stage = self.stage
        newest = stage.log.recent[-max(stage.world.recent_capacity, stage.world.inbox_capacity) :]
        expected = [event for event in newest if is_wanted(terms, event.type)]
        same_events(stage.bus.recent(terms), expected, "recent")

    # --------------------------------------------------------------------------------------------- time and files

    @act(step=st.sampled_from((1, 1, 1000, -700)))
    async def let_time_pass(self, step: int) -> None:
        """The wall clock goes on, and sometimes back."""
        self.stage.clock.microseconds += step

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
            await self._publish_nowait(self._proposal(late))
            before = stage.log.head
            await stage.until(lambda: stage.absorb() and (not stage.accepted or stage.stuck))
            fresh = [stage.log.ever[sequence] for sequence in range(before + 1, stage.log.head + 1)]
            same_events(await _take(events, len(fresh)), fresh, "followed from beside, live")

    @precondition(lambda self: self.stage.in_file)
    @act(only=rarely, which=places, column=st.sampled_from(model_damage.COLUMNS), bit=st.integers(0, 500))
    async def flip_a_bit(self, which: int, column: str, bit: int) -> None:
        """The damaged event is told, and only that; those before and after it are read."""
        if self.stage.log.events:
            await model_damage.flip_a_bit(self.stage, which, column, bit)

    @precondition(lambda self: self.stage.in_file)
    @act(only=rarely, part=st.integers(0, 100), read_only=st.booleans())
    async def cut_the_wal(self, part: int, read_only: bool) -> None:
        """A copy that has lost the end of its write-ahead log is refused, or holds what it should."""
        await model_damage.cut_the_wal(self.stage, part, read_only=read_only)

    # ------------------------------------------------------------------------------------------- arguments as meant

    def _proposal(self, draft: Draft) -> Proposal:
        stage = self.stage
        data, read = DATA[draft.data]
        says_time = draft.earlier is not None
        time = stage.clock.now() - (draft.earlier or 0)
        # What a bounded log forgets in the middle of a commit decides which ids are new; only one at a time is clear.
        id = None if stage.log.max_events is not None and stage.accepted else draft.id
        return Proposal(draft.type, data, read, time, id, draft.key, draft.metadata, says_time)

    def _has_room(self, events: int) -> bool:
        said = self.stage.bus.statistics()
        return not said.waiting_publishers and said.inbox_depth + events <= self.stage.world.inbox_capacity

    def _is_head(self, begins: Any) -> bool:
        log = self.stage.log
        return begins in ("latest", log.head + 1) or (begins == "earliest" and log.floor == log.head)

    def _start(self, start: str, place: int) -> tuple[Any, list[Stored], int | None]:
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
        moment = self._moment(place) or 0
        return from_microseconds(moment), [], moment

    def _moment(self, place: int | None) -> int | None:
        """A moment about which something was recorded."""
        if place is None:
            return None
        log = self.stage.log.retained()
        about = log[place % len(log)].recorded_at if log else self.stage.clock.now()
        return about + place % 3 - 1

    def _bound(self, place: int | None, by_time: bool) -> tuple[Literal["sequence", "moment"], int] | None:
        if place is None:
            return None
        if by_time:
            return "moment", self._moment(place) or 0
        return "sequence", 1 + place % (self.stage.log.head + 3)


def _is_within(event: Stored, start: tuple[str, int] | None, stop: tuple[str, int] | None) -> bool:
    def value(bound: tuple[str, int]) -> int:
        return event.sequence if bound[0] == "sequence" else event.recorded_at

    return (start is None or value(start) >= start[1]) and (stop is None or value(stop) < stop[1])


def _said(bound: tuple[str, int] | None) -> Any:
    if bound is None:
        return None
    return bound[1] if bound[0] == "sequence" else from_microseconds(bound[1])


async def _take(events: Subscription, count: int) -> list[Event]:
    with suppress(StopAsyncIteration):
        async with asyncio.timeout(PATIENCE):
            return [await anext(events) for _ in range(count)]
    return []
