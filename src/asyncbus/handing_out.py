"""What a consumer has at hand: ready, in flight, waiting for a retry or behind another one; without waiting itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from asyncbus.clock import Clock
from asyncbus.consumer_options import ConsumerOptions
from asyncbus.delivery import Delivery
from asyncbus.lanes import Lanes
from asyncbus.ledger import Held, Ledger
from asyncbus.parking import Parking
from asyncbus.store.consumers import ConsumerState


class HandingOut:
    """Where each event is that a consumer holds, and which one is handed out next.

    Args:
        name: of the consumer.
        options: what the user wants.
        clock: gives the times of retries.
    """

    def __init__(self, name: str, options: ConsumerOptions, clock: Clock) -> None:
        self.name = name
        self.options = options
        self._clock = clock
        self.is_open = True
        self.is_paused = False
        # It is to go on elsewhere: until then nothing is handed out.
        self._is_moving = False
        # As stored last, once it is active; and what is to be stored beside the next state.
        self._stored = ConsumerState(name=name, pattern="", epoch=0)
        self._parking = Parking()
        self._ledger = Ledger(self._stored)
        self._max_in_flight = options.max_in_flight
        self._lanes = Lanes(options.order)
        # Begun: they may be handed out, in this order. Those that have to be begun again go before what is new.
        self._ready: deque[Held] = deque()
        self._again: deque[Held] = deque()
        self._waiting: set[Held] = set()
        self.in_flight: dict[Held, Delivery | None] = {}
        # Events that were in flight at an unclean end, and whose turn has not come or not ended.
        self._suspects = 0
        self._was_unclean = False
        self.redelivered = 0

    @property
    def epoch(self) -> int:
        """Which holder of its name it is."""
        return self._stored.epoch

    @property
    def held(self) -> int:
        """Events it has read that are not done."""
        return len(self._ledger)

    @property
    def waiting_for_retry(self) -> int:
        """Events that have failed and come again later."""
        return len(self._waiting)

    # --------------------------------------------------------------------------------------------- there and back again

    def _take_nowait(self) -> Held | None:
        """What is to be handed out now, or None."""
        ready = self._ready
        if not ready or self.is_paused or self._is_moving or not self.is_open:
            return None
        # The attribute first: this is asked for each event, and the property seldom has to be.
        limit = 1 if self._was_unclean and self.is_careful else self._max_in_flight
        while ready and len(self.in_flight) < limit:
            held = ready.popleft()
            if held.lane is None or self._lanes.enter(held):
                self.in_flight[held] = None
                if held.attempts > 1:
                    self.redelivered += 1
                return held
            if self._lanes.is_stopped(held):  # its turn may be far off: it is begun again then
                self._take_back(held)
        return None

    def _begin(self, lump: Iterable[Held]) -> None:
        for held in lump:
            if held.parked is None:
                self._ledger.begin(held)
            else:
                held.attempts += 1
                held.is_begun = True
                self._parking.count_attempts(held.parked, held.attempts)

    def _take_back(self, held: Held) -> None:
        """It was begun and is not handed out after all."""
        if held.parked is None:
            self._ledger.take_back(held)
        else:
            held.attempts -= 1
            held.is_begun = False
            self._parking.count_attempts(held.parked, held.attempts)

    def _wait(self, held: Held, delay: float) -> None:
        self._acquit(held)
        self._ledger.wait(held, self._clock.now() + int(delay * 1e6))
        self._waiting.add(held)
        for follower in self._lanes.stop(held):
            if follower.is_begun:
                self._take_back(follower)
        self._later(held, delay)

    def come_back(self, held: Held) -> None:
        """The time of its retry has come."""
        if held in self._waiting:
            self._waiting.discard(held)
            self._lanes.go_on(held)
            self._again.append(held)
            self._nudge()

    def _leave_flight(self, held: Held) -> None:
        """It is not handed out any more; what may be instead is known by now."""
        self.in_flight.pop(held, None)

    def _acquit(self, held: Held) -> None:
        """The process has outlived its attempt."""
        if held.suspect:
            held.suspect = False
            self._suspects -= 1

    def _settle(self, held: Held, *, is_done: bool = True) -> None:
        """It is owed no more; what waited for it may follow."""
        self._acquit(held)
        if held.parked is None:
            self._ledger.finish(held)
        else:
            self._parking.settle(held.parked, is_done=is_done)
        if held.leads:
            following = self._lanes.leave(held)
            if following is not None:
                if following.is_begun:
                    self._ready.appendleft(following)
                else:
                    self._again.append(following)
                    self._nudge()
        self._settled(held, is_done=is_done)

    # ------------------------------------------------------------------------------------- what a consumer adds to it

    @property
    def is_careful(self) -> bool:
        """Whether one event at a time is handed out, for one of them may have ended the process."""
        raise NotImplementedError

    def _later(self, held: Held, delay: float) -> None:
        """Call `come_back` after so many seconds."""
        raise NotImplementedError

    def _nudge(self) -> None:
        """There is something to begin."""
        raise NotImplementedError

    def _settled(self, held: Held, *, is_done: bool) -> None:
        """An event is owed no more."""
        raise NotImplementedError
