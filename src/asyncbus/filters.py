"""Which events a query wants, as one value."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from asyncbus.conditions import Condition, conditions
from asyncbus.events import Record, check_name, to_microseconds
from asyncbus.options import bound, check_count
from asyncbus.patterns import Pattern


class EventFilter(Struct, frozen=True, kw_only=True):
    """What `EventStore.query` is asked for: all conditions must hold; None is no condition.

    Times are microseconds since 1970 UTC. Ranges take their beginning and leave out their end.

    Attributes:
        pattern: event types.
        start_sequence, stop_sequence: range of sequences.
        start_recorded, stop_recorded: range of `recorded_at`.
        since, until: range of `time`, when the events occurred.
        key: exactly this key.
        causation_ids: the sequences of events, one of which led to it.
        conditions: on what its data and metadata say.
        limit: at most this many events.
        newest_first: descending sequences, so that `limit` keeps the last ones.
    """

    pattern: Pattern = Pattern(prefixes=("",))
    start_sequence: int | None = None
    stop_sequence: int | None = None
    start_recorded: int | None = None
    stop_recorded: int | None = None
    since: int | None = None
    until: int | None = None
    key: str | None = None
    causation_ids: tuple[int, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    limit: int | None = 1000
    newest_first: bool = False

    @classmethod
    def build(
        cls,
        pattern: object = "*",
        *,
        start: int | datetime | None = None,
        stop: int | datetime | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        key: str | None = None,
        where: str | None = None,
        limit: int | None = 1000,
        newest_first: bool = False,
    ) -> EventFilter:
        """Check and convert the arguments of `EventBus.query`.

        Raises:
            InvalidPatternError, InvalidOptionError: naming the argument.
        """
        start_sequence, start_recorded = bound("start", start)
        stop_sequence, stop_recorded = bound("stop", stop)
        return cls(
            pattern=Pattern.parse(pattern),
            start_sequence=start_sequence,
            stop_sequence=stop_sequence,
            start_recorded=start_recorded,
            stop_recorded=stop_recorded,
            since=None if since is None else to_microseconds("since", since),
            until=None if until is None else to_microseconds("until", until),
            key=None if key is None else check_name("key", key),
            conditions=() if where is None else conditions(where),
            limit=None if limit is None else check_count("limit", limit),
            newest_first=newest_first,
        )

    def matches(self, record: Record) -> bool:
        """Whether a record meets all conditions but `limit`."""
        return (
            _within(record.sequence, self.start_sequence, self.stop_sequence)
            and _within(record.recorded_at, self.start_recorded, self.stop_recorded)
            and _within(record.time, self.since, self.until)
            and (self.key is None or record.key == self.key)
            and (self.causation_ids is None or record.causation_id in self.causation_ids)
            and self.pattern.matches(record.type)
            and all(condition.holds(record) for condition in self.conditions)
        )


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or low <= value) and (high is None or value < high)
