"""The life of a consumer: its tasks, and its end, which waits for what is in flight and stores what is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from math import inf
from typing import Any

from asyncbus.consumer_options import Wanted
from asyncbus.errors import AsyncBusError, ConsumerError, EffectsError, StoreFailedError
from asyncbus.futures import fail, resolve
from asyncbus.ledger import Held
from asyncbus.shielded import Shielded
from asyncbus.surroundings import Surroundings
from asyncbus.working import GRACE, Working

log = logging.getLogger("asyncbus")


class Living(Working):
    """The tasks of a consumer, from when the bus is open until nothing of it is left."""

    def __init__(self, wanted: Wanted, surroundings: Surroundings) -> None:
        super().__init__(wanted, surroundings)
        self._task: asyncio.Task[None] | None = None
        self._retries: dict[Held, asyncio.Task[None]] = {}
        # Who iterates it.
        self._iterator: asyncio.Task[Any] | None = None
        # At its end: until when it waits, by the loop's clock; the tasks that it does not wait for; whether it waits
        # for the outcomes of what has no handler at work any more; what lets it look again; and what whoever iterated
        # it has raised.
        self._ends = inf
        self._excused: set[asyncio.Task[Any] | None] = set()
        self._waits_for_outcomes = False
        self._left_by: Exception | None = None
        self._stirred: asyncio.Future[None] | None = None
        self._closing: Shielded | None = None
        self._unfinished = 0

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
            cause: AsyncBusError
            if self.options.effects is not None:
                cause = EffectsError(self.name, f"cannot go on: {error!r}; mend the cause, then consume it again")
            else:
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
            self._end(ConsumerError(self.name, f"cannot go on: its worker {reason}; consume it again"))

    def _later(self, held: Held, delay: float) -> None:
        async def wait() -> None:
            await self._around.clock.sleep(delay)
            self.come_back(held)

        retry = asyncio.create_task(wait(), name=f"asyncbus consumer {self.name} retry")
        self._retries[held] = retry
        retry.add_done_callback(lambda _: self._retries.pop(held, None))

    # -------------------------------------------------------------------------------------------------------- its end

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
        self._closing = Shielded(self._end_in_order, f"asyncbus close consumer {self.name}")

    async def _end_in_order(self) -> None:
        try:
            await self._wait_for_name()
            await self._wait_for_flight()
        finally:
            try:
                await self._cancel()
                await self._rest()
            finally:
                self._release_name()

    async def _wait_for_name(self) -> None:
        """Where it is taking its name, let it: what comes after its start is owed, also if it never got to it."""
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
        if self._stirred is not None:
            resolve(self._stirred, None)

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
        if self._left_by is not None:
            for held in [held for held in self.in_flight if held.attempts >= self.options.retry.attempts]:
                self.exhaust(held, self._left_by)
        self._ledger.rest(self._feed.position, self.in_flight)
        self._is_resting = True
        try:
            await self.saved()
        except AsyncBusError as error:
            log.error("consumer %s: its checkpoint is not stored, some events come again: %s", self.name, error)  # noqa: TRY400  # the error says it all

    def _release_name(self) -> None:
        self._around.saving.remove(self)
        self._is_active = False
        self._forget_times()
        self.in_flight.clear()
        self._tell_passed()
        if self._sought is not None:
            fail(self._sought[1], self._gone())

    def _give_back(self, held: Held) -> None:
        """Its handler was cancelled, by nobody's fault: that was no attempt."""
        self._unfinished += 1
        super()._give_back(held)

    def _leave_flight(self, held: Held) -> None:
        super()._leave_flight(held)
        self._stir()
