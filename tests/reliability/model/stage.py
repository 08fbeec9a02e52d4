"""The stage of the rule machine: a bus, the model beside it, and what is under way between two steps."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from asyncbus import (
    Event,
    EventBus,
    EventIdConflictError,
    EventStore,
    PendingReceipt,
    SQLiteStore,
)
from tests.fakes import ManualClock
from tests.reliability.model.log import Conflict, ModelLog, Proposal, Stored, same, same_events
from tests.reliability.model.readers import HandlerReader, Reader, Waiter
from tests.reliability.model.world import Accepted, World, judge
from tests.reliability.trials import Figures, Violation

T = TypeVar("T")
PATIENCE = 20.0
"""Seconds after which something is held to hang."""


class Stage:
    """Keeps the bus and the model level.

    Args:
        world: what to open.
        folder: where a file may be.
        make: makes the store; a control hands in a broken one.
        figures: what is counted.
    """

    def __init__(self, world: World, folder: Path, make: Callable[[World, Path], EventStore], figures: Figures) -> None:
        self.world = world
        self.path = folder / "log.db"
        self.figures = figures
        self.clock = ManualClock()
        # The clock may go back, but not behind a moment of which nobody knows whether the writer has seen it.
        self.earliest = 0
        self.log = ModelLog(world.max_events if world.kind == "bounded memory" else None)
        self.readers: list[Reader] = []
        self.handlers: list[HandlerReader] = []
        self.waiters: list[Waiter] = []
        self.accepted: deque[Accepted] = deque()
        self._make = make
        self._store = make(world, self.path)
        self.bus = self._new_bus()

    @property
    def in_file(self) -> bool:
        """Whether there is a file that can be opened a second time."""
        return self.world.kind in {"sqlite", "sqlite, normal"}

    @property
    def stuck(self) -> bool:
        """Whether the writer has to wait for a reader."""
        return any(reader.blocks for reader in self.readers)

    def _new_bus(self) -> EventBus:
        if self.in_file:
            self._store = self._make(self.world, self.path)
        return EventBus(
            self._store,
            inbox_capacity=self.world.inbox_capacity,
            recent_capacity=self.world.recent_capacity,
            max_payload=1000,
            clock=self.clock,
        )

    # ------------------------------------------------------------------------------------------------- opening

    async def open(self) -> None:
        """Open the bus, another one than before."""
        await self.bus.__aenter__()
        same(self.bus.statistics().head, self.log.head, "the head of the log that was opened")

    async def close(self, how: Literal["close", "leave", "leave by an error"] = "close") -> None:
        """Close the bus, see that nothing accepted is lost and readers get what they are owed; then look at it all."""
        in_line = self.bus.statistics().waiting_publishers
        unblocked = not self.stuck and not self.accepted
        live = [reader for reader in self.readers if reader.subscription.phase == "live" and not reader.overflowed]
        match how:
            case "close":
                await self._in_time(self.bus.close())
            case "leave":
                await self._in_time(self.bus.__aexit__(None, None, None))
            case "leave by an error":
                error = ValueError("what a user's own code raised")
                await self._in_time(self.bus.__aexit__(ValueError, error, None))
        await self.until(lambda: all(accepted.done for accepted in self.accepted))
        self._refused(in_line)
        self.absorb()
        for reader in self.readers:
            owes_all = unblocked and reader in live and how != "leave by an error"
            await self._read_to_the_end(reader, owes_all=owes_all)
        for waiter in self.waiters:
            await asyncio.wait([waiter.waiting], timeout=PATIENCE)
        self.readers, self.handlers, self.waiters = [], [], []
        self.bus = self._new_bus()
        self.log.reopened()
        self.earliest = 0

    def _refused(self, in_line: int) -> None:
        """Who waited for room when the bus was closed may have been refused: those who came last, and in a row."""
        kept: deque[Accepted] = deque()
        refused = 0
        for accepted in self.accepted:
            waits = accepted.waits
            error = None if isinstance(waits, PendingReceipt) else waits.exception()
            if error is not None and not isinstance(error, EventIdConflictError):
                refused += 1
            elif refused:
                raise Violation(f"refused, and yet one that came later was accepted: {error!r}")
            else:
                kept.append(accepted)
        # The others had room once the writer had nobody to wait for any more.
        if refused > in_line:
            raise Violation(f"{in_line} publishers waited in line, and closing has refused {refused}")
        self.accepted = kept

    async def _read_to_the_end(self, reader: Reader, *, owes_all: bool) -> None:
        """What a closed bus's subscription still gives: what its queue held, where it was live."""
        events = aiter(reader.subscription)
        while True:
            try:
                event = await anext(events)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001  # the model judges it
                reader.failed(error, self.log, since=self.log.floor)
                return
            reader.got(event)
        if owes_all:
            reader.got_nothing()

    # -------------------------------------------------------------------------------------------- keeping level

    async def until(self, reached: Callable[[], object]) -> None:
        """Let the others run until a state is reached.

        Raises:
            Violation: it never is.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not reached():  # noqa: ASYNC110  # the states are attributes, which set no event
                    await asyncio.sleep(0)
        except TimeoutError:
            raise Violation(f"hangs: {self.bus.statistics()}, and the head should be {self.log.head}") from None

    async def _in_time(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(PATIENCE):
                return await call
        except TimeoutError:
            raise Violation(f"hangs: {self.bus.statistics()}") from None

    def absorb(self) -> bool:
        """Do in the model what the bus has done; whether both are level."""
        while self.accepted and self.accepted[0].done:
            self._commit(self.accepted.popleft())
        return self.bus.statistics().head == self.log.head

    def _is_quiet(self) -> bool:
        """Whether both are level, and nothing is under way that can go on by itself."""
        return self.absorb() and (not self.accepted or self.stuck)

    def _commit(self, accepted: Accepted) -> None:
        outcome = accepted.outcome()
        if not accepted.group:
            self._change(self.log.clear)
            return
        expected = self._change(lambda: self.log.store(accepted.group, self.clock.now()))
        judge(outcome, expected)
        self.figures["conflicts"] += isinstance(expected, Conflict)
        if not isinstance(expected, Conflict):
            self.figures["duplicates"] += sum(receipt.duplicate for receipt in expected)

    def _change(self, change: Callable[[], T]) -> T:
        """Change the model's log; who waits for events is offered what has come, and told if some are gone."""
        before, floor = self.log.head, self.log.floor
        done = change()
        for sequence in range(before + 1, self.log.head + 1):
            self._offer(self.log.ever[sequence])
        self.figures["stored"] += self.log.head - before
        if self.log.floor > floor:
            for reader in (*self.readers, *self.handlers):
                reader.removed()
            for waiter in self.waiters:
                waiter.removed()
        return done

    def _offer(self, event: Stored) -> None:
        for reader in (*self.readers, *self.handlers):
            reader.offer(event)
        for waiter in self.waiters:
            waiter.offer(event)

    async def settle(self) -> None:
        """Wait until all is done that can be done without another step, and compare."""

        def settled() -> bool:
            return (
                self._is_quiet()
                and all(handler.caught_up(self.log) for handler in self.handlers)
                and all(waiter.settled() for waiter in self.waiters)
            )

        await self.until(settled)
        self.handlers = [handler for handler in self.handlers if handler.subscription.error is None]
        self.waiters = [waiter for waiter in self.waiters if not waiter.waiting.done()]
        for reader in (*self.readers, *self.handlers):
            reader.note_phase()
            reader.check(self.log.head)
        blocked = [reader.subscription.name for reader in self.readers if reader.blocks]
        said = self.bus.statistics()
        same(sorted(said.blocked_by), sorted(blocked), "who blocks the writer")
        same((said.failed_unawaited >= 0, self.bus.health().status), (True, "ok"), "the health of the bus")

    # ------------------------------------------------------------------------------------------------ publishing

    def accept(self, group: Sequence[Proposal], waits: asyncio.Future[Any] | PendingReceipt) -> None:
        """Something was accepted; what becomes of it is compared when that is known."""
        self.accepted.append(Accepted(group, waits))

    def accept_clear(self, clearing: asyncio.Future[Any]) -> None:
        """A `clear` comes before those who wait in line for room, for they are not accepted yet."""
        self.accepted.insert(len(self.accepted) - self.bus.statistics().waiting_publishers, Accepted([], clearing))

    async def unknown(self, group: Sequence[Proposal], *, taken: bool | None) -> None:
        """The publisher of a group does not know whether it is stored: look, and see that it is whole or not at all.

        Args:
            group: what was published, with nothing else under way.
            taken: what its publisher was told; None: nothing.
        """
        if not self.stuck:
            with suppress(EventIdConflictError):
                await self._in_time(self.bus.flush())
        head = self.bus.statistics().head
        if head == self.log.head:
            # A duplicate, or one that conflicts, leaves no trace but one: the writer may have looked at the clock.
            self.earliest = self.clock.now()
            return
        if taken is False:
            raise Violation(f"stored, though its publisher was told it was not: {group!r}")
        self.figures["cancelled and stored"] += 1
        self._change(lambda: self.log.store(group, self.clock.now()))
        same(head, self.log.head, "the head, after a publish that was stored whole or not at all")

    # --------------------------------------------------------------------------------------------------- reading

    async def next_of(self, reader: Reader) -> bool:
        """Ask for the next event, which must come if it is owed, and not otherwise; whether one came."""
        # Where another reader of this step has let the writer go on, that comes first: beside it nobody could know
        # whether this one finds its queue full, or what it looks for removed.
        await self.until(self._is_quiet)
        floor = self.log.floor
        reader.look(self.log)
        asking = asyncio.ensure_future(anext(reader.subscription))
        await self.until(lambda: self.absorb() and (asking.done() or (self._is_quiet() and self._waits(reader))))
        reader.note_phase()  # another reader of this step may let the writer go on
        if not asking.done():
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            reader.got_nothing()
            return False
        error = asking.exception()
        if error is None:
            reader.got(asking.result())
            self.figures["read"] += 1
            return True
        if not isinstance(error, Exception):
            raise error
        self.figures[type(error).__name__] += 1
        reader.failed(error, self.log, since=floor)
        self.readers.remove(reader)
        return False

    def _waits(self, reader: Reader) -> bool:
        subscription = reader.subscription
        return subscription.phase == "live" and subscription.backlog == 0 and not reader.expects()

    def beside(self) -> EventBus:
        """A read-only bus on the same file."""
        return EventBus(SQLiteStore(self.path, read_only=True))

    async def compare_all(self) -> None:
        """See that the log holds what the model holds."""
        same_events(await self.bus.query(limit=None), self.log.retained(), "the whole log")
        same(await self.bus.latest_sequence(), self.log.head, "the latest sequence")

    def handler(self, arrived: list[Event], *, fails: bool) -> Callable[[Event], None]:
        """A handler that keeps what it gets, and fails now and then."""

        def handle(event: Event) -> None:
            arrived.append(event)
            if fails and event.sequence % 3 == 0:
                raise ValueError("a handler that fails now and then")

        return handle
