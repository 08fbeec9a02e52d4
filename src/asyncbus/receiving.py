"""How a subscription gets its events: live from a bounded queue, or page by page, in one order without a gap."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from copy import copy
from typing import Final, Self

from asyncbus.causes import Handled, handled
from asyncbus.decoding import PLAIN, Decoding
from asyncbus.errors import (
    AsyncBusError,
    BusClosedError,
    SubscriptionBusyError,
    SubscriptionOverflowError,
    WrongEventLoopError,
)
from asyncbus.events import Event, Record, to_microseconds
from asyncbus.fanout import Fanout
from asyncbus.futures import resolve
from asyncbus.options import Start, WhenFull
from asyncbus.patterns import Pattern
from asyncbus.progress import Progress

log = logging.getLogger("asyncbus")

FIRST_PAGE: Final = 512
"""Events of a reader's first page, so that the first event comes soon; each next page is twice as long."""

LAST_PAGE: Final = 2048
"""Events of the longest page, about 1 MB of memory: a subscription may be behind for as long as it lives."""


class Receiving(Progress):
    """Takes what is committed, and hands it out; `Subscription` is what users hold of it.

    *Live*, it is offered what is committed and queues it. *Catching up*, it lets that pass by, and reads pages of the
    past until one reaches the head. What it has read or queued is delivered either way, the older first.
    """

    def __init__(
        self,
        pattern: Pattern,
        *,
        decoding: Decoding = PLAIN,
        name: str,
        start: Start,
        capacity: int,
        when_full: WhenFull,
        where: Callable[[Event], object] | None,
        rank: tuple[int, int],
        handled: bool,
        on_end: Callable[[Self], None],
    ) -> None:
        super().__init__()
        self.pattern = pattern
        self._decoding = decoding
        self._is_plain = decoding.is_plain  # asked once an event, as whether it blocks
        self.name = name
        self.rank = rank
        self.error: AsyncBusError | None = None
        self._start = start
        self._capacity = capacity
        self._when_full = when_full
        self._where = where
        self._choosy = where is not None
        self._blocking = when_full == "block"  # asked once an event (benchmarks/bench_memory_fanout.py)
        self._handled = handled
        self._on_end = on_end
        self._page_size = FIRST_PAGE
        # Where a datetime was given as start: it, in microseconds, and whether it was looked for.
        self._start_at: int | None = None
        self._found_start = False
        self._busy = False
        self.current: Record | None = None
        self.delivered = 0
        self.dropped = 0
        self.overflows = 0
        self.errors = 0
        self.handler_time = 0.0

    @property
    def blocks(self) -> bool:
        """Whether its full queue keeps the writer waiting."""
        return self._blocking

    @property
    def being_handled(self) -> Handled:
        """To be set to the event that a handler is called with."""
        return handled() if self._fanout is None else self._fanout.history.being_handled

    @property
    def is_handling(self) -> bool:
        """Whether its handler is at an event."""
        return self._handled and self.reader is not None and not self.reader.done() and not self._busy

    # ------------------------------------------------------------------------------------------- its life in a bus

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

    def _leave(self: Self, error: AsyncBusError | None, read_to: int) -> bool:
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
        if len(records) < room or (len(records) == room and not self._blocking):
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
        if waiter is not None:
            resolve(waiter, None)

    def _block(self) -> None:
        if self._fanout is not None:
            self._fanout.block(self)

    def _unblock(self) -> None:
        if self._fanout is not None:
            self._fanout.unblock(self)

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
            event = Event(record) if record.version is None and self._is_plain else self._decoding.event(record)
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
