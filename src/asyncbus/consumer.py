"""A durable subscription: it remembers where it was, retries what failed, and parks what will not work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from copy import copy
from math import inf
from types import TracebackType
from typing import Any, Self

from msgspec.structs import replace

from asyncbus.delivering import ConsumerOptions
from asyncbus.delivery import Delivery
from asyncbus.errors import (
    AsyncBusError,
    ConsumerClosedError,
    StoreFailedError,
    SubscriptionBusyError,
    WouldDeadlockError,
)
from asyncbus.events import from_microseconds
from asyncbus.lanes import Lanes
from asyncbus.ledger import Held, Ledger
from asyncbus.patterns import Pattern
from asyncbus.shielded import Shielded
from asyncbus.statistics import ConsumerStatistics
from asyncbus.store.consumers import ParkedEvent
from asyncbus.surroundings import Surroundings
from asyncbus.working import GRACE, Working

log = logging.getLogger("asyncbus")


class Consumer(Working):
    """A named reader of the events of one pattern, that goes on where it was when its process ended.

    Made by `EventBus.consume`, which documents the options. Without a handler, iterate it: it gives `Delivery`s. With
    `ack="auto"` a delivery is done when the next one is asked for. Use it as an async context manager: leaving closes
    it. Each matching event is handed out at least once, until it is done, skipped or a dead letter.
    """

    def __init__(
        self,
        name: str,
        pattern: Pattern,
        options: ConsumerOptions,
        surroundings: Surroundings,
        rank: tuple[int, int],
        *,
        handler: Callable[..., Any] | None,
        on_end: Callable[[Consumer], None],
    ) -> None:
        super().__init__(name, pattern, options, surroundings, rank, handler=handler)
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._retries: dict[Held, asyncio.Task[None]] = {}
        self._last: Held | None = None
        self._tried_again: dict[Held, asyncio.Future[bool]] = {}
        self._handing_out_letters = asyncio.Lock()
        # Who iterates it.
        self._iterator: asyncio.Task[Any] | None = None
        # At its end: until when it waits, by the loop's clock; the tasks that it does not wait for; whether it waits
        # for the outcomes of what has no handler at work any more; and what lets it look again.
        self._ends = inf
        self._excused: set[asyncio.Task[Any] | None] = set()
        self._waits_for_outcomes = False
        self._stirred: asyncio.Future[None] | None = None
        self._closing: Shielded | None = None
        self._unfinished = 0

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

    async def __anext__(self) -> Delivery:
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
        await self.close()

    async def close(self) -> None:
        """Hand out nothing more, wait for the handlers at work, and store the checkpoint.

        What an iterating consumer has handed out, and has no outcome, comes again when its name is consumed the next
        time. Called by its own handler it does not wait for that one, whose event comes again as well. It may be called
        twice. Cancelling it does not undo it.
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

    # --------------------------------------------------------------------------------------------------- its life

    def start(self) -> None:
        """The bus is open: begin."""
        self.is_started = True
        if self._start == "latest":
            self._start = self._around.history.head + 1
        self._task = asyncio.create_task(self._run(), name=f"asyncbus consumer {self.name}")
        self._task.add_done_callback(lambda _: self._end(None))

    async def _run(self) -> None:
        try:
            await self._take_name()
            if self._handler is not None and self.is_open:
                self._start_workers()
            await self._feed_on()
        except AsyncBusError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001  # where effects are kept is somebody else's code
            cause = StoreFailedError(f"consumer {self.name!r} cannot go on: {error!r}")
            cause.__cause__ = error
            self._end(cause)

    def _start_workers(self) -> None:
        for number in range(min(self.options.concurrency, self.options.max_in_flight)):
            worker = asyncio.create_task(self._work(), name=f"asyncbus consumer {self.name} worker {number}")
            worker.add_done_callback(self._worker_ended)
            self._workers.append(worker)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        if self.is_open:
            reason = "was cancelled" if worker.cancelled() else f"has failed: {worker.exception()!r}"
            self._end(StoreFailedError(f"consumer {self.name!r} cannot go on: its worker {reason}"))

    async def end(self, timeout: float | None, callers: Collection[asyncio.Task[Any] | None], *, outcomes: bool) -> int:
        """Hand out nothing more, wait for what is in flight, and store what is done.

        Args:
            timeout: seconds to wait at most.
            callers: the tasks that wait for this, which therefore waits for none of them.
            outcomes: whether to wait for what was handed out to an iterator, or has no outcome from its handler.

        Returns:
            How many events are given back.
        """
        self._excused |= {self._limited.get(caller, caller) for caller in callers if caller is not None}
        if self.is_open or self._closing is None:
            self._begin_end(outcomes=outcomes)
        else:
            self._waits_for_outcomes = self._waits_for_outcomes and outcomes
        if timeout is not None:
            self._ends = min(self._ends, asyncio.get_running_loop().time() + timeout)
        self._stir()  # perhaps there is less time now, or this is the very task for which somebody else's call waits
        if self._closing is not None:
            await self._closing.finished()
        return self._unfinished

    def _end(self, error: Exception | None) -> None:
        """It cannot go on, for `error`, or for the task that feeds it has ended."""
        if not self.is_open:
            return
        self.error = error
        if error is not None:
            log.error("consumer %s has ended: %s", self.name, error)
        self._begin_end(outcomes=False)

    def _begin_end(self, *, outcomes: bool) -> None:
        self._stop_handing_out()
        self._waits_for_outcomes = outcomes
        self._closing = Shielded(self._finish, f"asyncbus close consumer {self.name}")

    async def _finish(self) -> None:
        try:
            await self._wait_for_name()
            await self._wait_for_flight()
        finally:
            try:
                await self._cancel()
                await self._rest()
            finally:
                self._let_go()

    async def _wait_for_name(self) -> None:
        """Where it is taking its name, let it: what comes after its start is owed, whether or not it got to any of it."""
        if self._task is not None and self._task not in self._excused and not self._is_active:
            remaining = self._ends - asyncio.get_running_loop().time()
            await asyncio.wait([self._task], timeout=None if remaining == inf else max(remaining, 0))

    async def _wait_for_flight(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at_work = [worker for worker in self._workers if not worker.done()]
            awaited = [worker for worker in at_work if worker not in self._excused]
            # What the excused ones have in flight is not waited for either, nor what the caller itself iterates.
            is_owed = (
                self._waits_for_outcomes
                and self._iterator not in self._excused
                and len(self.in_flight) > len(at_work) - len(awaited)
            )
            remaining = self._ends - loop.time()
            if remaining <= 0 or not (awaited or is_owed):
                return
            self._stirred = loop.create_future()
            await asyncio.wait(
                [*awaited, self._stirred],
                timeout=None if remaining == inf else remaining,
                return_when=asyncio.FIRST_COMPLETED,
            )

    def _stir(self) -> None:
        if self._stirred is not None and not self._stirred.done():
            self._stirred.set_result(None)

    async def _cancel(self) -> None:
        """End what did not end by itself: what was in flight is given back."""
        tasks = {task for task in (*self._workers, self._task, *self._retries.values()) if task and not task.done()}
        tasks -= self._excused
        for task in tasks:
            task.cancel()
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=2 * GRACE)
            for task in stubborn:
                log.error("%s ignored its cancellation and is still running", task.get_name())

    async def _rest(self) -> None:
        """Store what is done, and that nothing is in flight."""
        self._unfinished += len(self.in_flight)
        self._feed.end()
        if not self._is_active:
            return
        self._ledger.rest(self._feed.position, self.in_flight)
        self._is_resting = True
        try:
            await self.saved()
        except AsyncBusError as error:
            log.error("consumer %s: its checkpoint is not stored, some events come again: %s", self.name, error)  # noqa: TRY400  # the error says it all

    def _let_go(self) -> None:
        self._around.saving.remove(self)
        self._is_active = False
        self._forget_times()
        self.in_flight.clear()
        self._tell_passed()
        for tried in self._tried_again.values():
            if not tried.done():
                tried.set_exception(self._gone())
        if self._sought is not None and not self._sought[1].done():
            self._sought[1].set_exception(self._gone())
        self._on_end(self)

    def _give_back(self, held: Held) -> None:
        """Its handler was cancelled, by nobody's fault: that was no attempt."""
        self._unfinished += 1
        super()._give_back(held)

    def _leave_flight(self, held: Held) -> None:
        super()._leave_flight(held)
        self._stir()

    def _later(self, held: Held, delay: float) -> None:
        async def wait() -> None:
            await self._around.clock.sleep(delay)
            self.come_back(held)

        retry = asyncio.create_task(wait(), name=f"asyncbus consumer {self.name} retry")
        self._retries[held] = retry
        retry.add_done_callback(lambda _: self._retries.pop(held, None))

    def _settled(self, held: Held, *, is_done: bool) -> None:
        super()._settled(held, is_done=is_done)
        tried = self._tried_again.pop(held, None) if self._tried_again else None
        if tried is not None and not tried.done():
            tried.set_result(is_done)
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
        task = asyncio.current_task()
        if task in self._workers or task in self._limited:
            raise WouldDeadlockError(
                f"a handler of consumer {self.name!r} cannot wait for its own end: seek from outside"
            )
        while self._sought is not None and self.is_open:  # one after the other
            await asyncio.wait([self._sought[1]])
        if not self.is_open:
            raise self._gone()
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sought = (before, moved)
        self._nudge()
        await moved

    async def _move(self, before: int, moved: asyncio.Future[None]) -> None:
        while self._at_work and self.is_open:
            self._sleeper = asyncio.get_running_loop().create_future()
            await self._sleeper
        if not self.is_open:
            return
        self._ready.clear()
        if self._fencing is not None:  # before the place in the log is another one, for others look at that meanwhile
            await self._fencing.move(before)
        for retry in self._retries.values():
            retry.cancel()
        for tried in self._tried_again.values():
            if not tried.done():
                tried.set_result(False)
        self._tried_again.clear()
        self._feed.end()
        self._forget_times()
        self.in_flight.clear()
        for holding in (self._ready, self._again, self._waiting):
            holding.clear()
        self._suspects = 0
        self._parked = frozenset()
        self._lanes = Lanes(self.options.order)
        state = replace(
            self._stored, epoch=self.epoch + 1, checkpoint=before, settled_to=before, begun_to=before, owed={}
        )
        self._ledger = Ledger(state)
        self._stored = state
        self._was_stored = False
        self._feed = self._new_feed()
        self._feed_from(before)
        await self._store_begun()
        self._sought = None
        if not moved.done():
            moved.set_result(None)

    async def try_again(self, pages: AsyncIterator[Sequence[ParkedEvent]]) -> tuple[int, int]:
        """Hand dead letters out once more, each once, and wait for their outcomes.

        What is parked meanwhile is left alone, and so is what another call has handed out.

        Args:
            pages: gives them, read when they are asked for.

        Returns:
            How many are done, and how many failed again.

        Raises:
            ConsumerClosedError: it was closed before; what was not done is a dead letter as before.
        """
        done = failed = 0
        since: set[int] = set()
        self._parked_since.append(since)
        try:
            while (outcomes := await self._hand_out_next(pages, since)) is not None:
                succeeded = sum(await asyncio.gather(*outcomes))
                done += succeeded
                failed += len(outcomes) - succeeded
            await self.saved()
        finally:
            self._parked_since.remove(since)
        return done, failed

    async def _hand_out_next(
        self, pages: AsyncIterator[Sequence[ParkedEvent]], since: Collection[int]
    ) -> Sequence[asyncio.Future[bool]] | None:
        # One call at a time: what it finds is neither in flight, nor done and still to be removed.
        async with self._handing_out_letters:
            while self.has_unstored_letters and self.is_open:
                await self.saved()
            busy = self._numbers_tried_again()
            letters = await anext(pages, None)
            if letters is None:
                return None
            if not self.is_open:
                raise ConsumerClosedError(self.name)
            return [
                self._hand_out(letter)
                for letter in letters
                if letter.number not in busy and letter.record.sequence not in since
            ]

    def _hand_out(self, letter: ParkedEvent) -> asyncio.Future[bool]:
        lane = self._lanes.of(letter.record)
        held = Held(letter.record, letter.attempts, parked=letter, failures=letter.failures, lane=lane)
        outcome = self._tried_again[held] = asyncio.get_running_loop().create_future()
        self._again.append(held)
        self._nudge()
        return outcome

    def _numbers_tried_again(self) -> set[int]:
        return {held.parked.number for held in self._tried_again if held.parked is not None}

    def discarded(self, letters: Sequence[ParkedEvent]) -> None:
        """These dead letters are no more, whatever comes of those that are being tried again."""
        self.dead_letters -= len(letters)
        self._discarded |= self._numbers_tried_again() & {letter.number for letter in letters}
