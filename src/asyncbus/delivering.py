"""What a consumer hands out next, and what an outcome means: decided without waiting."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from asyncbus.clock import Clock
from asyncbus.consumer_options import ConsumerOptions
from asyncbus.delivery import Delivery
from asyncbus.errors import (
    ConsumerClosedError,
    ConsumerStoppedError,
    EffectsError,
    HandlerTimeoutError,
    Reject,
    StaleAckError,
    UnknownAckError,
    WouldDeadlockError,
)
from asyncbus.lanes import Lanes
from asyncbus.ledger import Held, Ledger
from asyncbus.store.consumers import Change, ConsumerState, Failure, ParkedEvent, Released

log = logging.getLogger("asyncbus")

_FAILURES: Final = 20
"""Failures kept with an event, the last ones: it may be tried without end."""

_LONGEST: Final = 16_384
"""Characters kept of a traceback, its end."""


class Delivering:
    """The state of an active consumer; `Consumer` waits, reads and stores for it.

    Args:
        name: of the consumer.
        options: what the user wants.
        clock: gives the times of failures and retries.
        random: numbers from 0 to 1, for jitter.
    """

    def __init__(self, name: str, options: ConsumerOptions, clock: Clock, random: Callable[[], float]) -> None:
        self.name = name
        self.options = options
        self._clock = clock
        self._random = random
        self.is_open = True
        self.is_paused = False
        self.error: Exception | None = None
        # As stored last, once it is active; what is to be stored beside the next state.
        self._stored = ConsumerState(name=name, pattern="", epoch=0)
        self._ledger = Ledger(self._stored)
        self._max_in_flight = options.max_in_flight
        self._pending: list[Change] = []
        self._letters_to_store = 0
        # Of the dead letters that are being tried again: the numbers of those that were discarded meanwhile.
        self._discarded: set[int] = set()
        # For each call that tries dead letters again: what was parked since it began, which is not for it.
        self._parked_since: list[set[int]] = []
        self._lanes = Lanes(options.order)
        # Begun: they may be handed out, in this order. Those that have to be begun again go before what is new.
        self._ready: deque[Held] = deque()
        self._again: deque[Held] = deque()
        self._waiting: set[Held] = set()
        self.in_flight: dict[Held, Delivery | None] = {}
        # Events that were in flight at an unclean end, and whose turn has not come or not ended.
        self._suspects = 0
        self._was_unclean = False
        self.handled = 0
        self.failed = 0
        self.redelivered = 0
        self.skipped = 0
        self.dead_letters = 0
        self.last_error: str | None = None

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

    @property
    def is_careful(self) -> bool:
        """Whether one event at a time is handed out, for one of them may have ended the process."""
        return self._suspects > 0

    # -------------------------------------------------------------------------------------------------- handing out

    def _take_nowait(self) -> Held | None:
        """What is to be handed out now, or None."""
        ready = self._ready
        if not ready or self.is_paused or not self.is_open:
            return None
        limit = 1 if self._was_unclean and self.is_careful else self._max_in_flight
        while ready and len(self.in_flight) < limit:
            held = ready.popleft()
            if held.lane is None or self._lanes.is_free(held):
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
                self._letters_to_store += 1
                self._pending.append(replace(held.parked, attempts=held.attempts))

    def _take_back(self, held: Held) -> None:
        """It was begun and is not handed out after all."""
        if held.parked is None:
            self._ledger.take_back(held)
        else:
            held.attempts -= 1
            held.is_begun = False

    # ----------------------------------------------------------------------------------------------------- outcomes

    def check(self, delivery: Delivery, held: Held, epoch: int) -> None:
        """Refuse what is said of a delivery that is not in flight.

        Raises:
            StaleAckError, ConsumerClosedError, UnknownAckError
        """
        if epoch != self.epoch:
            raise StaleAckError(self.name, held.record.sequence, epoch, self.epoch)
        if self.in_flight.get(held) is not delivery:
            if not self.is_open:
                raise ConsumerClosedError(self.name)
            raise UnknownAckError(self.name, held.record.sequence)

    def extend(self, held: Held) -> None:
        """Its time begins anew."""
        raise NotImplementedError

    def acknowledge(self, held: Held) -> None:
        """An event is done, says who has its delivery.

        Raises:
            WouldDeadlockError: it has effects, and is not done before they are.
        """
        if self.options.effects is not None:
            raise WouldDeadlockError(
                f"consumer {self.name!r} has effects: event {held.record.sequence} is done once they are committed,"
                " after its handler has returned; return instead of `ack`"
            )
        self.finish(held)

    def finish(self, held: Held) -> None:
        """An event is done."""
        self.handled += 1
        self._settle(held)
        self._leave_flight(held)

    def fail(self, held: Held, error: BaseException | str, *, delay: float | None = None) -> None:
        """An attempt has failed: the event comes again after a while, or is exhausted."""
        if isinstance(error, EffectsError):  # no attempt mends it
            self._stop(held, str(error))
            return
        retry = self.options.retry
        is_last = held.attempts >= retry.attempts or held.parked is not None or isinstance(error, Reject)
        # What the handler awaited may have been cancelled, not the handler itself: that is no exception of its kind.
        if is_last or (isinstance(error, Exception) and not retry.retries(error)):
            self.exhaust(held, error)
            return
        self._note(held, error)
        if delay is None:
            delay = retry.delay_before(held.attempts + 1, self._random())
        log.warning(
            "consumer %s: attempt %d of %d failed at event %d (%s), again in %.3g s: %s",
            self.name,
            held.attempts,
            retry.attempts,
            held.record.sequence,
            held.record.type,
            delay,
            self.last_error,
        )
        self._leave_flight(held)
        self._wait(held, delay)

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

    def exhaust(self, held: Held, error: BaseException | str) -> None:
        """There is no further attempt: it is parked, or ends the consumer, or is skipped."""
        self._note(held, error)
        if held.parked is not None:
            self._park(held)
            log.error(
                "consumer %s: the dead letter of event %d (%s) failed again: %s", *self._which(held), self.last_error
            )
        elif self.options.on_exhausted == "skip":
            self.skipped += 1
            log.error("consumer %s skips event %d (%s): %s", *self._which(held), self.last_error)
        elif self.options.on_exhausted == "stop":
            self._stop(held, f"{self.last_error}; mend the cause, then consume it again")
            return
        elif self.dead_letters >= self.options.max_dead_letters:
            self._stop(
                held, f"it has {self.dead_letters} dead letters, retry or discard them, or raise max_dead_letters"
            )
            return
        else:
            self.dead_letters += 1
            self._park(held)
            log.error("consumer %s parks event %d (%s): %s", *self._which(held), self.last_error)
        self._settle(held, is_done=False)
        self._leave_flight(held)

    def _which(self, held: Held) -> tuple[str, int, str]:
        return self.name, held.record.sequence, held.record.type

    @property
    def has_unstored_letters(self) -> bool:
        """Whether something was parked, or a dead letter is done, that is not stored yet."""
        return self._letters_to_store > 0

    def _park(self, held: Held) -> None:
        self._letters_to_store += 1
        if held.parked is not None:
            self._pending.append(replace(held.parked, attempts=held.attempts, failures=held.failures))
            return
        for since in self._parked_since:
            since.add(held.record.sequence)
        self._pending.append(
            ParkedEvent(
                consumer=self.name,
                record=held.record,
                attempts=held.attempts,
                failures=held.failures,
                parked_at=self._clock.now(),
            )
        )

    def _stop(self, held: Held, reason: str) -> None:
        self._leave_flight(held)
        self._take_back(held)  # so that it is tried again when the consumer is
        self._end(ConsumerStoppedError(self.name, held.record.sequence, reason))

    def _give_back(self, held: Held) -> None:
        """Its handler was cancelled, by nobody's fault: that was no attempt."""
        self._leave_flight(held)
        self._take_back(held)

    def _note(self, held: Held, error: BaseException | str) -> None:
        self.failed += 1
        if isinstance(error, Reject):
            text = error.reason
        else:
            text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        # A file's name, say, may hold what UTF-8 does not.
        text = self.last_error = text.encode("utf-8", "backslashreplace").decode()
        trace = "" if isinstance(error, str | HandlerTimeoutError) else "".join(traceback.format_exception(error))
        trace = trace[-_LONGEST:].encode("utf-8", "backslashreplace").decode()
        failure = Failure(attempt=held.attempts, error=text, traceback=trace, at=self._clock.now())
        held.failures = (*held.failures, failure)[-_FAILURES:]

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
            if is_done:
                self._letters_to_store += 1
                self._pending.append(Released((held.parked.number,)))
                self.dead_letters -= held.parked.number not in self._discarded
            self._discarded.discard(held.parked.number)
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

    def _later(self, held: Held, delay: float) -> None:
        """Call `come_back` after so many seconds."""
        raise NotImplementedError

    def _nudge(self) -> None:
        """There is something to begin."""
        raise NotImplementedError

    def _end(self, error: Exception) -> None:
        """It cannot go on."""
        raise NotImplementedError

    def _settled(self, held: Held, *, is_done: bool) -> None:
        """An event is owed no more."""
        raise NotImplementedError

    async def saved(self) -> None:
        """Wait until what was decided is stored."""
        raise NotImplementedError
