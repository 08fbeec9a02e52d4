"""What every reader must get: its subscription beside the events that the model owes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

from asyncbus import Event, EventsLostError, Subscription, SubscriptionOverflowError
from asyncbus.testing.model import is_wanted
from tests.reliability.model.log import ModelLog, Stored, same, told
from tests.reliability.trials import Violation

Where = Callable[[Event | Stored], bool]


class Reader:
    """A subscription and what it is owed, in order: first what it reads of the past, then what its queue must hold.

    Attributes:
        live: as it said when the last step was over; what is committed then goes into its queue.
        may_lose: whether something it had not read yet was removed while it was catching up.
        overflowed: whether `when_full="fail"` has ended it.
        delivered, dropped: what it must count.
    """

    def __init__(
        self,
        subscription: Subscription,
        terms: Sequence[str],
        *,
        when_full: str = "catch_up",
        capacity: int = 1024,
        where: Where | None = None,
        moment: int | None = None,
    ) -> None:
        self.subscription = subscription
        self.when_full = when_full
        self.capacity = capacity
        self.live = subscription.phase == "live"
        self.may_lose = False
        self.overflowed = False
        self.delivered = 0
        self.dropped = 0
        self.past: deque[Stored] = deque()
        self.queue: deque[Stored] = deque()
        self._terms = terms
        self._where = where
        self._moment = moment
        # A moment is looked for when the first event is asked for; only then is known what is owed.
        self._looked = moment is None
        self._last_offered = 0

    def owe(self, events: Sequence[Stored]) -> None:
        """What of the past it is owed."""
        self.past.extend(event for event in events if is_wanted(self._terms, event.type))

    def look(self, log: ModelLog) -> None:
        """It is about to read: a moment is looked for in what is retained now."""
        if not self._looked:
            self._looked = True
            self.owe([event for event in log.retained() if self._is_due(event)])

    def offer(self, event: Stored) -> None:
        """An event was committed."""
        if self.overflowed or not self._looked or not is_wanted(self._terms, event.type):
            return
        if not self.live or self.when_full == "catch_up":
            self.past.append(event)
        elif self.when_full == "fail" and len(self.queue) >= self.capacity:
            self.overflowed = True
        else:
            self.queue.append(event)
            self._last_offered = event.sequence
            if self.when_full == "drop_oldest" and len(self.queue) > self.capacity:
                self.queue.popleft()
                self.dropped += 1

    @property
    def blocks(self) -> bool:
        """Whether the writer must wait for it."""
        return self.when_full == "block" and len(self.queue) >= self.capacity

    def expects(self) -> bool:
        """Whether it must get an event, or be told what ended it, without anything more being published."""
        return self.overflowed or any(self._wants(event) for event in self._owed())

    def note_phase(self) -> None:
        """Note whether it is live; then it has read all it had left in the log."""
        self.live = self.subscription.phase == "live"
        if self.live:
            self.may_lose = False

    def removed(self) -> None:
        """Events were removed."""
        if self.subscription.phase == "catching_up" and not self.overflowed:
            self.may_lose = True

    def got(self, event: Event) -> None:
        """It was given an event: the next one it is owed, and no other."""
        while self._pop_unwanted():
            pass
        if not self.past and not self.queue:
            raise Violation(f"{self.subscription!r} got event {event.sequence}, and was owed none")
        expected = self._pop()
        same(told(event), expected, f"what {self.subscription!r} got")
        self.delivered += 1

    def got_nothing(self) -> None:
        """It has gone through all it held, and waits."""
        while self._pop_unwanted():
            pass
        same([event.sequence for event in self._owed()], [], f"owed to {self.subscription!r}, which waits")

    def failed(self, error: Exception, log: ModelLog, *, since: int) -> None:
        """It has ended by an error, which must be the one it deserves.

        Args:
            error: what it raised.
            log: as it is now.
            since: the floor before it was asked; more may have been removed until it looked, and since.

        Raises:
            Violation: it is not.
        """
        while self._pop_unwanted():
            pass
        rest = [event.sequence for event in self._owed()]
        if isinstance(error, SubscriptionOverflowError) and self.overflowed:
            same(rest, [], "held by a subscription that has overflowed, and not delivered")
            same((error.capacity, error.position), (self.capacity, self._last_offered), "facts of the overflow")
        elif isinstance(error, EventsLostError) and self.may_lose:
            if not since <= error.last <= log.floor:
                raise Violation(f"{error}, and the last that is lost is one of {since} to {log.floor}")
            if error.first > error.last or (rest and rest[0] < error.first):
                raise Violation(f"{error}, and owed are {rest}")
        else:
            raise Violation(f"{self.subscription!r} has no reason to raise {error!r}; owed are {rest}")

    def check(self, head: int) -> None:
        """See that what it says of itself is true.

        Raises:
            Violation: it is not.
        """
        said = self.subscription.statistics()
        same((said.delivered, said.dropped), (self.delivered, self.dropped), f"counted by {self.subscription!r}")
        same(said.backlog, head - said.position, f"the backlog of {self.subscription!r}")
        owed = next((event.sequence for event in self._owed()), head + 1)
        if self.may_lose or self.overflowed or not self._looked:
            return
        if not said.position < owed:
            raise Violation(f"{self.subscription!r} has passed event {owed}, which it has not delivered")
        if self.when_full != "block" and said.queued > self.capacity:
            raise Violation(f"{self.subscription!r} holds {said.queued} events, and has room for {self.capacity}")

    def _wants(self, event: Stored) -> bool:
        return self._is_due(event) and (self._where is None or self._where(event))

    def _is_due(self, event: Stored) -> bool:
        return self._moment is None or event.recorded_at >= self._moment

    def _owed(self) -> chain[Stored]:
        return chain(self.past, self.queue)

    def _pop(self) -> Stored:
        return self.past.popleft() if self.past else self.queue.popleft()

    def _pop_unwanted(self) -> bool:
        unwanted = next((not self._wants(event) for event in self._owed()), False)
        if unwanted:
            self._pop()
        return unwanted


class HandlerReader(Reader):
    """A subscription with a handler, which gets everything as soon as the loop runs."""

    def __init__(
        self, subscription: Subscription, terms: Sequence[str], arrived: list[Event], **options: object
    ) -> None:
        super().__init__(subscription, terms, **options)  # type: ignore[arg-type]  # as of Reader
        self._arrived = arrived
        self._floor = 0

    def caught_up(self, log: ModelLog) -> bool:
        """Compare what has arrived; whether that is all it is owed, or it was told why not."""
        self.look(log)
        while self._arrived:
            self.got(self._arrived.pop(0))
        error = self.subscription.error
        if error is not None:
            self.failed(error, log, since=self._floor)
            return True
        self._floor = log.floor
        if self.expects() or self.subscription.backlog:
            return False
        while self._pop_unwanted():
            pass
        return True

    @property
    def blocks(self) -> bool:
        """Never for long."""
        return False

    def removed(self) -> None:
        """It may have been catching up, for a moment that nobody has seen."""
        self.may_lose = self.may_lose or self.expects()


class Waiter:
    """A `wait_for`, and the event that must end it, as soon as that is there."""

    def __init__(self, waiting: asyncio.Future[Event], terms: Sequence[str], where: Where | None) -> None:
        self.waiting = waiting
        self._terms = terms
        self._where = where
        self._expected: Stored | None = None
        self.may_lose = False

    def offer(self, event: Stored) -> None:
        """An event is there."""
        fits = is_wanted(self._terms, event.type) and (self._where is None or self._where(event))
        if fits and self._expected is None:
            self._expected = event

    def removed(self) -> None:
        """Events were removed, and it may not have read them yet."""
        self.may_lose = True

    def settled(self) -> bool:
        """Whether it has got what it must have."""
        if not self.waiting.done():
            return self._expected is None
        error = self.waiting.exception()
        if isinstance(error, EventsLostError) and self.may_lose:
            return True
        if error is not None:
            raise Violation(f"wait_for raised {error!r}")
        same(told(self.waiting.result()), self._expected, "what wait_for gave")
        return True
