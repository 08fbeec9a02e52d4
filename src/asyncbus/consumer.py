"""A durable subscription: it remembers where it was, retries what failed, and parks what will not work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from types import TracebackType
from typing import Generic, Self

from msgspec.structs import replace

from asyncbus.consumer_options import Wanted
from asyncbus.delivery import Delivery
from asyncbus.errors import SubscriptionBusyError, WouldDeadlockError
from asyncbus.events import D, from_microseconds
from asyncbus.futures import resolve
from asyncbus.lanes import Lanes
from asyncbus.ledger import Held, Ledger
from asyncbus.statistics import ConsumerStatistics
from asyncbus.surroundings import Surroundings
from asyncbus.unparking import Unparking


class Consumer(Unparking, Generic[D]):
    """A named reader of the events of one pattern, that goes on where it was when its process ended.

    Made by `EventBus.consume`, which documents the options. Without a handler, iterate it: it gives `Delivery`s. With
    `ack="auto"` a delivery is done when the next one is asked for. Use it as an async context manager: leaving closes
    it. Each matching event is handed out at least once, until it is done, skipped or a dead letter.
    """

    def __init__(self, wanted: Wanted, surroundings: Surroundings, *, on_end: Callable[[Consumer], None]) -> None:
        super().__init__(wanted, surroundings)
        self._on_end = on_end
        self._last: Held | None = None

    # ------------------------------------------------------------------------------------------------ what users see

    @property
    def backlog(self) -> int:
        """How many sequences the checkpoint is behind the head."""
        return max(self._around.history.head - self.checkpoint, 0)

    def statistics(self) -> ConsumerStatistics:
        """What it has done so far."""
        since = self._stored.active_since
        return ConsumerStatistics(
            name=self.name,
            pattern=str(self.pattern),
            checkpoint=self.checkpoint,
            backlog=self.backlog,
            in_flight=len(self.in_flight),
            waiting_for_retry=self.waiting_for_retry,
            redelivered=self.redelivered,
            dead_letters=self.dead_letters,
            handled=self.handled,
            failed=self.failed,
            skipped=self.skipped,
            paused=self.is_paused,
            active_since=from_microseconds(since) if since else None,
            last_error=self.last_error,
            error=self.error,
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery[D]:
        """The next delivery, waiting for it if need be; cancelling this loses none.

        Raises:
            StopAsyncIteration: the consumer or the bus was closed.
            SubscriptionBusyError: it has a handler.
            BusClosedError: the bus is not open yet.
            ConsumerStoppedError, ConsumerPatternError, CheckpointAheadError, EventsLostError, StaleAckError,
            StoreError: what ended it.
        """
        if self._handler is not None:
            raise SubscriptionBusyError(f"consumer {self.name!r} has a handler; consume without one to iterate")
        self._iterator = asyncio.current_task()
        if self._last is not None and self.options.ack == "auto":
            last, self._last = self._last, None
            if last in self.in_flight:
                self.finish(last)
        held = await self._next_held()
        if held is None:
            if self.error is not None:
                if self._closing is not None:  # so that whoever is told may do what the error says, under its name
                    await self._closing.finished()
                raise copy(self.error)
            raise StopAsyncIteration
        self._last = held
        delivery = self._deliver(held)
        if self.options.timeout is not None:
            self._begin_time(held)
            self._watch(held)
        return delivery

    async def __aenter__(self) -> Self:
        """Wait until its name is stored, where the bus is open: from then on it is owed what comes, whatever happens.

        What keeps it from its name is raised by whoever asks for the first delivery.
        """
        if self.is_started:
            await self._is_settled_in.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and self._iterator is not None:
            self._left_by = error
        await self.close()

    async def close(self) -> None:
        """Hand out nothing more, wait for the handlers at work, and store the checkpoint.

        What an iterating consumer has handed out, and has no outcome, comes again when its name is consumed the next
        time, whatever attempts it has had. But where an exception leaves `async with`, it may be at fault: what was
        handed out for the last time is exhausted by it. Called by its own handler it does not wait for that one, whose
        event comes again as well. It may be called twice. Cancelling it does not undo it.
        """
        await self.end(None, {asyncio.current_task()}, outcomes=False)

    async def drain(self, timeout: float | None = None) -> int:
        """As `close`, but it also waits for the outcomes of what is in flight without a handler at work.

        It waits for as long as it is told.

        Args:
            timeout: seconds; then handlers are cancelled, and what is in flight is given back. None: no limit.

        Returns:
            How many events were in flight and are not done: they come again.
        """
        return await self.end(timeout, {asyncio.current_task()}, outcomes=True)

    def _release_name(self) -> None:
        super()._release_name()
        self._on_end(self)

    def _settled(self, held: Held, *, is_done: bool) -> None:
        super()._settled(held, is_done=is_done)
        self._tell_passed()

    # ------------------------------------------------------------------------------------------- administering it

    async def pause(self, *, paused: bool) -> None:
        """Hand out nothing more, or go on; this is remembered."""
        self.is_paused = self._is_told_to_pause = paused
        self._nudge()
        self._wake_hungry()
        await self._is_settled_in.wait()
        if not (self.is_open or self._was_stored):
            raise self._gone()
        await self.saved()

    async def seek(self, before: int) -> None:
        """Go on with the first event after a sequence; what is in flight and was not handed to a handler is stale."""
        self._refuse_handlers("seek")
        while self._sought is not None and self.is_open:  # one after the other
            await asyncio.wait([self._sought[1]])
        if not self.is_open:
            raise self._gone()
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sought = (before, moved)
        self._is_moving = True
        moved.add_done_callback(_retrieve)
        self._nudge()
        await asyncio.wait([moved])  # cancelled, it does not take the future along, for which the next one may wait
        moved.result()

    async def _move(self, before: int, moved: asyncio.Future[None]) -> None:
        while self._at_work and self.is_open:
            self._sleeper = asyncio.get_running_loop().create_future()
            await self._sleeper
        self._ready.clear()
        while True:
            with self._parking.meanwhile() as meanwhile:
                letters = await self._letters_after(before)
                if not self.is_open:
                    return
                # Before the place in the log is another one, for others look at that meanwhile.
                if self._fencing is not None:
                    await self._fencing.move(before)
            if not meanwhile.parked:  # nobody has rejected any
                break
        self._begin_anew(before, [number for number in letters if number not in meanwhile.removed])
        await self._store_begun()
        self._sought = None
        self._is_moving = False
        resolve(moved, None)

    def _begin_anew(self, before: int, letters: Sequence[int]) -> None:
        for retry in self._retries.values():
            retry.cancel()
        self._stop_trying(before)
        self._feed.end()
        self._forget_times()
        self.in_flight.clear()
        for holding in (self._ready, self._again, self._waiting):
            holding.clear()
        self._suspects = 0
        self._parked = frozenset()
        self._parking.release(letters)
        self._lanes = Lanes(self.options.order)
        state = replace(
            self._stored, epoch=self.epoch + 1, checkpoint=before, settled_to=before, begun_to=before, owed={}
        )
        self._ledger = Ledger(state)
        self._stored = state
        self._was_stored = False
        self._feed = self._new_feed()
        self._feed_from(before)

    async def passed(self, sequence: int) -> None:
        """As `Storing.passed`, but refused where it would wait for itself."""
        if sequence > self.checkpoint:
            self._refuse_handlers("wait_processed")
            self._refuse_iterator(sequence)
        await super().passed(sequence)

    def _refuse_iterator(self, sequence: int) -> None:
        last = self._last
        if self.options.ack == "auto" and asyncio.current_task() is self._iterator and last in self.in_flight:
            assert last is not None  # noqa: S101  # nothing else is in flight
            if last.record.sequence <= sequence:
                raise WouldDeadlockError(
                    f"event {last.record.sequence} of consumer {self.name!r} is done when the next one is asked for:"
                    " wait_processed from another task"
                )


def _retrieve(moved: asyncio.Future[None]) -> None:
    moved.exception()  # whoever waited for it may have been cancelled
