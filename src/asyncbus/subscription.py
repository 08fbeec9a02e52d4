"""One reader of the log: live from a bounded queue, or catching up page by page, in one order without a gap."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from copy import copy
from types import TracebackType
from typing import Any, Final, Literal, Self

from asyncbus.codec import json_decode
from asyncbus.errors import (
    AsyncBusError,
    BusClosedError,
    SubscriptionBusyError,
    SubscriptionOverflowError,
    WrongEventLoopError,
)
from asyncbus.events import Event, Record, to_microseconds
from asyncbus.fanout import Fanout
from asyncbus.options import Start, WhenFull
from asyncbus.patterns import Pattern
from asyncbus.statistics import SubscriptionStatistics

log = logging.getLogger("asyncbus")

FIRST_PAGE: Final = 512
"""Events of a reader's first page, so that the first event comes soon; each next page is twice as long."""

LAST_PAGE: Final = 1024
"""Events of the longest page, about half a MB of memory: a subscription may be behind for as long as it lives."""


class Subscription:
    """A reader of the events of one pattern, forgotten when it is closed.

    Iterate it (`async for event in subscription`), or let the bus run a handler over it. Use it as an async context
    manager: leaving releases it at once, also by `break`. Made by `EventBus.subscribe`, which documents the options.

    Each matching event comes exactly once, in ascending sequence. Cancelling a task that waits for an event loses none.
    """

    def __init__(
        self,
        pattern: Pattern,
        *,
        name: str,
        start: Start,
        capacity: int,
        when_full: WhenFull,
        where: Callable[[Event], object] | None,
        rank: tuple[int, int],
        handled: bool,
        on_end: Callable[[Subscription], None],
    ) -> None:
        self.pattern = pattern
        self.name = name
        self.rank = rank
        self.error: AsyncBusError | None = None
        self.reader: asyncio.Task[Any] | None = None
        self._start = start
        self._capacity = capacity
        self._when_full = when_full
        self._where = where
        self._choosy = where is not None
        self._blocking = when_full == "block"  # asked once an event (benchmarks/bench_memory_fanout.py)
        self._handled = handled
        self._on_end = on_end
        # What was read of the past goes before what came live; each is bounded by itself.
        self._page: deque[Record] = deque()
        self._queue: deque[Record] = deque()
        self._page_size = FIRST_PAGE
        self._live = False
        # While catching up: every matching event at or below it was delivered or is in the page or the queue.
        self._read_to = 0
        # Where a datetime was given as start: it, in microseconds, and whether it was looked for.
        self._start_at: int | None = None
        self._found_start = False
        self._fanout: Fanout | None = None
        self._open = True
        self._waiter: asyncio.Future[None] | None = None
        self._busy = False
        self._passed: list[tuple[int, asyncio.Future[None]]] = []
        self.current: Record | None = None
        self.delivered = 0
        self.dropped = 0
        self.overflows = 0
        self.errors = 0
        self.handler_time = 0.0

    # ---------------------------------------------------------------------------------------------- what users see

    @property
    def phase(self) -> Literal["catching_up", "live"]:
        """Whether events come as they are committed, or are being read from the past."""
        return "live" if self._live else "catching_up"

    @property
    def position(self) -> int:
        """Every matching event at or below it was delivered; it moves over events that do not match."""
        if self._page:
            return self._page[0].sequence - 1
        if self._queue:
            return self._queue[0].sequence - 1
        return self._fanout.history.head if self._live and self._fanout is not None else self._read_to

    @property
    def backlog(self) -> int:
        """How many sequences the position is behind the head."""
        return 0 if self._fanout is None else max(self._fanout.history.head - self.position, 0)

    def statistics(self) -> SubscriptionStatistics:
        """What it has done so far."""
        return SubscriptionStatistics(
            name=self.name,
            pattern=str(self.pattern),
            phase=self.phase,
            position=self.position,
            backlog=self.backlog,
            queued=len(self._queue),
            delivered=self.delivered,
            dropped=self.dropped,
            overflows=self.overflows,
            errors=self.errors,
            handler_time=self.handler_time,
            error=self.error,
        )

    def __aiter__(self) -> Self:
        self._know_reader()
        return self

    async def __anext__(self) -> Event:
        """The next event, waiting for it if need be.

        Raises:
            StopAsyncIteration: the subscription or the bus was closed.
            EventsLostError: what it was owed was removed.
            SubscriptionOverflowError: with `when_full="fail"`, after what the queue held.
            SubscriptionBusyError: another task, or a handler, reads it.
            BusClosedError: the bus is not open yet.
            Exception: what `where` raised; that event is passed over.
            StoreCorruptError, StoreFailedError: the past could not be read.
        """
        if self._handled:
            raise SubscriptionBusyError(f"{self.name} has a handler; subscribe without one to iterate")
        if self.reader is None:
            self._know_reader()
        while True:
            try:
                event = self.next_nowait()
            except Exception:
                self.errors += 1
                raise
            if event is not None:
                return event
            if not await self.ready():
                raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it at once: what its queue holds is not delivered any more.

        With a handler it waits until the event being handled is done, unless the handler itself calls it. So two
        handlers that close each other's subscription wait for each other, until the bus is closed and its
        `close_timeout` is over. It may be called twice. Cancelling it does not undo it.
        """
        self.end()
        if self._handled and self.reader is not None and self.reader is not asyncio.current_task():
            await asyncio.wait([self.reader])

    def __repr__(self) -> str:
        state = self.phase if self._open else "closed"
        return f"<Subscription {self.name!r} {state} position={self.position} backlog={self.backlog}>"

    # ------------------------------------------------------------------------------------------- its life in a bus

    @property
    def open(self) -> bool:
        """Whether more events may come than it holds already."""
        return self._open

    @property
    def unfinished(self) -> int:
        """Events it holds and has not delivered."""
        return len(self._page) + len(self._queue)

    @property
    def blocks(self) -> bool:
        """Whether its full queue keeps the writer waiting."""
        return self._blocking

    def is_read_beside(self, tasks: Collection[asyncio.Task[Any] | None]) -> bool:
        """Whether a task reads it that is none of `tasks`."""
        return self.reader is not None and self.reader not in tasks and not self.reader.done()

    def _know_reader(self) -> None:
        if self._fanout is not None:  # then there is a loop
            self.reader = asyncio.current_task()

    def attach(self, fanout: Fanout) -> None:
        """Begin to take part: from here on, nothing that is committed passes it by.

        Raises:
            StartBeyondHeadError, EventsLostError: `start` is not in this log.
        """
        history = fanout.history
        before = history.before(self._start)
        if before is None:
            self._start_at = to_microseconds("start", self._start)
            self._choosy = True
        else:
            self._read_to = before
        self._live = before == history.head
        self._fanout = fanout
        fanout.add(self.pattern, self)

    def end(self, error: AsyncBusError | None = None) -> None:
        """Deliver nothing more, and raise `error`, if any, where the next event is asked for."""
        position = self.position
        self._leave(error, position)
        self._read_to = position
        self._page.clear()
        self._queue.clear()
        self.wake()

    def fall_back(self) -> None:
        """Something it was owed was removed before it was offered: it reads from the log, and is told there."""
        if self._live and self._fanout is not None:
            self._read_to = self._fanout.history.head
            self._live = False
            self.wake()

    def finish(self) -> None:
        """The bus is closing: a live reader gets what its queue holds, one that is catching up stops where it is."""
        if not self._open:  # it overflowed in the last commit, say: what it holds is still delivered
            return
        if not self._live:
            self.end()
        elif self._fanout is not None and self._leave(None, self._fanout.history.head):
            self.wake()

    def _leave(self, error: AsyncBusError | None, read_to: int) -> bool:
        if not self._open:
            return False
        self._open = False
        self.error = error
        self._read_to = read_to
        self._live = False
        if self._fanout is not None:
            self._fanout.remove(self.pattern, self)
        self._on_end(self)
        return True

    # ------------------------------------------------------------------------------------------------- the fan-out

    def offer(self, records: Sequence[Record]) -> None:
        """Take what was committed; what does not fit is dealt with as `when_full` says."""
        if not self._live:  # it will read them when it gets there
            return
        room = self._capacity - len(self._queue)
        if len(records) < room or (len(records) == room and self._when_full != "block"):
            self._queue.extend(records)
        else:
            self._overflow(records, room)

    def _overflow(self, records: Sequence[Record], room: int) -> None:
        self.overflows += 1
        match self._when_full:
            case "catch_up":
                if self.overflows == 1:
                    log.info("subscription %s has fallen behind and reads from the log", self.name)
                self._queue.extend(records[:room])
                # Not the last one it holds: what was removed between that and the first that does not fit was not its.
                self._read_to = records[room].sequence - 1
                self._live = False
            case "block":
                self._queue.extend(records)
                self._block()
            case "drop_oldest":
                self._queue.extend(records)
                self._drop(len(self._queue) - self._capacity)
            case "fail":
                self._queue.extend(records[:room])
                last = self._queue[-1].sequence
                self._leave(SubscriptionOverflowError(self._capacity, last), last)

    def _drop(self, count: int) -> None:
        first = self._queue[0].sequence
        for _ in range(count):
            last = self._queue.popleft().sequence
        if not self.dropped:
            log.warning(
                "subscription %s is full and drops its oldest events, %d (sequences %d to %d) now;"
                " statistics() counts what follows",
                self.name,
                count,
                first,
                last,
            )
        self.dropped += count

    def wake(self) -> None:
        """Let the task that waits for events go on."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -------------------------------------------------------------------------------------------------- the reader

    def next_nowait(self) -> Event | None:
        """The next event that is at hand and passes `where`, or None.

        Raises:
            Exception: what `where` raised; the event is passed over.
        """
        while True:
            if self._page:
                record = self._page.popleft()
            elif self._queue:
                record = self._queue.popleft()
                if self._blocking and len(self._queue) < self._capacity:
                    self._unblock()
            else:
                return None
            self.current = record
            event = Event(record, json_decode)
            if not self._choosy or self._fits(event, record):
                self.delivered += 1
                return event

    def _fits(self, event: Event, record: Record) -> bool:
        if self._start_at is not None and record.recorded_at < self._start_at:
            return False
        return self._where is None or bool(self._where(event))

    async def ready(self) -> bool:
        """Wait until events are at hand; False: there will be none any more.

        Raises:
            AsyncBusError: what ended the subscription.
        """
        if self._busy:
            raise SubscriptionBusyError(
                f"{self.name} is being iterated by another task; give each task its own subscription"
            )
        self._busy = True
        self._know_reader()
        try:
            while not (self._page or self._queue):
                self.tell_passed()
                if not self._open:
                    if self.error is not None:
                        raise copy(self.error)
                    return False
                if self._fanout is None:
                    raise BusClosedError("the bus is not open yet; iterate inside `async with bus:`")
                loop = asyncio.get_running_loop()
                if self._fanout.loop is not None and self._fanout.loop is not loop:
                    raise WrongEventLoopError("this subscription belongs to a bus on another event loop; iterate there")
                if self._live:
                    self._waiter = loop.create_future()
                    await self._waiter
                else:
                    await self._catch_up(self._fanout)
            return True
        finally:
            self._busy = False

    async def _catch_up(self, fanout: Fanout) -> None:
        """Read one page, and be live if it reached the head."""
        history = fanout.history
        try:
            if self._start_at is not None and not self._found_start:
                # What comes later than the moment it is looked for is compared with it when it is delivered.
                self._read_to = await history.before_moment(self._start_at)
                self._found_start = True
            page = await history.page(self._read_to, self.pattern, self._page_size)
        except AsyncBusError as error:
            self.end(error)
            return
        # From here on no await: on one loop that is the lock between reading the past and going live.
        if self._open:
            self._page_size = min(self._page_size * 2, LAST_PAGE)
            self._page.extend(page.records)
            self._read_to = page.up_to
            self._live = self._read_to >= history.head

    def _block(self) -> None:
        if self._fanout is not None:
            self._fanout.block(self)

    def _unblock(self) -> None:
        if self._fanout is not None:
            self._fanout.unblock(self)

    # ------------------------------------------------------------------------------------------------------- drain

    async def passed(self, sequence: int) -> None:
        """Wait until its reader is done with all events up to `sequence`, or it has ended and holds nothing more."""
        future = asyncio.get_running_loop().create_future()
        self._passed.append((sequence, future))
        if self._waiter is not None or self.reader is None or self.reader.done():  # no event is being handled
            self.tell_passed()
        await future

    def excuse(self) -> None:
        """Its reader itself waits for what waits for it: nobody is to wait for it any more."""
        for _, future in self._passed:
            if not future.done():
                future.set_result(None)

    async def finished(self) -> None:
        """Wait until what it holds was delivered and handled, or its reader is gone."""
        if self.reader is None:
            return
        delivered = asyncio.ensure_future(self.passed(self._read_to))
        try:
            await asyncio.wait([delivered, self.reader], return_when=asyncio.FIRST_COMPLETED)
        finally:
            delivered.cancel()

    def tell_passed(self) -> None:
        """Called where no event is being handled: let those go on who waited for that."""
        if self._passed:
            position = self.position
            ended = not self._open and not self.unfinished
            for sequence, future in self._passed:
                if (sequence <= position or ended) and not future.done():
                    future.set_result(None)
            self._passed = [(sequence, future) for sequence, future in self._passed if not future.done()]
