"""What a bus, its subscriptions and its consumers count, as frozen snapshots; durations in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import astuple

from asyncbus.markup import figures, table


class TypeStatistics(Struct, frozen=True, kw_only=True):
    """What a log holds of one event type.

    Attributes:
        type: the event type.
        events: how many are retained.
        first_sequence, last_sequence: of the first and the last of them.
        first_recorded_at, last_recorded_at: when those were recorded, in UTC.
    """

    type: str
    events: int
    first_sequence: int
    last_sequence: int
    first_recorded_at: datetime
    last_recorded_at: datetime


class SubscriptionStatistics(Struct, frozen=True, kw_only=True):
    """One subscription at one moment.

    Attributes:
        name: the handler's qualified name, or the pattern of an iterating subscription.
        pattern: what it subscribed to.
        phase: "live" or "catching_up".
        position: every matching event at or below it was delivered.
        backlog: head minus position.
        queued: events that wait in its queue.
        delivered: events handed out (after `where`).
        dropped: events that `when_full="drop_oldest"` dropped.
        overflows: how often the queue was full.
        errors: exceptions of the handler and of `where`.
        handler_time: seconds spent in the handler, its waiting included.
        error: what ended the subscription, or None.
    """

    name: str
    pattern: str
    phase: Literal["catching_up", "live"]
    position: int
    backlog: int
    queued: int
    delivered: int
    dropped: int
    overflows: int
    errors: int
    handler_time: float
    error: BaseException | None


class ConsumerStatistics(Struct, frozen=True, kw_only=True):
    """One durable consumer at one moment.

    Attributes:
        name: of the consumer.
        pattern: what it consumes.
        checkpoint: nothing at or below it is owed.
        backlog: head minus checkpoint.
        in_flight: events handed out that have no outcome yet.
        waiting_for_retry: events that have failed and come again later.
        redelivered: deliveries that were not an event's first, since the consumer was made.
        dead_letters: events that were parked and neither retried with success nor discarded.
        handled: events done since it is active.
        failed: attempts that failed since it is active.
        skipped: events given up by `on_exhausted="skip"` since it is active.
        paused: whether it hands out nothing.
        active_since: since when it is active, or None; after a crash it is when that process began.
        last_error: of the last attempt that failed, or None.
        error: what ended it, or None.
    """

    name: str
    pattern: str
    checkpoint: int
    backlog: int
    in_flight: int
    waiting_for_retry: int
    redelivered: int
    dead_letters: int
    handled: int
    failed: int
    skipped: int
    paused: bool
    active_since: datetime | None
    last_error: str | None
    error: BaseException | None


class BusStatistics(Struct, frozen=True, kw_only=True):
    """One bus at one moment.

    Attributes:
        published: events the inbox accepted, withdrawn ones included.
        stored: events committed by this bus.
        duplicates: publishes answered with the receipt of an earlier event of the same id.
        failed: accepted events that were not stored, or whose outcome is unknown.
        failed_unawaited: those of them nobody was waiting for.
        withdrawn: accepted events whose publisher was cancelled or timed out before the writer took them.
        batches: attempts to commit, failed ones included.
        inbox_depth: events that wait to be written.
        inbox_bytes: their payloads, in bytes.
        inbox_high_water: the most events that ever waited.
        waiting_publishers: publishers in line for room in the inbox.
        commit_time: seconds spent in commits.
        last_commit_time: of it, in the last one.
        slowest_commit_time: of it, in the slowest one.
        head: sequence of the last committed event.
        blocked_by: names of the `when_full="block"` subscriptions that keep the writer from its next batch.
        subscriptions: each open subscription, in the order of offers.
        consumers: each active one, by name.
        store: what the store counts by itself. A `SQLiteStore` that writes: `wal_bytes`, the write-ahead log on disk;
            `wal_checkpoints`, how often it was moved into the database; `rolled_back`, stale transactions found before
            a batch (each is also logged).
    """

    published: int
    stored: int
    duplicates: int
    failed: int
    failed_unawaited: int
    withdrawn: int
    batches: int
    inbox_depth: int
    inbox_bytes: int
    inbox_high_water: int
    waiting_publishers: int
    commit_time: float
    last_commit_time: float
    slowest_commit_time: float
    head: int
    blocked_by: tuple[str, ...]
    subscriptions: tuple[SubscriptionStatistics, ...]
    consumers: tuple[ConsumerStatistics, ...]
    store: Mapping[str, int]

    def _repr_html_(self) -> str:
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        each = [named.pop("subscriptions"), named.pop("consumers")]
        return figures(named) + "".join(table(some[0].__struct_fields__, map(astuple, some)) for some in each if some)


class Health(Struct, frozen=True, kw_only=True):
    """Whether a bus can do its work.

    Attributes:
        status: "ok"; "degraded": the last commit failed, the next may succeed; "failed": nothing can be stored until
            the bus is opened again; "closed": not open.
        reason: the error behind it, or None.
    """

    status: Literal["ok", "degraded", "failed", "closed"]
    reason: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether the status is "ok"."""
        return self.status == "ok"


class DrainReport(Struct, frozen=True):
    """What `drain` has left.

    Attributes:
        unfinished: for each consumer that had events in flight at the end of the time, how many: they come again.
    """

    unfinished: dict[str, int] = {}

    @property
    def ok(self) -> bool:
        """Whether all that was in flight is done."""
        return not self.unfinished
