"""The SQL of the log: everything a user gives is bound, only counts and our own words are put together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec

from asyncbus.conditions import Condition
from asyncbus.events import Record
from asyncbus.filters import EventFilter

Bound = list[Any]

Statement: TypeAlias = tuple[str, Sequence[Any]]
"""SQL, and what is bound to it."""

EXTRAS: Final = ("id", "key", "metadata", "version", "causation_id", "correlation_id")
"""Columns that most events leave empty, in the order of `events.extras`."""

_COLUMNS_OF_ALL: Final = ("time", "type", "data", "checksum")

BATCH_LIMIT: Final = 4096
"""Records of one INSERT; fewer, where many of the extras are there."""

_MAX_BOUND: Final = 32_766
"""Variables of a statement that SQLite allows by default."""

# Powers of two and three quarters of them: few statements to prepare and keep, and at most a third of one is padding.
_LADDER: Final = sorted({1, 3} | {rows for step in range(1, 13) for rows in (2**step, 3 * 2**step // 4)})


def inserts(records: Sequence[Record], first: int) -> list[Statement]:
    """The statements that store the records of one batch, the first as sequence `first`: mostly it is one.

    One multi-row statement is one step of SQLite, so the GIL is given back once a batch and not once a row, and in
    autocommit mode it is whole or not at all. Rows of NULL pad it to the next rung of a ladder of prepared statements.
    Of the extras it has the columns that some record needs.
    """
    present: tuple[str, ...] = ()
    if any(r.id or r.key or r.metadata or r.version or r.causation_id or r.correlation_id for r in records):
        present = tuple(column for column in EXTRAS if any(map(attrgetter(column), records)))
    limit = min(BATCH_LIMIT, _most_rows(len(_COLUMNS_OF_ALL) + len(present)))
    return [
        _inserting(records[place : place + limit], first + place, present) for place in range(0, len(records), limit)
    ]


@cache
def _most_rows(columns: int) -> int:
    return max(rows for rows in _LADDER if rows * columns < _MAX_BOUND)


def _inserting(records: Sequence[Record], first: int, present: tuple[str, ...]) -> tuple[str, Bound]:
    rows = _LADDER[bisect_left(_LADDER, len(records))]
    columns = (*_COLUMNS_OF_ALL, *present)
    recorded_at = records[0].recorded_at
    bound: Bound = [recorded_at]
    # One value where one is asked for, else a tuple: as `attrgetter` has it.
    extra, is_one = attrgetter(*present or EXTRAS), len(present) == 1
    for sequence, record in enumerate(records, first):
        bound += (record.time, record.type, record.data, record.checksum ^ recorded_at ^ sequence)
        if is_one:
            bound.append(extra(record))
        elif present:
            bound += extra(record)
    bound += (None,) * (len(columns) * (rows - len(records)))
    return _insert(rows, columns), bound


@cache
def _insert(rows: int, columns: tuple[str, ...]) -> str:
    row = f"({', '.join('?' * len(columns))})"
    found = ", ".join(f"column{place}" for place in range(1, len(columns) + 1))
    return (
        f"INSERT INTO events (recorded_at, {', '.join(columns)})"
        f" SELECT ?, {found} FROM (VALUES {', '.join([row] * rows)}) WHERE column1 IS NOT NULL"
    )


_COLUMNS: Final = f"sequence, recorded_at, time, type, data, checksum, {', '.join(EXTRAS)}"

EVENTS: Final = (
    f"SELECT {_COLUMNS} FROM events NOT INDEXED WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
)
"""Events above one sequence and up to another, a row each."""

_HEAD_AND_FLOOR: Final = (
    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0),"
    " coalesce((SELECT max(last) FROM removals), 0)"
)

RECORD: Final = (
    "json_array(sequence, recorded_at, time, type,"
    " CASE typeof(data) WHEN 'blob' THEN json_array(hex(data)) ELSE data END,"
    f" checksum, {', '.join(EXTRAS)})"
)
"""An event as JSON; bytes, which JSON cannot hold, stand as ["hex"]."""

# One row of JSON for a whole page: SQLite gives the GIL back and needs it again at each row it steps to, which beside
# a busy loop costs up to 5 ms each. It is built while the loop goes on, and msgspec reads it straight into records.
_PAGE: Final = f"SELECT json_group_array({RECORD}), {_HEAD_AND_FLOOR} FROM ({{rows}})"

MAX_TYPES: Final = 32
"""Types of a pattern that are read one by one and merged; more are found by looking at all events in order."""

# A skip-scan: one index look-up for each distinct type, however many events it has.
_TYPES: Final = (
    "WITH RECURSIVE found (type) AS ("
    " SELECT min(type) FROM events WHERE type >= ? AND type < ?"
    " UNION ALL SELECT (SELECT min(type) FROM events WHERE type > found.type AND type < ?)"
    f" FROM found WHERE found.type IS NOT NULL LIMIT {MAX_TYPES + 1})"
    " SELECT type FROM found WHERE type IS NOT NULL"
)


def types_of(ranges: Sequence[tuple[str, str]]) -> tuple[str, Bound]:
    """The distinct types in some ranges, as JSON (more than `MAX_TYPES`: cut off), the head and the floor."""
    bound = [text for low, high in ranges for text in (low, high, high)]
    found = " UNION ALL ".join([f"SELECT type FROM ({_TYPES})"] * len(ranges))
    return f"SELECT json_group_array(type), {_HEAD_AND_FLOOR} FROM ({found})", bound


def page(
    wanted: EventFilter, types: Sequence[str] | None, *, beyond: int | None, up_to: int | None, limit: int
) -> tuple[str, Bound]:
    """Up to `limit` events that `wanted` describes, as one row: JSON, head, floor.

    Args:
        wanted: its own limit is left aside.
        types: the few types its pattern has in this log: SQLite merges their ranges of the index and stops at the
            limit. None: all events in order are looked at.
        beyond: the sequence after which the page begins, in the direction of `wanted`; None: at its end.
        up_to: the last sequence looked at.
        limit: the most events of the page.
    """
    conditions: list[tuple[str, Any]] = [
        ("sequence < ?" if wanted.newest_first else "sequence > ?", beyond),
        ("sequence <= ?", up_to),
        ("sequence >= ?", wanted.start_sequence),
        ("sequence < ?", wanted.stop_sequence),
        # recorded_at never decreases, so a search by halves finds where a range of it begins and ends.
        (f"sequence >= ({_FIRST_RECORDED})", wanted.start_recorded),
        (f"sequence < ({_FIRST_RECORDED})", wanted.stop_recorded),
        ("time >= ?", wanted.since),
        ("time < ?", wanted.until),
        ("key = ?", wanted.key),
        ("causation_id IN (SELECT value FROM json_each(?))", _json(wanted.causation_ids)),
    ]
    clauses = [sql for sql, value in conditions if value is not None] or ["TRUE"]
    bound: Bound = [value for _, value in conditions if value is not None]
    for condition in wanted.conditions:
        sql, values = _holds(condition)
        clauses.append(sql)
        bound += values
    if types:
        one = f"SELECT {_COLUMNS} FROM events WHERE type = ? AND {' AND '.join(clauses)}"
        rows = " UNION ALL ".join([one] * len(types))
        bound = [value for type in types for value in (type, *bound)]
    else:
        if not wanted.pattern.matches_all:
            ranges = wanted.pattern.ranges()
            # The unary plus keeps the index on types out of it: it would gather all matches and sort them each time.
            clauses.append(f"({' OR '.join(['(+type >= ? AND +type < ?)'] * len(ranges))})")
            bound += [text for low, high in ranges for text in (low, high)]
        rows = f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(clauses)}"
    order = "DESC" if wanted.newest_first else "ASC"
    # The unary plus: the few that an event has led to are gathered and sorted, and not looked for among all.
    by = "sequence" if wanted.causation_ids is None else "+sequence"
    return _PAGE.format(rows=f"{rows} ORDER BY {by} {order} LIMIT ?"), [*bound, limit]


_TYPES_OF_KIND: Final = {
    "number": "('integer', 'real')",
    "string": "('text')",
    "boolean": "('true', 'false')",
    "null": "('null')",
}
"""What `json_type` calls each kind of value."""


def _holds(condition: Condition) -> tuple[str, Bound]:
    """`Condition.holds` in SQL: bytes, and what SQLite cannot read as JSON, have nothing at any path."""
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in condition.path)
    field = condition.field
    kind, value = f"json_type({field}, ?)", f"json_extract({field}, ?)"
    bound: Bound
    same_kind = f"{kind} IN {_TYPES_OF_KIND[condition.kind]}"
    if condition.kind == "null":
        test, bound = same_kind, [path]
    else:
        compared = "=" if condition.operator == "!=" else condition.operator
        test, bound = f"({same_kind} AND {value} {compared} ?)", [path, path, condition.value]
    if condition.operator == "!=":
        test, bound = f"({kind} IS NOT NULL AND NOT {test})", [path, *bound]
    return f"CASE WHEN typeof({field}) = 'text' AND json_valid({field}) THEN {test} ELSE FALSE END", bound


def _json(values: Sequence[Any] | None) -> str | None:
    return None if values is None else msgspec.json.encode(values).decode()


def sequences(page: str) -> str:
    """The statement of a page, made to return bare sequences, which damage elsewhere in an event leaves readable."""
    return page.replace(_PAGE.partition(" FROM ({rows}")[0], f"SELECT json_group_array(sequence), {_HEAD_AND_FLOOR}")


# The first sequence recorded at or after a moment, else one beyond the last: what lies between is halved each time.
_FIRST_RECORDED: Final = (
    "WITH RECURSIVE search (moment, low, high) AS ("
    " SELECT ?, coalesce((SELECT min(sequence) FROM events), 0), coalesce((SELECT max(sequence) FROM events), 0) + 1"
    " UNION ALL"
    " SELECT moment,"
    "  CASE WHEN (SELECT recorded_at FROM events WHERE sequence >= (low + high) / 2 ORDER BY sequence LIMIT 1) < moment"
    "   THEN (low + high) / 2 + 1 ELSE low END,"
    "  CASE WHEN (SELECT recorded_at FROM events WHERE sequence >= (low + high) / 2 ORDER BY sequence LIMIT 1) < moment"
    "   THEN high ELSE (low + high) / 2 END"
    " FROM search WHERE low < high)"
    " SELECT low FROM search WHERE low >= high"
)

BOUNDS: Final = f"SELECT {_HEAD_AND_FLOOR}"
"""Head and floor."""

HEAD: Final = f"SELECT {_HEAD_AND_FLOOR}, log_id FROM log"
"""Head, floor, and the log's own id."""

BY_ID: Final = _PAGE.format(rows=f"SELECT {_COLUMNS} FROM events WHERE id IN (SELECT value FROM json_each(?))")
"""The events that have one of some ids, given as JSON."""

LAST_SEQUENCES: Final = (
    "SELECT json_group_object(key, last) FROM (SELECT value AS key,"
    " (SELECT max(sequence) FROM events WHERE key = wanted.value) AS last FROM json_each(?) AS wanted)"
    " WHERE last IS NOT NULL"
)
"""The last sequence of each of some keys, given as JSON: one look-up in the index each."""

IDS: Final = (
    "SELECT json_group_object(id, sequence) FROM (SELECT id, sequence FROM events"
    " WHERE id IN (SELECT value FROM json_each(?)))"
)
"""Those of some ids that an event has, with its sequence."""

TYPES: Final = (
    "SELECT json_group_array(json_array(type, events, first, last,"
    " (SELECT recorded_at FROM events WHERE sequence = first),"
    " (SELECT recorded_at FROM events WHERE sequence = last)))"
    " FROM (SELECT type, count(*) AS events, min(sequence) AS first, max(sequence) AS last"
    " FROM events GROUP BY type ORDER BY type)"
)
"""Each type with its count, the first and the last event: one walk along the index on types."""

RECORD_REMOVAL: Final = (
    "INSERT INTO removals (first, last, removed_at, reason)"
    " SELECT first, last, ?, 'clear' FROM (SELECT min(sequence) AS first, max(sequence) AS last FROM events)"
    " WHERE first IS NOT NULL"
)
REMOVE_ALL: Final = "DELETE FROM events"
