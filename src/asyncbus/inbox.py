"""Where publishers and the writer meet: events in the order they were accepted, until the writer takes them.

Events wait in batches, each of which the writer takes whole, so a batch is whatever arrived while the last one was
being committed, up to what the store likes to get at once. Publishers on the loop's thread and on others append to the
same open batch. The loop's thread needs no lock for that; other threads hold one among themselves and against whoever
changes the open batch.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Future as ThreadFuture
from copy import copy

from msgspec import Struct

from asyncbus.batch import OUTSIDE, Batch, Submission, Task, Waiter
from asyncbus.errors import (
    BatchTooLargeError,
    BusClosedError,
    StoreFailedError,
    WouldDeadlockError,
    WrongEventLoopError,
)
from asyncbus.events import payload_size
from asyncbus.futures import AnyFuture, fail, resolve


class _InLine(Struct, frozen=True, eq=False):
    """A publisher that waits for room."""

    submissions: Sequence[Submission]
    size: int
    future: AnyFuture[None]
    task: Task = None


class Inbox:
    """The bounded queue between publishers and the writer.

    Args:
        capacity: events that may wait.
        max_bytes: what their payloads and metadata may take (characters of JSON, or bytes).
        barred: tells which tasks must not wait for the writer, because it waits for them.
    """

    def __init__(self, capacity: int, max_bytes: int, barred: Callable[[], Collection[Task]] = tuple) -> None:
        self._barred = barred
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.high_water = 0
        self.taken = 0
        self.withdrawn = 0
        # Whether any reader can block the writer: only then is it worth knowing which task waits.
        self.watch_tasks = False
        self._open = Batch()
        # Batches that are full and wait before the open one, and what they hold together.
        self._full: deque[Batch] = deque()
        self._full_events = 0
        self._full_size = 0
        self._in_flight = Batch()
        self._in_flight.taken = self._in_flight.settled = True
        self._line: deque[_InLine] = deque()
        self._lock = threading.Lock()
        self._closed: BusClosedError | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._knocked = False
        # Whether the writer is to look for what is not in here.
        self._called = False

    def start(self, batch_limit: int) -> None:
        """Belong to the running loop and its thread from now on; batches have at most `batch_limit` events.

        Only a `publish_many` of more makes a larger one.
        """
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self._batch_limit = batch_limit
        self._measure()

    @property
    def depth(self) -> int:
        """Events that wait to be taken."""
        return self._open.depth + self._full_events

    @property
    def size(self) -> int:
        """What their payloads and metadata take."""
        return self._open.size + self._open.thread_size + self._full_size

    @property
    def waiting(self) -> int:
        """Publishers in line for room."""
        return len(self._line)

    # ------------------------------------------------------------------------------------- publishing, on the loop

    def put(self, submission: Submission) -> bool:
        """Accept one event, if there is room and nobody waits in line."""
        # As `_fits` and `_accept` do, written out: this runs for every event (benchmarks/bench_publish_to_handled.py).
        batch = self._open
        size = len(submission.data)
        if submission.metadata is not None:
            size += len(submission.metadata)
        if len(batch.submissions) >= batch.room or batch.size + batch.thread_size + size > batch.max_size:
            if self._line or not self._fits(1, size):
                return False
            with self._lock:
                batch = self._begin_batch()
        if self._sleeper is not None:
            self._wake()
        submission.batch = batch
        batch.submissions.append(submission)
        batch.size += size
        return True

    def put_group(self, submissions: Sequence[Submission]) -> bool:
        """Accept several events as one, if there is room for all of them and nobody waits in line.

        Raises:
            BatchTooLargeError: there never will be.
        """
        size = payload_size(submissions)
        if len(submissions) > self.capacity or size > self.max_bytes:
            raise self.too_large(submissions, len(submissions))
        if self._line or not self._fits(len(submissions), size):
            return False
        self._wake()
        with self._lock:
            self._accept(submissions)
        self._open.size += size
        return True

    def too_large(self, submissions: Sequence[Submission], events: int) -> BatchTooLargeError:
        """The error of a group of so many events, of which some have been looked at."""
        return BatchTooLargeError(events, payload_size(submissions), self.capacity, self.max_bytes)

    async def wait_in_line(self, submissions: Sequence[Submission]) -> None:
        """Wait until there is room and the events are accepted; first come, first served.

        Cancelled, it takes them back, unless the writer has taken them.

        Raises:
            BusClosedError: the bus closed before there was room.
            WouldDeadlockError: the caller's own full queue keeps the writer from making room.
            WrongEventLoopError
        """
        self.check_loop()
        entry = _InLine(submissions, payload_size(submissions), self.loop.create_future(), self._waiting_task())
        with self._lock:
            self._line.append(entry)
            self._measure()
        try:
            await entry.future  # type: ignore[misc]  # it is the loop's future
        except BaseException:
            if not self._leave_line(entry):
                self.withdraw(submissions)
            raise

    def settling(self, batch: Batch, events: Sequence[Submission]) -> asyncio.Future[None]:
        """A future that is done when `batch` is settled; `events` are those the caller waits for.

        It raises WouldDeadlockError where the caller's own full queue keeps the writer from taking the batch, and
        WrongEventLoopError on another loop.
        """
        self.check_loop()
        future: asyncio.Future[None] = self.loop.create_future()
        if batch.settled:  # by a writer that did not have to wait, before the publisher's own turn came
            future.set_result(None)
        else:
            batch.waiters.append(Waiter(future, events, self._waiting_task()))
        return future

    async def flush(self) -> None:
        """Wait until all that is accepted is settled; raise what its commits raised."""
        for batch in (self._in_flight, *self._full, self._open):
            if not batch.settled and (batch.taken or batch.submissions or batch.commands):
                await self.settling(batch, ())
                if batch.error is not None:
                    raise copy(batch.error)

    async def command(self, act: Callable[[], Awaitable[None]]) -> None:
        """Have the writer do something after all that is accepted now was written, and wait for it.

        Cancelled, it is not done, unless the writer has begun.

        Raises:
            WouldDeadlockError: the caller's own full queue keeps the writer from doing it.
            BusClosedError, StoreFailedError: the writer will not do it any more.
            And whatever `act` raises.
        """
        batch = self._open
        outcome: list[Exception | None] = []

        async def tell() -> None:
            """What the writer awaits; whoever asked is told how it went."""
            try:
                await act()
            except Exception as error:  # noqa: BLE001  # it belongs to whoever asked
                outcome.append(error)
            else:
                outcome.append(None)

        settling = self.settling(batch, ())
        batch.commands.append(tell)
        with self._lock:
            self._begin_batch()  # what is accepted from now on comes after it
        self._wake()
        try:
            await settling
        except BaseException:
            if not batch.taken:
                batch.commands.remove(tell)
            raise
        # A copy: the frames of what is raised may hold an event, which holds its batch, and that its error.
        error = outcome[0] if outcome else copy(batch.error)
        if error is not None:
            raise error

    def withdraw(self, submissions: Sequence[Submission]) -> bool:
        """Take back what the writer has not taken, and let others have the room; False: it has taken it."""
        batch = submissions[0].batch
        if batch.taken:
            return False
        for submission in submissions:
            submission.batch = OUTSIDE
        self.withdrawn += len(submissions)
        with self._lock:
            batch.withdrawn += len(submissions)
            # Taken out many at a time, for each time goes through the whole batch.
            if batch.withdrawn * 2 >= len(batch.submissions):
                batch.drop_withdrawn()
            batch.size -= payload_size(submissions)
            self._count_full()
            self._admit()
        return True

    def _waiting_task(self) -> Task:
        if not self.watch_tasks:
            return None
        task = asyncio.current_task()
        if task in self._barred():
            raise WouldDeadlockError(_DEADLOCK)
        return task

    # ------------------------------------------------------------------------------ publishing, from other threads

    def put_from_thread(self, submission: Submission, timeout: float | None) -> None:
        """Accept one event, waiting on this thread for room.

        Raises:
            BusClosedError: the bus closed before there was room.
            TimeoutError: there was none in time; the event was not accepted.
        """
        size = len(submission.data) + len(submission.metadata or "")
        with self._lock:
            if self._closed is not None:
                raise copy(self._closed)
            # As in `put`, and for the same reason (benchmarks/bench_from_thread.py).
            batch = self._open
            fits = len(batch.submissions) < batch.room and batch.size + batch.thread_size + size <= batch.max_size
            if not fits and not self._line and self._fits(1, size):
                batch, fits = self._begin_batch(), True
            if fits:
                submission.batch = batch
                batch.submissions.append(submission)
                batch.thread_size += size
                if self._sleeper is not None:
                    self._knock()
                return
            entry = _InLine((submission,), size, ThreadFuture())
            self._line.append(entry)
            self._measure()
        try:
            entry.future.result(timeout)  # type: ignore[call-arg]  # it is a thread's future
        except TimeoutError:
            if self._leave_line(entry):
                raise TimeoutError(f"no room in the inbox for {timeout} s; the event was not accepted") from None

    def settle_from_thread(self, submission: Submission, timeout: float | None) -> None:
        """Wait on this thread until the batch of an accepted event is settled.

        Raises:
            TimeoutError: it was not in time.
        """
        future: ThreadFuture[None] = ThreadFuture()
        batch = submission.batch
        with self._lock:
            if batch.settled:
                return
            waiter = Waiter(future, (submission,))
            batch.waiters.append(waiter)
        try:
            future.result(timeout)
        except TimeoutError:
            with self._lock:
                if waiter in batch.waiters:
                    batch.waiters.remove(waiter)
            raise

    def _knock(self) -> None:
        # Once for each time the writer sleeps, however many events come: waking the loop costs more than an event.
        if self._sleeper is not None and not self._knocked:
            self._knocked = True
            self.loop.call_soon_threadsafe(self._wake)

    # -------------------------------------------------------------------------------------------------- the writer

    async def take(self) -> Batch | None:
        """Wait for something to write and take it, up to a batch, making room for those in line; None: the end."""
        # Who flushes may be left alone in it, by publishers that were cancelled.
        while not (self._full or self._open.submissions or self._open.commands or self._open.waiters or self._called):
            with self._lock:
                if self._closed is not None:
                    return None
                if self._open.submissions:  # a thread was faster
                    break
                self._sleeper = self.loop.create_future()
                self._knocked = False
            await self._sleeper
        self._called = False
        self.high_water = max(self.high_water, self.depth)
        with self._lock:
            if self._full:
                batch = self._full.popleft()
                self._count_full()
            else:
                batch, self._open = self._open, Batch()
            self._in_flight = batch
            batch.taken = True
            self._admit()
        self.taken += batch.depth
        if batch.withdrawn:
            batch.drop_withdrawn()
        return batch

    def call(self) -> None:
        """Have the writer take a batch, be it empty: there is something to store that is no event."""
        self._called = True
        self._wake()

    def settle(self, batch: Batch) -> None:
        """Tell those who wait for `batch` that its outcome is known."""
        with self._lock:
            batch.settled = True
        for waiter in batch.waiters:
            resolve(waiter.future, None)
        batch.waiters = []
        # Records live on in memory and refer to their batch: it must not keep all others alive, nor what its commands
        # refer to, the bus itself, for the collector does not see through records.
        batch.submissions = []
        batch.groups = []
        batch.commands = []

    def fail_barred(self) -> None:
        """Raise `WouldDeadlockError` where a task waits for the writer while the writer waits for it."""
        tasks = self._barred()
        waiting = [waiter for batch in (*self._full, self._open) for waiter in batch.waiters]
        for waiter in waiting:
            if waiter.task in tasks:
                fail(waiter.future, WouldDeadlockError(_DEADLOCK))
        for entry in tuple(self._line):
            if entry.task in tasks:
                fail(entry.future, WouldDeadlockError(_DEADLOCK))

    def close(self, reason: str) -> None:
        """Accept nothing more; those in line get `BusClosedError(reason)`; what was accepted waits for the writer."""
        with self._lock:
            self._closed = BusClosedError(reason)
            refused = tuple(self._line)
            self._line.clear()
        for entry in refused:
            fail(entry.future, BusClosedError(reason))
        self._wake()

    def abandon(self, reason: str) -> None:
        """The writer is gone: of the batch it had taken nobody knows, what it had not taken is not stored."""
        self.close(reason)
        if not self._in_flight.settled:
            self._in_flight.error = self._in_flight.error or StoreFailedError(reason, outcome_unknown=True)
        for batch in (self._in_flight, *self._full, self._open):
            if not batch.settled:
                batch.error = batch.error or BusClosedError(reason)
                batch.taken = True
                self.settle(batch)

    def become_forked(self, reason: str) -> None:
        """In a forked child: the writer and the other threads are not here, nor whoever held the lock.

        The parent may store all of it, so of no event the outcome is known.
        """
        self._lock = threading.Lock()
        self._sleeper = None  # the writer's, whose loop does not run here
        for batch in (*self._full, self._open):
            batch.error = StoreFailedError(reason, outcome_unknown=True)
        self.abandon(reason)

    def check_loop(self) -> None:
        """Refuse to wait on another loop than the bus's, where nothing would ever come.

        Raises:
            WrongEventLoopError: another loop runs, or none.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self.loop:
            raise WrongEventLoopError("this bus was opened on another event loop; open a new bus on this one")

    def _wake(self) -> None:
        sleeper = self._sleeper
        if sleeper is None:
            return
        self.check_loop()  # here, once a batch, and not for each event: it costs a system call
        self._sleeper = None
        resolve(sleeper, None)

    def _fits(self, events: int, size: int) -> bool:
        return self.depth + events <= self.capacity and self.size + size <= self.max_bytes

    def _begin_batch(self) -> Batch:
        # Under the lock: no other thread may be appending to the one that becomes full.
        batch = self._open
        self._full.append(batch)
        self._count_full()
        self._open = Batch()
        self._measure()
        return self._open

    def _count_full(self) -> None:
        # Anew and not by steps: a batch may have become full between two lines of the loop's `put`, which adds to it.
        self._full_events = sum(batch.depth for batch in self._full)
        self._full_size = sum(batch.size + batch.thread_size for batch in self._full)

    def _measure(self) -> None:
        batch = self._open
        room = min(self._batch_limit, self.capacity - self._full_events)
        batch.room = 0 if self._line else room + batch.withdrawn
        batch.max_size = self.max_bytes - self._full_size

    def _accept(self, submissions: Sequence[Submission]) -> None:
        # Under the lock, like all that may begin a batch.
        batch = self._open
        if batch.submissions and len(batch.submissions) + len(submissions) > self._batch_limit:
            batch = self._begin_batch()
        for submission in submissions:
            submission.batch = batch
        batch.submissions.extend(submissions)
        if len(submissions) > 1:
            batch.groups.append(submissions)

    def _admit(self) -> None:
        while self._line and self._fits(len(self._line[0].submissions), self._line[0].size):
            entry = self._line.popleft()
            if not entry.future.done():
                self._accept(entry.submissions)
                self._open.thread_size += entry.size
                resolve(entry.future, None)
        self._measure()

    def _leave_line(self, entry: _InLine) -> bool:
        """Whether `entry` was still in line, or never got further; it is not any more."""
        with self._lock:
            if entry in self._line:
                self._line.remove(entry)
                self._measure()
        return entry.submissions[0].batch is OUTSIDE


_DEADLOCK = (
    'this handler\'s own subscription (when_full="block") is full, so the writer waits for it and it must not wait for'
    ' the writer; publish with ack="accepted" or publish_nowait, or subscribe with when_full="catch_up"'
)
