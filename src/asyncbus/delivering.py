"""What an outcome means: decided without waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable

from asyncbus.clock import Clock
from asyncbus.consumer_options import ConsumerOptions
from asyncbus.delivery import Delivery
from asyncbus.errors import (
    ConsumerClosedError,
    ConsumerStoppedError,
    EffectsError,
    Reject,
    StaleAckError,
    UnknownAckError,
    WouldDeadlockError,
)
from asyncbus.handing_out import HandingOut
from asyncbus.ledger import Held
from asyncbus.parking import note_failure

log = logging.getLogger("asyncbus")


class Delivering(HandingOut):
    """What becomes of the events of an active consumer; `Consumer` waits, reads and stores for it.

    Args:
        name: of the consumer.
        options: what the user wants.
        clock: gives the times of failures and retries.
        random: numbers from 0 to 1, for jitter.
    """

    def __init__(self, name: str, options: ConsumerOptions, clock: Clock, random: Callable[[], float]) -> None:
        super().__init__(name, options, clock)
        self._random = random
        self.error: Exception | None = None
        self.handled = 0
        self.failed = 0
        self.skipped = 0
        self.last_error: str | None = None

    @property
    def dead_letters(self) -> int:
        """Events that were parked and neither retried with success nor discarded."""
        return self._parking.count

    @property
    def has_unstored_letters(self) -> bool:
        """Whether something was parked, or a dead letter is done, that is not stored yet."""
        return self._parking.has_unstored

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
            self._stop(held, error.reason)
            return
        retry = self.options.retry
        is_last = held.attempts >= retry.attempts or held.parked is not None or isinstance(error, Reject)
        # What is no Exception, as where not the handler but what it awaited was cancelled, `Retry.on` cannot name.
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
            self._park(held)
            log.error("consumer %s parks event %d (%s): %s", *self._which(held), self.last_error)
        self._settle(held, is_done=False)
        self._leave_flight(held)

    def _which(self, held: Held) -> tuple[str, int, str]:
        return self.name, held.record.sequence, held.record.type

    def _stop(self, held: Held, reason: str) -> None:
        self._leave_flight(held)
        self._take_back(held)  # so that it is tried again when the consumer is
        self._end(ConsumerStoppedError(self.name, held.record.sequence, reason))

    def _give_back(self, held: Held) -> None:
        """Its handler was cancelled, by nobody's fault: that was no attempt."""
        self._leave_flight(held)
        self._take_back(held)

    def _park(self, held: Held) -> None:
        self._parking.park(self.name, held, self._clock.now())

    def _note(self, held: Held, error: BaseException | str) -> None:
        self.failed += 1
        self.last_error = note_failure(held, error, self._clock.now())

    # ------------------------------------------------------------------------------------- what a consumer adds to it

    def _end(self, error: Exception) -> None:
        """It cannot go on."""
        raise NotImplementedError

    async def saved(self) -> None:
        """Wait until what was decided is stored."""
        raise NotImplementedError
