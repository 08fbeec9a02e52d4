"""The SQL of durable consumers: how changes become statements, and how states and dead letters are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final

import msgspec

from asyncbus.codec import checksum, extend_checksum, type_seed
from asyncbus.events import NO_EXTRAS, Record, extras
from asyncbus.store.consumers import Change, ConsumerState, Forgotten, ParkedEvent, ParkedFilter, Released
from asyncbus.store.statements import EXTRAS, RECORD, Bound, Statement

_STATE: Final = ConsumerState.__struct_fields__
"""Each has a column of its name."""

_LETTER: Final = (
    "consumer",
    "sequence",
    "recorded_at",
    "time",
    "type",
    "data",
    "checksum",
    *EXTRAS,
    "attempts",
    "failures",
    "parked_at",
)

_ROWS: Final = 512
"""Rows of one statement: with seventeen columns they stay below the 32,766 variables that SQLite allows by default."""

# --------------------------------------------------------------------------------------------------------- changing


def changing(changes: Sequence[Change]) -> list[Statement]:
    """The statements that store changes, none of which is stale; to be run in one transaction.

    There are few, whatever the number of changes: states and dead letters do not concern each other, but a consumer
    that is forgotten concerns both.
    """
    found: list[Statement] = []
    for forgets, some in groupby(changes, lambda change: isinstance(change, Forgotten)):
        if forgets:
            names = _json([change.name for change in some if isinstance(change, Forgotten)])
            found += [(_FORGET_STATES, (names,)), (_FORGET_LETTERS, (names,))]
            continue
        run = list(some)
        found += _in_rows(_keep_states, [_state(change) for change in run if isinstance(change, ConsumerState)])
        letters = [change for change in run if not isinstance(change, ConsumerState)]
        for _, group in groupby(letters, lambda change: isinstance(change, Released)):
            found += _changing_letters(list(group))
    return found


def _changing_letters(changes: Sequence[Change]) -> list[Statement]:
    """For changes that are either all parked events or all released ones."""
    numbers = [number for change in changes if isinstance(change, Released) for number in change.numbers]
    released: list[Statement] = [(_RELEASE, (_json(numbers),))] if numbers else []
    return released + _in_rows(
        _keep_letters, [_letter(change) for change in changes if isinstance(change, ParkedEvent)]
    )


def _state(state: ConsumerState) -> Bound:
    return [*(msgspec.structs.asdict(state) | {"owed": _json(state.owed)}).values()]


def _letter(parked: ParkedEvent) -> Bound:
    record = parked.record
    return [
        parked.consumer,
        record.sequence,
        record.recorded_at,
        record.time,
        record.type,
        record.data,
        _checksum(record),
        *extras(record),
        parked.attempts,
        _json(parked.failures),
        parked.parked_at,
        parked.number,
    ]


def _checksum(record: Record) -> int:
    """Its checksum as the table of events has it; what the record itself has depends on where it comes from."""
    binary = record.data.__class__ is bytes
    payload = record.data if binary else record.data.encode()
    found = checksum(type_seed(record.type), payload, record.time, binary=binary)
    if (beside := extras(record)) != NO_EXTRAS:
        found = extend_checksum(found, beside)
    return found ^ record.recorded_at ^ record.sequence


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _in_rows(sql: Callable[[int], str], rows: Sequence[Bound]) -> list[Statement]:
    """Statements of many rows each, as `statements.insert` makes them: padded, so that few are to be prepared."""
    found: list[Statement] = []
    for place in range(0, len(rows), _ROWS):
        part = rows[place : place + _ROWS]
        padded = 1 << (len(part) - 1).bit_length()
        bound = [value for row in part for value in row]
        bound += (None,) * (len(part[0]) * (padded - len(part)))
        found.append((sql(padded), bound))
    return found


@cache
def _keep_states(rows: int) -> str:
    return (
        f"WITH kept ({', '.join(_STATE)}) AS ({_values(rows, len(_STATE))})"
        f" INSERT INTO consumers ({', '.join(_STATE)}) SELECT * FROM kept WHERE name IS NOT NULL"
        f" ON CONFLICT (name) DO UPDATE SET {_replaced(_STATE[1:])}"
    )


@cache
def _keep_letters(rows: int) -> str:
    # The last column is the number: a dead letter that has one is to be there still.
    return (
        f"WITH parked ({', '.join(_LETTER)}, number) AS ({_values(rows, len(_LETTER) + 1)})"
        f" INSERT INTO dead_letters ({', '.join(_LETTER)}) SELECT {', '.join(_LETTER)} FROM parked"
        " WHERE consumer IS NOT NULL AND (number = 0 OR EXISTS (SELECT TRUE FROM dead_letters AS known"
        " WHERE known.number = parked.number AND known.consumer = parked.consumer"
        " AND known.sequence = parked.sequence))"
        f" ON CONFLICT (consumer, sequence) DO UPDATE SET {_replaced(_LETTER[2:])}"
    )


def _values(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


def _replaced(columns: Iterable[str]) -> str:
    return ", ".join(f"{column} = excluded.{column}" for column in columns)


_FORGET_STATES: Final = "DELETE FROM consumers WHERE name IN (SELECT value FROM json_each(?))"
_FORGET_LETTERS: Final = "DELETE FROM dead_letters WHERE consumer IN (SELECT value FROM json_each(?))"
_RELEASE: Final = "DELETE FROM dead_letters WHERE number IN (SELECT value FROM json_each(?))"

# ---------------------------------------------------------------------------------------------------------- reading

EPOCHS: Final = (
    "SELECT json_group_object(name, epoch) FROM consumers WHERE typeof(name) = 'text' AND typeof(epoch) = 'integer'"
)
"""The epochs of all consumers by name, as JSON; one that is damaged keeps nobody from storing."""

# One row of JSON each, as pages of events are.
STATES: Final = (
    f"SELECT json_group_array(json_array({', '.join(_STATE)}))"
    f" FROM (SELECT {', '.join(_STATE)} FROM consumers ORDER BY name)"
)
"""All consumers, by name."""

STATE: Final = f"SELECT json_array({', '.join(_STATE)}) FROM consumers WHERE rowid = ?"
"""One of them."""

PLACES: Final = "SELECT json_group_array(rowid) FROM consumers"
"""Where they stand."""

COUNTS: Final = (
    "SELECT json_group_object(consumer, letters)"
    " FROM (SELECT consumer, count(*) AS letters FROM dead_letters GROUP BY consumer)"
)
"""How many dead letters each consumer has, as JSON."""

_LETTERS: Final = (
    f"SELECT json_group_array(json_array(number, consumer, attempts, failures, parked_at, {RECORD})) FROM ({{rows}})"
)


def letters(wanted: ParkedFilter, *, after: int, limit: int) -> Statement:
    """Up to `limit` of the dead letters that `wanted` describes, as one row of JSON.

    Args:
        wanted: its own `after` and `limit` are left aside.
        after: the number above which they are.
        limit: the most of them.
    """
    conditions: list[tuple[str, Any]] = [
        ("number > ?", after),
        ("consumer = ?", wanted.consumer),
        # The unary plus keeps the index of uniqueness out of it: it would gather all and sort them for each page.
        ("+sequence >= ?", wanted.start_sequence),
        ("+sequence < ?", wanted.stop_sequence),
        ("parked_at >= ?", wanted.start_parked),
        ("parked_at < ?", wanted.stop_parked),
    ]
    clauses = [sql for sql, value in conditions if value is not None]
    bound: Bound = [value for _, value in conditions if value is not None]
    if wanted.pattern is not None and not wanted.pattern.matches_all:
        ranges = wanted.pattern.ranges()
        clauses.append(f"({' OR '.join(['(type >= ? AND type < ?)'] * len(ranges))})")
        bound += [text for low, high in ranges for text in (low, high)]
    rows = f"SELECT * FROM dead_letters WHERE {' AND '.join(clauses)} ORDER BY number LIMIT ?"
    return _LETTERS.format(rows=rows), [*bound, limit]


def bare(letters: str) -> str:
    """The statement of `letters`, made to return numbers and sequences, which damage elsewhere leaves readable."""
    return letters.replace(_LETTERS.partition(" FROM ({rows}")[0], "SELECT number, sequence")
