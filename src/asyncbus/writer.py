"""The one task that appends: takes what waits in the inbox, commits it as one batch, passes on what was stored."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final

from asyncbus.batch import Batch, Submission
from asyncbus.clock import Clock
from asyncbus.errors import AsyncBusError, EventIdConflictError, StoreFailedError
from asyncbus.events import Record
from asyncbus.expecting import judge
from asyncbus.history import ask
from asyncbus.inbox import Inbox
from asyncbus.saving import Saves, Saving
from asyncbus.store.base import Appended, EventStore, KeyedStore, same_content
from asyncbus.store.consumers import ConsumerStore

log = logging.getLogger("asyncbus")

_LARGE: Final = 512
"""Events of a batch before which what consumers have asked for is stored by itself, at most once a batch.

It takes as long as a few dozen events. With the batch it would come twice as late, and beside a publisher that never
rests a consumer would fall behind by nearly all it publishes (benchmarks/bench_consumers.py).
"""


class Writer:
    """Commits batches, one at a time, in the order of the inbox.

    Args:
        store: where batches are appended.
        inbox: where batches are taken from.
        clock: gives `recorded_at`, and measures commits.
        on_committed: gets the records of each batch that were stored, ascending, and what the store said.
        until_readers_allow: awaited before each batch.
        saving: what else is stored with a batch; None: nothing is.
    """

    def __init__(
        self,
        store: EventStore,
        inbox: Inbox,
        clock: Clock,
        *,
        on_committed: Callable[[Sequence[Record], Appended], None],
        until_readers_allow: Callable[[], Awaitable[None]],
        saving: Saving | None = None,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        # Of the last event of the store, in microseconds; it never decreases.
        self._recorded_at = 0
        self._on_committed = on_committed
        self._until_readers_allow = until_readers_allow
        self._saving = saving
        self.stored = 0
        self.duplicates = 0
        self.failed = 0
        self.failed_unawaited = 0
        self.batches = 0
        self.commit_time = 0.0
        self.last_commit_time = 0.0
        self.slowest_commit_time = 0.0
        self.error: Exception | None = None
        # Whether any event has ever expected a last one of its key: only then is it worth looking.
        self.is_expecting = False

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
            if self._saving is not None:
                if self._saving.wanted and len(batch.submissions) >= _LARGE:
                    await self._write_with(Batch(), self._saving.take(passing=False))
                await self._write_with(batch, self._saving.take(passing=bool(batch.submissions)))
            elif batch.submissions:
                await self._write(batch)
            for command in batch.commands:
                await command()
            self._inbox.settle(batch)

    async def _write_with(self, batch: Batch, saves: Saves) -> None:
        """Write a batch, and in the same commit what consumers have to store."""
        error: Exception | None = StoreFailedError("the writer was cancelled", outcome_unknown=True)
        try:
            if batch.submissions or saves.changes:
                await self._write(batch, saves if saves.changes else None)
            error = batch.error if saves.changes else None
        finally:
            saves.settle(error)

    async def _write(self, batch: Batch, saves: Saves | None = None) -> None:
        submissions: Sequence[Submission] = batch.submissions
        while submissions or saves is not None:
            try:
                if self.is_expecting:
                    submissions = await self._refuse_unexpected(submissions, batch)
                    if not submissions and saves is None:
                        return
                appended = await self._append(submissions, saves)
            except EventIdConflictError as error:
                # The store has stored nothing; without the events that conflict it stores the others.
                others = self._refuse_conflicts(submissions, batch, error)
                if len(others) == len(submissions):  # it would say the same for ever
                    self._fail(
                        batch,
                        submissions,
                        StoreFailedError(f"the store found a conflict in no event of the batch: {error}"),
                    )
                    return
                submissions = others
            except Exception as error:  # noqa: BLE001  # a store is somebody else's code
                self._fail(batch, submissions, error)
                return
            else:
                self.error = None
                if saves is not None:
                    saves.stale = appended.stale
                if submissions:
                    self._pass_on(submissions, appended)
                return

    async def _append(self, submissions: Sequence[Submission], saves: Saves | None) -> Appended:
        recorded_at = self._recorded_at = max(self._recorded_at, self._clock.now())
        for submission in submissions:
            submission.recorded_at = recorded_at
        began = self._clock.monotonic()
        try:
            if saves is None:
                return await self._store.append(submissions)
            assert isinstance(self._store, ConsumerStore)  # noqa: S101  # or nobody would have anything to save
            return await self._store.commit(submissions, saves.changes)
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

    def _refuse_conflicts(
        self, submissions: Sequence[Submission], batch: Batch, error: EventIdConflictError
    ) -> list[Submission]:
        """Refuse the events that conflict, each with the whole group it was published in; keep the others.

        An id counts as used by what is stored and by what is kept: that of a refused event is free for the next one.
        """
        stored = {id(submissions[index]): conflict for index, conflict in error.conflicts.items() if conflict[1]}
        kept: dict[str, Submission] = {}
        remaining: list[Submission] = []
        refused: list[Submission] = []
        for unit in _units(submissions, batch):
            conflict = next(filter(None, (stored.get(id(member)) for member in unit)), None) or _clash(unit, kept)
            if conflict is None:
                kept.update((member.id, member) for member in unit if member.id is not None)
                remaining += unit
            else:
                _refuse(unit, EventIdConflictError({0: conflict}))
                refused += unit
        self._count_failed(refused, batch, error)
        return remaining

    async def _refuse_unexpected(self, submissions: Sequence[Submission], batch: Batch) -> Sequence[Submission]:
        """Refuse the events that expect another last event of their key than there is; keep the others."""
        keys = {event.key for event in submissions if event.expected_sequence is not None and event.key is not None}
        if not keys:
            return submissions
        store = self._store
        assert isinstance(store, KeyedStore)  # noqa: S101  # or nobody could expect anything
        ids = [event.id for event in submissions if event.id is not None]
        last = await ask(store.last_sequences(sorted(keys)))
        known = await ask(store.ids(ids)) if ids else ()
        head = await ask(store.latest_sequence())
        allowed, refused = judge(_units(submissions, batch), last, known, head)
        for unit, error in refused:
            _refuse(unit, error)
            self._count_failed(unit, batch, error)
        return allowed

    def _fail(self, batch: Batch, submissions: Sequence[Submission], error: Exception) -> None:
        """Tell the whole batch. The next one gets the same sequences, unless the outcome of this one is unknown."""
        if not isinstance(error, AsyncBusError):
            cause, error = error, StoreFailedError(f"the store raised {error!r}", outcome_unknown=True)
            error.__cause__ = cause.with_traceback(None)
        # Its frames hold the batch, and the collector does not see through records: the batch would never be freed.
        self.error = batch.error = error.with_traceback(None)
        self._count_failed(submissions, batch, error)

    def _count_failed(self, submissions: Sequence[Submission], batch: Batch, error: Exception) -> None:
        awaited = {id(event) for waiter in batch.waiters if not waiter.future.done() for event in waiter.events}
        unawaited = sum(id(submission) not in awaited for submission in submissions)
        self.failed += len(submissions)
        self.failed_unawaited += unawaited
        if unawaited or (submissions and batch.error is error):
            log.error("events not stored: %d (nobody waits for %d of them): %s", len(submissions), unawaited, error)


def _units(submissions: Sequence[Submission], batch: Batch) -> Iterator[Sequence[Submission]]:
    """What is stored as a whole: single events, and the groups that were published as one, each in its place."""
    group_of = {id(member): group for group in batch.groups for member in group}
    for submission in submissions:
        unit = group_of.get(id(submission), (submission,))
        if unit[0] is submission:
            yield unit


def _clash(unit: Sequence[Submission], kept: Mapping[str, Submission]) -> tuple[str, int] | None:
    """The id of a unit that something kept, or the unit itself, has used for other content."""
    own: dict[str, Submission] = {}
    for submission in unit:
        if submission.id is not None:
            first = kept.get(submission.id) or own.setdefault(submission.id, submission)
            if not same_content(first, submission):
                return submission.id, 0
    return None


def _refuse(unit: Sequence[Submission], error: AsyncBusError) -> None:
    refused = Batch(error)
    for submission in unit:
        submission.batch = refused
