"""The checks that `verify` makes of an open log, each a method that notes what it finds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from asyncbus.codec import first_damaged
from asyncbus.errors import StoreCorruptError
from asyncbus.events import Record
from asyncbus.store import statements
from asyncbus.store.failures import meaning
from asyncbus.store.migrations import schema, schema_of
from asyncbus.store.watermark import Watermark

MAX_FINDINGS: Final = 1000
"""Findings that are kept; those beyond are counted."""

_PAGE: Final = 1024
"""Events of one read transaction."""

_HANDFUL: Final = 64
"""Events in memory at a time, for each may have 32 MiB."""

_NOT_INDEXED: Final = re.compile(r"row \d+ missing from index (\w+)")

DAMAGE: Final = (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError)
"""What is raised where damage is in the way; SQLite's messages quote what it has read, and Python decodes them."""

# Index → its column, and what it means to an event that the index does not lead to it.
_INDEXES: Final = {
    "events_by_type": ("type", "the index on types does not lead to it, so readers of its type may not get it"),
    "events_by_id": ("id", "the index on ids does not lead to it, so its id could be stored twice"),
    "events_by_key": ("key", "the index on keys does not lead to it, so queries for its key may not get it"),
    "events_by_causation": (
        "causation_id",
        "the index on causes does not lead to it, so `history_of` may not get it",
    ),
}

# As the log has them; what is no sequence counts as none, and is noted.
HEAD: Final = "coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'events' AND typeof(seq) = 'integer'), 0)"
"""The head, as SQL."""

_IS_RANGE: Final = "typeof(first) = 'integer' AND typeof(last) = 'integer' AND first BETWEEN 1 AND last"
_FLOOR: Final = f"coalesce((SELECT max(last) FROM removals WHERE {_IS_RANGE}), 0)"

_LOG_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a log; `str()` of it is its message.

    Attributes:
        message: what, in one line.
        sequence: of the event concerned, of several the first; None where the damage has no event.
    """

    message: str
    sequence: int | None = None

    def __str__(self) -> str:
        return self.message


class Inspection:
    """One look through a log.

    Args:
        connection: read-only, in autocommit mode.
        path: of the log.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path
        self.findings: list[Finding] = []
        self.unlisted = 0
        self.events = 0
        self.head = 0
        self._floor = 0
        # The last sequence looked at, and the highest `recorded_at` up to it.
        self._position = 0
        self._recorded_at = -(2**63)
        # Where sequences have no event: first and last, ascending.
        self._gaps: list[tuple[int, int]] = []
        # Those that are as they should be, and so can be asked.
        self._indexes = dict(_INDEXES)

    def run(self) -> bool:
        """Check tables, indexes and events; false: without its tables a log has nothing more to be checked."""
        if not self._check_tables():
            return False
        self._check_end()
        self._check_structure()
        self._check_events(self._last_to_look_at())
        self._check_gaps()
        return True

    def check_journal(self) -> None:
        """Whether SQLite takes it for a database with a write-ahead log, which it sees in the header."""
        for (mode,) in self.rows("PRAGMA journal_mode"):
            if mode != "wal":
                self.note(f"its header does not say that it has a write-ahead log: its journal mode is {mode}")

    def note(self, message: str, sequence: int | None = None) -> None:
        """Keep a finding, or count it."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(in_one_line(message), sequence))
        else:
            self.unlisted += 1

    def rows(self, sql: str, *bound: Any) -> Sequence[Any]:
        """The rows of one statement; where damage is in its way, none, and that is noted."""
        try:
            return self.connection.execute(sql, bound).fetchall()
        except DAMAGE as error:
            self.note(f"not everything could be looked at: {self.damage(error)}")
            return ()

    def damage(self, error: Exception) -> str:
        """What an error says of the log; where it says nothing of the log, it is raised."""
        if isinstance(error, sqlite3.Error):
            told = meaning(self._path, error)
            if not isinstance(told, StoreCorruptError):
                raise told from error
        return str(error)

    # ------------------------------------------------------------------------------------------------- the log as such

    def _check_tables(self) -> bool:
        """Whether all tables are as asyncbus has made them; indexes are noted as well, but one can do without."""
        try:
            found = schema_of(self.connection)
            objects = self.connection.execute("SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
            [(version,)] = self.connection.execute("PRAGMA user_version")
        except DAMAGE as error:
            self.note(f"its tables cannot be looked at: {self.damage(error)}")
            return False
        expected = schema(version)
        indexes = [name for name, sql in expected.items() if not sql.startswith("CREATE TABLE ")]
        strange = [name for name, sql in expected.items() if found.get(name) != sql]
        for name in strange:
            is_there = "is not what asyncbus has made" if name in found else "is missing"
            self.note(f"the {'index' if name in indexes else 'table'} {name} {is_there}")
            self._indexes.pop(name, None)
        for kind, name in objects:
            # What ANALYZE gathers is SQLite's own.
            if name not in expected and not str(name).startswith("sqlite_"):
                self.note(f"the {kind} {name} was not made by asyncbus")
        return set(indexes) >= set(strange)

    def _check_end(self) -> None:
        """The row that says which log this is, and the watermark, which says how far it was written."""
        rows = self.rows("SELECT log_id FROM log")
        if len(rows) != 1:
            self.note(f"the table log, which says which log this is, has {len(rows)} rows instead of one")
        log_id = str(rows[0][0]) if rows else ""
        if rows and (not isinstance(rows[0][0], str) or not _LOG_ID.fullmatch(log_id)):
            self.note(f"the log's id {rows[0][0]!r:.80} is none that asyncbus gives")
        watermark = Watermark(self._path, log_id)
        fault = watermark.fault() if rows else None
        if fault is not None:
            self.note(f"the watermark beside it, {watermark.path}, {fault}")
        # Before the head: the other way round a writer at work might be taken for a lost tail.
        expected = watermark.read()
        for bounds in self.rows(f"SELECT {HEAD}, {_FLOOR}"):
            self.head, self._floor = bounds
        self._check_what_is_counted()
        if expected > self.head:
            self.note(
                f"the log ends at event {self.head}, but {watermark.path} says that event {expected} was stored:"
                " its -wal file was lost, or an older copy was put in its place"
            )

    def _check_what_is_counted(self) -> None:
        """The tables in which sequences stand that were given, and that were removed."""
        given = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        if len(given) > 1:
            self.note(f"the table sqlite_sequence has {len(given)} rows for events instead of one")
        for (sequence,) in given:
            if not isinstance(sequence, int) or sequence < 0:
                self.note(f"the last sequence that was given is said to be {sequence!r:.80}")
        for first, last in self.rows(f"SELECT first, last FROM removals WHERE NOT ({_IS_RANGE})"):
            self.note(f"a removal is recorded of {first!r:.80} to {last!r:.80}, which is no range of sequences")

    def _check_structure(self) -> None:
        """SQLite's own check: of its pages, and that rows and entries of the indexes correspond."""
        told = self.rows(f"PRAGMA integrity_check({MAX_FINDINGS:d})")
        lines = [line for (text,) in told for line in text.splitlines() if not line.startswith("***")]
        if lines == ["ok"] and not self.findings:
            return
        for line in lines:
            # It names rows by their place, which need not be their sequence, so these are looked for here.
            not_indexed = _NOT_INDEXED.match(line)
            if line != "ok" and (not_indexed is None or not_indexed[1] not in self._indexes):
                self.note(f"SQLite's own check: {line}")
        self._find_not_indexed()
        self._find_double_ids()

    def _find_not_indexed(self) -> None:
        for index, (column, harm) in self._indexes.items():
            lost = self.rows(
                f"SELECT sequence FROM events AS event NOT INDEXED WHERE {column} IS NOT NULL AND NOT EXISTS"
                f" (SELECT TRUE FROM events AS entry INDEXED BY {index}"
                f" WHERE entry.{column} = event.{column} AND entry.sequence = event.sequence)"
            )
            for (sequence,) in lost:
                self.note(f"event {sequence}: {harm}", sequence)

    def _find_double_ids(self) -> None:
        doubles = self.rows(
            "SELECT min(sequence), max(sequence) FROM events NOT INDEXED WHERE id IS NOT NULL"
            " GROUP BY id HAVING count(*) > 1"
        )
        for first, last in doubles:
            self.note(f"events {first} and {last} have the same id", first)

    # -------------------------------------------------------------------------------------------------- event by event

    def _last_to_look_at(self) -> int:
        """The head, unless an event lies beyond it."""
        stray = (
            f"SELECT count(*), min(sequence), max(sequence), {HEAD} FROM events WHERE sequence > {HEAD} OR sequence < 1"
        )
        for count, first, last, head in self.rows(stray):
            if count:
                which = f"event {first} lies" if count == 1 else f"{count} events, {first} to {last}, lie"
                self.note(f"{which} outside the sequences that were given, 1 to {head}", first)
                return max(int(last), self.head)
        return self.head

    def _check_events(self, last: int) -> None:
        """Look at all events up to `last`, page by page, and where a page cannot be read, one by one."""
        while self._position < last:
            try:
                self._check_page(last, _PAGE)
            except DAMAGE as error:
                self.damage(error)  # raises what says nothing of the log
                self._check_one_by_one(min(self._position + _PAGE, last))

    def _check_page(self, last: int, limit: int) -> None:
        before = self._position
        with closing(self.connection.execute(statements.EVENTS, (before, last, limit))) as cursor:
            while rows := cursor.fetchmany(_HANDFUL):
                self._look_at(msgspec.convert(rows, list[Record]))
        if self._position == before:
            self._move_to(last + 1)

    def _check_one_by_one(self, last: int) -> None:
        for sequence in range(self._position + 1, last + 1):
            try:
                self._check_page(sequence, 1)
            except DAMAGE as error:
                self.note(f"event {sequence} cannot be read: {self.damage(error)}", sequence)
                self._position = sequence

    def _look_at(self, records: Sequence[Record]) -> None:
        """Checksums, then what must hold from one event to the next."""
        self.events += len(records)
        remaining = iter(records)
        damaged: set[int] = set()
        while (bad := first_damaged(remaining)) is not None:
            damaged.add(bad.sequence)
            self.note(f"event {bad.sequence}: its checksum is wrong", bad.sequence)
        for record in records:
            sequence, recorded_at = record.sequence, record.recorded_at
            if sequence != self._position + 1:
                if sequence <= self._position:  # else it would be looked at for ever
                    self.note(f"event {sequence} comes after event {self._position}", sequence)
                    continue
                self._move_to(sequence)
            self._position = sequence
            if sequence in damaged:
                continue  # what it says of itself cannot be relied on
            if recorded_at < self._recorded_at:
                self.note(f"event {sequence} was recorded before the one that precedes it", sequence)
            else:
                self._recorded_at = recorded_at
            if sequence <= self._floor:
                self.note(f"event {sequence} is there, though all up to {self._floor} were removed", sequence)

    def _move_to(self, sequence: int) -> None:
        """All up to `sequence` is looked at, and nothing was found."""
        first, last = self._position + 1, min(sequence - 1, self.head)
        if first <= last:
            self._gaps.append((first, last))
        self._position = sequence - 1

    def _check_gaps(self) -> None:
        """What is missing, but for what was removed on purpose: also while all this went on, so that is asked now."""
        removed = sorted(self.rows(f"SELECT first, last FROM removals WHERE {_IS_RANGE}"))
        for gap in self._gaps:
            for first, last in _without(gap, removed):
                which = f"event {first} is" if first == last else f"events {first} to {last} are"
                self.note(f"{which} missing, and no removal is recorded", first)


def _without(gap: tuple[int, int], removed: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of a range without some others, ascending."""
    begin, end = gap
    for first, last in removed:
        if begin < first <= end:
            yield begin, first - 1
        if first <= end:
            begin = max(begin, last + 1)
    if begin <= end:
        yield begin, end


def in_one_line(text: str) -> str:
    """The text with its line breaks folded."""
    return " ".join(text.splitlines())
