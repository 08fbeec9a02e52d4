"""What a consumer hands out: an event, and what may become of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Generic, Protocol

from asyncbus.decoding import Decoding
from asyncbus.errors import EventIdConflictError
from asyncbus.events import D, Event, Receipt
from asyncbus.ledger import Held
from asyncbus.options import check_seconds, check_text

Publish = Callable[..., Awaitable[Receipt]]
"""`EventBus.publish`, as a delivery calls it."""


class Settler(Protocol):
    """What a delivery tells its outcome."""

    @property
    def name(self) -> str:
        """Of the consumer."""
        ...

    @property
    def decoding(self) -> Decoding:
        """Of its events."""
        ...

    @property
    def epoch(self) -> int:
        """Which holder of the name it is."""
        ...

    def check(self, delivery: Delivery, held: Held, epoch: int) -> None:
        """Raise what speaks against an outcome."""
        ...

    def acknowledge(self, held: Held) -> None:
        """It is done, if that may be said."""
        ...

    def fail(self, held: Held, error: BaseException | str, *, delay: float | None = None) -> None:
        """It has failed."""
        ...

    def exhaust(self, held: Held, error: BaseException | str) -> None:
        """It will never work."""
        ...

    def extend(self, held: Held) -> None:
        """Its time begins anew."""
        ...

    async def saved(self) -> None:
        """Wait until that is stored."""
        ...


class Delivery(Generic[D]):
    """One handing out of one event by a consumer: it has one outcome.

    Iterating a consumer gives deliveries, and a handler whose second parameter has no default gets
    `(event, delivery)`. Whoever is told the outcome by `ack`, `nak` or `reject` returns when it is stored: a crash does
    not undo it.

    Attributes:
        event: what was handed out.
        attempt: which time it is that this event is handed out, or may have been; 1: the first.
        consumer: the consumer's name.
    """

    __slots__ = ("_epoch", "_held", "_publish", "_published", "_settler", "attempt", "consumer", "event")

    def __init__(self, settler: Settler, held: Held, publish: Publish) -> None:
        self.event: Event[D] = settler.decoding.event(held.record)
        self.attempt = held.attempts
        self.consumer = settler.name
        self._settler = settler
        self._epoch = settler.epoch
        self._held = held
        self._publish = publish
        self._published = 0

    @property
    def redelivered(self) -> bool:
        """Whether it was, or may have been, handed out before."""
        return self.attempt > 1

    async def ack(self) -> None:
        """The event is done; it does not come again.

        Cancelled, the event is done all the same, and a crash may undo it.

        Raises:
            UnknownAckError: it had an outcome before, or its time was over.
            StaleAckError: it was handed out before a `seek`, or somebody else has the consumer's name now.
            ConsumerClosedError: the consumer was closed; the event comes again.
            WouldDeadlockError: the consumer has effects, so the event is done when they are, once its handler returns.
            StoreFullError, StoreFailedError: the outcome is not stored (yet); after a crash the event comes again.
        """
        self._settler.check(self, self._held, self._epoch)
        self._settler.acknowledge(self._held)
        await self._settler.saved()

    async def nak(self, delay: float | None = None, reason: str = "nak") -> None:
        """The attempt has failed; the event comes again, or is exhausted, as the consumer's `retry` says.

        Cancelled, the attempt has failed all the same, and a crash may undo it.

        Args:
            delay: seconds until it comes again; None: as `retry` says.
            reason: kept as the error of this attempt.

        Raises:
            InvalidOptionError: a delay that is no number of seconds, or a reason that is no text.
            And what `ack` raises.
        """
        if delay is not None:
            check_seconds("delay", delay)
        check_text("reason", reason)
        self._settler.check(self, self._held, self._epoch)
        self._settler.fail(self._held, reason, delay=delay)
        await self._settler.saved()

    async def reject(self, reason: str = "rejected") -> None:
        """The event will never work: park it at once, whatever attempts are left.

        Cancelled, the event is given up all the same, and a crash may undo it.

        Args:
            reason: kept with the dead letter.

        Raises:
            InvalidOptionError: a reason that is no text.
            And what `ack` raises.
        """
        check_text("reason", reason)
        self._settler.check(self, self._held, self._epoch)
        self._settler.exhaust(self._held, reason)
        await self._settler.saved()

    async def in_progress(self) -> None:
        """Work goes on: the consumer's `timeout` begins anew. It waits for nothing, so nothing can cancel it.

        Raises:
            UnknownAckError, StaleAckError, ConsumerClosedError: as for `ack`.
        """
        self._settler.check(self, self._held, self._epoch)
        self._settler.extend(self._held)

    async def publish(
        self,
        type: object,
        data: Any = None,
        *,
        key: str | None = None,
        expected_sequence: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        version: int | None = None,
        correlation_id: str | None = None,
    ) -> Receipt:
        """Publish an event that follows from this one: stored at most once, however often this one is handed out.

        This one is its `causation_id`, wherever this is called.

        Its id is made of the consumer, the sequence of this event, and how many calls came before it, failed ones too:
        so a handler must publish in the same order each time. Cancelled, it may be stored or not, and a call that is
        made again is another one. A rerun gets the receipt of the first one, whatever its body is now. Once the first
        one was removed by retention or `clear`, a rerun stores it anew.

        Args:
            type: as for `EventBus.publish`, like the others.

        Returns:
            The receipt; `duplicate` where it was stored by an earlier attempt.

        Raises:
            What `EventBus.publish` raises.
        """
        position, self._published = self._published, self._published + 1
        id = f"{self.consumer}/{self.event.sequence}/{position}"
        while True:
            try:
                return await self._publish(
                    type,
                    data,
                    id=id,
                    key=key,
                    expected_sequence=expected_sequence,
                    metadata=metadata,
                    time=time,
                    version=version,
                    causation_id=self.event.sequence,
                    correlation_id=self.event.correlation_id if correlation_id is None else correlation_id,
                )
            except EventIdConflictError as error:
                if error.sequence:
                    return Receipt(error.sequence, duplicate=True)
                # An earlier run that goes on has published it in the same batch: the next one finds it stored.

    def __repr__(self) -> str:
        return f"Delivery({self.consumer!r}, {self.event!r}, attempt={self.attempt})"
