"""How a consumer gets its events: read, begun, handed to whoever has a hand free."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import islice

from asyncbus.ahead import Ahead
from asyncbus.consumer_options import Wanted
from asyncbus.errors import BusClosedError, EventsLostError, StoreCorruptError
from asyncbus.feed import Feed
from asyncbus.futures import resolve
from asyncbus.ledger import Held
from asyncbus.reading import NOT_OPEN
from asyncbus.storing import Storing
from asyncbus.surroundings import Surroundings


class Feeding(Storing):
    """Reads events, has it stored that they are begun, and lets those who are free take them."""

    def __init__(self, wanted: Wanted, surroundings: Surroundings) -> None:
        super().__init__(wanted, surroundings)
        self.pattern = wanted.pattern
        self._rank = wanted.rank
        self._feed = self._new_feed()
        # The last event that was taken from it, as far as anybody has to know.
        self._taken_to = 0
        self._ahead = Ahead(wanted.options.max_in_flight)
        # Dead letters among what is read again: for them there is another way.
        self._parked: frozenset[int] = frozenset()
        # Of the last lump: how many events, when they were begun, and how long storing that took.
        self._begun = 0
        self._begun_at = 0.0
        self._commit_time = 0.0
        # Those who wait for something to be handed out, and the one who feeds them.
        self._hungry: deque[asyncio.Future[None]] = deque()
        self._sleeper: asyncio.Future[None] | None = None
        self.is_started = False
        # Set once it has its name, or never will.
        self._is_settled_in = asyncio.Event()
        # Where `seek` wants it to go on, and who waits for that.
        self._sought: tuple[int, asyncio.Future[None]] | None = None

    def _new_feed(self) -> Feed:
        return Feed(self.pattern, name=self.name, rank=self._rank, on_wake=self._nudge, on_end=self._around.forget)

    def _feed_from(self, before: int) -> None:
        """Begin to read with the first event after a sequence."""
        self._around.attach(self._feed, before)
        self._taken_to = before

    @property
    def is_careful(self) -> bool:
        """Whether one event at a time is handed out, for one of them may have ended the process."""
        if not self._was_unclean:
            return False
        return self._suspects > 0 or self._feed.position < self._ledger.suspect_to

    def _monotonic(self) -> float:
        """Seconds of the bus's clock."""
        return self._around.clock.monotonic()

    # ------------------------------------------------------------------------------------------------ who feeds them

    async def _feed_on(self) -> None:
        """Begin what there is, until it is closed or the log cannot be read."""
        while self.is_open:
            if self._sought is not None:
                await self._move(*self._sought)
            elif lump := self._lump():
                await self._begin_stored(lump)
            elif self._demand() > 0 and await self._feed.read_on():
                self._tell_passed()
            elif self._feed.open:
                await self._wait_for_more()
            elif self._feed.error is None:
                return
            else:
                raise self._told(self._feed.error)

    async def _wait_for_more(self) -> None:
        if self._demand() > 0 and self.held <= len(self.in_flight) + self.waiting_for_retry:
            self._ahead.waited()
        self._tell_passed()
        if self._hungry:
            self._around.saving.ask(self)  # there is time to store what was done
        self._sleeper = asyncio.get_running_loop().create_future()
        await self._sleeper

    def _told(self, error: Exception) -> Exception:
        """What has ended the feed, with what to do for a consumer."""
        told = error
        if isinstance(error, EventsLostError):
            told = EventsLostError(error.first, error.last, consumer=self.name)
        elif isinstance(error, StoreCorruptError) and error.sequence is not None:
            go_on = f"seek({self.name!r}, start={error.sequence + 1}) and consume it again to go on behind it"
            told = StoreCorruptError(f"{error.reason}; {go_on}", error.sequence)
        if told is not error:
            told.__cause__ = error
        return told

    async def _begin_stored(self, lump: list[Held]) -> None:
        self._alone = lump[0].record.sequence if self.is_careful else 0
        begun = [*lump, *self._followers(lump)] if self._is_ahead else lump
        self._begin(begun)
        began = self._monotonic()
        await self._store_begun()
        self._begun, self._begun_at = len(begun), self._monotonic()
        self._commit_time = self._begun_at - began
        self._ready.extend(lump)
        self._wake_hungry()

    async def _move(self, before: int, moved: asyncio.Future[None]) -> None:
        """Go on after another sequence."""
        raise NotImplementedError

    def _demand(self) -> int:
        """How many events may be begun now."""
        if self.is_paused or self._sought is not None:
            return 0
        hands = len(self._hungry) - len(self._ready)
        if self.is_careful:
            return 1 if hands > 0 and not self.in_flight and not self._ready else 0
        if self._ahead.size > 1:
            return self._ahead.size if len(self._ready) <= self._ahead.size // 2 else 0
        return hands

    def _lump(self) -> list[Held]:
        """What is to be begun next: what comes again before what is new."""
        demand = self._demand()
        lump: list[Held] = []
        while len(lump) < demand and (found := self._next(demand - len(lump))):
            lump += found if self._is_ahead else filter(self._may_begin, found)
        if lump and self._begun:
            self._ahead.handled(self._begun, self._monotonic() - self._begun_at, self._commit_time)
            self._begun = 0
        return lump

    @property
    def _is_ahead(self) -> bool:
        """Whether more is begun than there are hands free, wherever it stands in its lane."""
        return self._ahead.size > 1 and not self.is_careful

    def _next(self, most: int) -> list[Held]:
        if self._again:
            return [self._again.popleft()]
        room = min(most, self.options.max_in_flight - self.held)
        return self._read(room) if room > 0 else []

    def _may_begin(self, held: Held) -> bool:
        """Whether it can be handed out at once; if not, it is begun when it is the first of its lane."""
        leads = self._lanes.enter(held)
        if not leads and held.parked is None:
            self._ledger.pass_over(held)
        return leads

    def _followers(self, lump: list[Held]) -> Iterable[Held]:
        """What comes right after those of a lump that lead their lanes, as much as may be begun with it."""
        waiting = (each for held in lump if held.leads for each in self._lanes.behind(held) if not each.is_begun)
        return islice(waiting, max(self._ahead.size - len(lump), 0))

    def _read(self, room: int) -> list[Held]:
        is_careful = self.is_careful  # asked first, for taking moves the feed past the suspects
        read = self._take(room)
        if is_careful:
            for held in read:
                self._suspect(held)
        for held in read:
            self._ledger.read(held)
        return read

    def _take(self, room: int) -> list[Held]:
        """What the feed has at hand next, but for dead letters."""
        lane_of = self._lanes.of
        while True:
            taken = [Held(record, lane=lane_of(record)) for record in self._feed.take(room)]
            if self.options.effects is not None:
                for held in taken:
                    held.after, self._taken_to = self._taken_to, held.record.sequence
            wanted = [held for held in taken if held.record.sequence not in self._parked] if self._parked else taken
            if wanted or not taken:
                return wanted

    def _suspect(self, held: Held) -> None:
        """It may have been in flight when the last process ended."""
        if held.record.sequence <= self._ledger.suspect_to:
            held.attempts = max(held.attempts, 1)
            held.suspect = True
            self._suspects += 1

    def _nudge(self) -> None:
        if self._sleeper is not None:
            resolve(self._sleeper, None)

    @property
    def _is_feeding(self) -> bool:
        """Whether more is being read or begun, which takes turns of the loop."""
        return self._sleeper is None or self._sleeper.done()

    def _look_ahead(self) -> None:
        """Let more be begun, where little is left at hand."""
        if len(self._ready) <= self._ahead.size // 2:
            self._nudge()

    # --------------------------------------------------------------------------------------------- those who are fed

    async def _next_held(self) -> Held | None:
        """What is to be handed out next, waiting for it; None: nothing more is."""
        while (held := self._take_nowait()) is None:
            if not self.is_open:
                return None
            if not self.is_started:
                raise BusClosedError(NOT_OPEN)
            hungry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._hungry.append(hungry)
            self._nudge()
            try:
                await hungry
            except asyncio.CancelledError:
                if hungry in self._hungry:
                    self._hungry.remove(hungry)
                else:
                    self._wake_hungry()  # another one may have what this one was woken for
                raise
        if self._hungry:  # what this one was woken for may have been counted as theirs
            self._nudge()
        return held

    def _wake_hungry(self) -> None:
        for _ in range(min(len(self._hungry), len(self._ready))):
            resolve(self._hungry.popleft(), None)

    def _leave_flight(self, held: Held) -> None:
        super()._leave_flight(held)
        if self._hungry or self._sought is not None:  # there may be room in flight now
            self._wake_hungry()
            self._nudge()

    def _stop_handing_out(self) -> None:
        self.is_open = False
        self._is_settled_in.set()
        self._nudge()
        while self._hungry:
            resolve(self._hungry.popleft(), None)
