"""The one task that appends: takes what waits in the inbox, commits it as one batch, passes on what was stored."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from asyncbus.clock import Clock
from asyncbus.errors import AsyncBusError, EventIdConflictError, StoreFailedError
from asyncbus.events import Record
from asyncbus.inbox import Batch, Inbox, Submission
from asyncbus.store.base import Appended, EventStore

log = logging.getLogger("asyncbus")


class Writer:
    """Commits batches, one at a time, in the order of the inbox.

    Args:
        store: where to.
        inbox: where from.
        clock: gives `recorded_at`, and measures commits.
        on_committed: gets the records of each batch that were stored, ascending, and what the store said.
        until_readers_allow: awaited before each batch.
    """

    def __init__(
        self,
        store: EventStore,
        inbox: Inbox,
        clock: Clock,
        *,
        on_committed: Callable[[Sequence[Record], Appended], None],
        until_readers_allow: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        # Of the last event of the store, in microseconds; it never decreases.
        self._recorded_at = 0
        self._on_committed = on_committed
        self._until_readers_allow = until_readers_allow
        self.stored = 0
        self.duplicates = 0
        self.failed = 0
        self.failed_unawaited = 0
        self.batches = 0
        self.commit_time = 0.0
        self.last_commit_time = 0.0
        self.slowest_commit_time = 0.0
        self.error: Exception | None = None

    async def run(self, recorded_at: int) -> None:
        """Write until the inbox is closed and empty. Not to be cancelled: close the inbox instead.

        Args:
            recorded_at: when the last event of the store was recorded, in microseconds.
        """
        self._recorded_at = recorded_at
        while True:
            await self._until_readers_allow()
            batch = await self._inbox.take()
            if batch is None:
                return
            if batch.submissions:
                await self._write(batch)
            for command in batch.commands:
                await command()
            self._inbox.settled(batch)

    async def _write(self, batch: Batch) -> None:
        submissions = batch.submissions
        while submissions:
            try:
                appended = await self._append(submissions)
            except EventIdConflictError as error:
                # The store has stored nothing; without the events that conflict it stores the others.
                submissions = self._without_conflicts(submissions, batch, error)
            except Exception as error:  # noqa: BLE001  # a store is somebody else's code
                self._fail(batch, submissions, error)
                return
            else:
                self.error = None
                self._pass_on(submissions, appended)
                return

    async def _append(self, submissions: Sequence[Submission]) -> Appended:
        recorded_at = self._recorded_at = max(self._recorded_at, self._clock.now())
        for submission in submissions:
            submission.recorded_at = recorded_at
        began = self._clock.monotonic()
        try:
            return await self._store.append(submissions)
        finally:
            self.last_commit_time = self._clock.monotonic() - began
            self.commit_time += self.last_commit_time
            self.slowest_commit_time = max(self.slowest_commit_time, self.last_commit_time)
            self.batches += 1

    def _pass_on(self, submissions: Sequence[Submission], appended: Appended) -> None:
        if appended.duplicates:
            for index, sequence in appended.duplicates.items():
                submissions[index].sequence = sequence
                submissions[index].duplicate = True
            self.duplicates += len(appended.duplicates)
            submissions = [submission for submission in submissions if not submission.duplicate]
        self.stored += len(submissions)
        if submissions:
            self._on_committed(submissions, appended)

    def _without_conflicts(
        self, submissions: Sequence[Submission], batch: Batch, error: EventIdConflictError
    ) -> list[Submission]:
        """Refuse the events that conflict, and with each of them the whole group it was published in."""
        group_of = {id(member): group for group in batch.groups for member in group}
        for index, conflict in error.conflicts.items():
            refused = Batch(EventIdConflictError({0: conflict}))
            for submission in group_of.get(id(submissions[index]), (submissions[index],)):
                submission.batch = refused
        remaining = [submission for submission in submissions if submission.batch is batch]
        self.failed += len(submissions) - len(remaining)
        return remaining

    def _fail(self, batch: Batch, submissions: Sequence[Submission], error: Exception) -> None:
        """Nothing was committed, so the next batch gets the same sequences."""
        if not isinstance(error, AsyncBusError):
            cause, error = error, StoreFailedError(f"the store raised {error!r}", outcome_unknown=True)
            error.__cause__ = cause
        self.error = batch.error = error
        self.failed += len(submissions)
        unawaited = max(len(submissions) - sum(waiter.events for waiter in batch.waiters), 0)
        self.failed_unawaited += unawaited
        log.error("a batch of %d events was not stored (%d unawaited): %s", len(submissions), unawaited, error)
