"""What is known of a bus's consumers, and what may be done to them by name."""

from __future__ import annotations

import asyncio
from datetime import datetime

from asyncbus.consumer_options import check_consumer_name
from asyncbus.consuming import Consuming
from asyncbus.dead_letters import DeadLetter, RetriedLetters
from asyncbus.errors import InvalidOptionError, StoreReadOnlyError
from asyncbus.options import Start, bound, check_count, check_seconds, check_start
from asyncbus.patterns import Pattern
from asyncbus.registry import Registry
from asyncbus.statistics import ConsumerStatistics
from asyncbus.store.consumers import ParkedFilter


class Administering(Consuming):
    """What durable consumers are administered by; `EventBus` adds the rest."""

    def _administered(self) -> Registry:
        self._readable_here()
        return self._registry()

    def _changed(self) -> Registry:
        """As `_administered`, for what has something stored."""
        registry = self._administered()
        if self._store.features.read_only:
            raise StoreReadOnlyError("this bus was opened with read_only=True; it cannot change a consumer")
        return registry

    async def consumers(self) -> list[ConsumerStatistics]:
        """What each known consumer has done and owes, by name; also those that are not active.

        Raises:
            BusClosedError, WrongEventLoopError, UnsupportedFeatureError, StoreCorruptError, StoreFailedError
        """
        return await self._administered().statistics()

    async def seek(self, name: str, *, start: Start) -> None:
        """Have a consumer go on somewhere else; this is stored when it returns.

        An active one finishes the handlers at work before. What an iterating one has handed out is stale: its outcome
        is refused. What waits for a retry comes again only if it lies after the new place. Who consumes the name of one
        that is not active meanwhile begins at the new place. Cancelled, it may be moved all the same, or not at all:
        call it again.

        Args:
            name: of the consumer.
            start: as for `consume`.

        Raises:
            UnknownConsumerError: the store does not know it.
            StartBeyondHeadError, EventsLostError, InvalidOptionError: `start` is not in this log.
            WouldDeadlockError: called by a handler of this consumer.
            BusClosedError, WrongEventLoopError, UnsupportedFeatureError, StoreError
        """
        registry = self._changed()
        check_start(start)
        await registry.seek(name, await self._history.place_before(start))

    async def pause(self, name: str) -> None:
        """Have a consumer hand out nothing more until `resume`; what is in flight goes on. This is remembered.

        Cancelled, an active one is paused all the same, and has that stored with its next commit; of one that is not
        active nobody knows: call it again.

        Args:
            name: of the consumer.

        Raises:
            UnknownConsumerError, StoreReadOnlyError, BusClosedError, WrongEventLoopError, UnsupportedFeatureError,
            StoreError
            ConsumerClosedError, or what ended it, where it has not begun yet and never will.
        """
        await self._changed().pause(name, paused=True)

    async def resume(self, name: str) -> None:
        """Undo `pause`, and as that does where it is cancelled.

        Args:
            name: of the consumer.

        Raises:
            What `pause` raises.
        """
        await self._changed().pause(name, paused=False)

    async def delete_consumer(self, name: str) -> None:
        """Forget a consumer: its checkpoint, what it owes, and its dead letters.

        Who consumes its name meanwhile begins anew. Cancelled, it may be forgotten all the same: called again, it
        raises `UnknownConsumerError` then.

        Args:
            name: of the consumer.

        Raises:
            ConsumerInUseError: it is active; close it first.
            UnknownConsumerError, StoreReadOnlyError, BusClosedError, WrongEventLoopError, UnsupportedFeatureError,
            StoreError
        """
        await self._changed().forget(name)

    async def wait_processed(self, name: str, sequence: int, timeout: float | None = None) -> None:
        """Wait until a consumer owes nothing up to a sequence: done, parked or skipped. So one reads one's own writes.

        Cancelling it ends the waiting, and nothing else.

        Args:
            name: of the consumer, which must be active on this bus.
            sequence: of an event that is stored.
            timeout: seconds to wait at most; None: no limit.

        Raises:
            TimeoutError: it still owes something at or below `sequence`.
            UnknownConsumerError: no such consumer is active on this bus.
            InvalidOptionError: `sequence` lies beyond the head.
            ConsumerClosedError, or what ended the consumer meanwhile.
            WouldDeadlockError: one of its handlers calls it, or who iterates it and has not done with such an event.
            BusClosedError, WrongEventLoopError, UnsupportedFeatureError
        """
        registry = self._administered()
        if timeout is not None:
            check_seconds("timeout", timeout)
        check_count("sequence", sequence, 0)
        if sequence > self._history.head:
            raise InvalidOptionError("sequence", f"that of a stored event, at most {self._history.head}", sequence)
        async with asyncio.timeout(timeout):
            await registry.get(name).passed(sequence)

    # -------------------------------------------------------------------------------------------------- dead letters

    async def dead_letters(
        self,
        consumer: str | None = None,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        after: int = 0,
        limit: int | None = 1000,
    ) -> list[DeadLetter]:
        """List dead letters, in the order in which they were parked; all conditions must hold.

        Args:
            consumer: of this consumer; None: of all.
            pattern: of these event types.
            start: the first event's sequence wanted, or those parked at or after a datetime.
            stop: the first event's sequence, or moment of parking, not wanted any more.
            after: above this `DeadLetter.number`: the last one's of the page before.
            limit: at most this many; None: all there are.

        Raises:
            InvalidPatternError, InvalidOptionError, BusClosedError, WrongEventLoopError, UnsupportedFeatureError,
            StoreCorruptError, StoreFailedError
        """
        registry = self._administered()
        wanted = _letters(consumer, pattern, start=start, stop=stop, after=after, limit=limit)
        return [DeadLetter.of(parked) for parked in await registry.letters(wanted)]

    async def retry_dead_letters(
        self,
        consumer: str,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        limit: int | None = None,
    ) -> RetriedLetters:
        """Hand a consumer's dead letters out again, each once, the oldest first, and wait for what comes of it.

        What is done is removed; what fails stays a dead letter, with one failure more, and is not tried again before
        the next call. They are removed only when they are done, so a crash in between loses none. Cancelled, those that
        were handed out to the consumer get their outcome all the same, and the others are left alone. What a `seek`
        meanwhile lets come again as any event is no dead letter any more: it counts as neither done nor failed.

        Args:
            consumer: its name; it must be active on this bus.
            pattern: of these event types.
            start, stop: as for `dead_letters`; without `stop`, what was parked before the call.
            limit: at most this many; None: no limit.

        Raises:
            UnknownConsumerError: no such consumer is active on this bus.
            ConsumerClosedError: it was closed meanwhile; what was not done is a dead letter as before.
            And what `dead_letters` raises.
        """
        registry = self._changed()
        wanted = _letters(consumer, pattern, start=start, stop=stop, limit=limit)
        return RetriedLetters(*await registry.retry(registry.get(consumer), wanted))

    async def discard_dead_letters(
        self,
        consumer: str,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        limit: int | None = None,
    ) -> int:
        """Remove dead letters for good, whatever comes of those that are being tried again.

        It waits until an active consumer has its name. Cancelled, or where the store is full, some of them may be
        removed already, or are with the next commit that succeeds, the oldest first.

        Args:
            consumer: its name; it need not be active.
            pattern, start, stop, limit: as for `dead_letters`.

        Returns:
            How many were removed.

        Raises:
            UnknownConsumerError: there is none to remove, and the store does not know this name.
            And what `dead_letters` raises.
        """
        registry = self._changed()
        return await registry.discard(consumer, _letters(consumer, pattern, start=start, stop=stop, limit=limit))


def _letters(
    consumer: str | None,
    pattern: object,
    *,
    start: int | datetime | None,
    stop: int | datetime | None,
    after: int = 0,
    limit: int | None,
) -> ParkedFilter:
    start_sequence, start_parked = bound("start", start)
    stop_sequence, stop_parked = bound("stop", stop)
    wanted = Pattern.parse(pattern)
    return ParkedFilter(
        consumer=None if consumer is None else check_consumer_name("consumer", consumer),
        pattern=None if wanted.matches_all else wanted,
        start_sequence=start_sequence,
        stop_sequence=stop_sequence,
        start_parked=start_parked,
        stop_parked=stop_parked,
        after=check_count("after", after, 0),
        limit=None if limit is None else check_count("limit", limit),
    )
