"""The limits: what SQLite does without a bus, in the best loops that a competent user of `sqlite3` would write."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import aiosqlite
import msgspec
from msgspec import Struct

from benchmarks.workload import TEXTS, TYPE

Synchronous = Literal["full", "normal"]

ROWS_A_COMMIT = 4096
_TIME = 1_732_348_800_000_000  # microseconds
_CHECKSUM = 3_141_592_653


class Table(Struct, frozen=True):
    """A table to insert into: its schema, the columns that are given, and rows of values for them."""

    schema: str
    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]

    @property
    def insert(self) -> str:
        """The statement that inserts one row."""
        return f"INSERT INTO events ({', '.join(self.columns)}) VALUES ({', '.join('?' * len(self.columns))})"


def reference(texts: Sequence[str]) -> Table:
    """The schema that all raw limits insert into, with rows of these data."""
    return Table(
        schema="""
            CREATE TABLE events(sequence integer primary key autoincrement, recorded_at integer not null,
                time integer not null, type text not null, data text not null, checksum integer not null);
            CREATE INDEX events_by_type ON events(type);
        """,
        columns=("recorded_at", "time", "type", "data", "checksum"),
        rows=[(_TIME, _TIME, TYPE, text, _CHECKSUM) for text in texts],
    )


REFERENCE = reference(TEXTS)

BARE = Table(
    schema="CREATE TABLE events(sequence integer primary key, data text not null);",
    columns=("data",),
    rows=[(text,) for text in TEXTS],
)
"""Two columns and no index: as little as a log can be."""


def shipped(path: Path) -> Table:
    """The schema of a log that asyncbus made, with the values of its first event, to be repeated.

    Of the columns only those are given that the event has a value for, as in the reference; sequences follow by
    themselves.
    """
    with closing(sqlite3.connect(path)) as database:
        schema = ";\n".join(
            sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'") if sql
        )
        cursor = database.execute("SELECT * FROM events ORDER BY sequence LIMIT 1")
        row = cursor.fetchone()
        present = {
            column[0]: value
            for column, value in zip(cursor.description, row, strict=True)
            if value is not None and column[0] != "sequence"
        }
    return Table(schema=f"{schema};", columns=list(present), rows=[tuple(present.values())])


@contextmanager
def database(path: Path, synchronous: Synchronous = "full") -> Iterator[sqlite3.Connection]:
    """A connection without implicit transactions, in WAL mode as ours, closed at the end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        yield connection


@asynccontextmanager
async def autocommitting(path: Path, table: Table, synchronous: Synchronous) -> AsyncIterator[aiosqlite.Connection]:
    """The same through aiosqlite, in autocommit, with the table made."""
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute(f"PRAGMA synchronous = {synchronous}")
        await connection.executescript(table.schema)
        yield connection


def insert_rate(
    path: Path, table: Table, count: int, synchronous: Synchronous = "full", *, rows_a_commit: int = ROWS_A_COMMIT
) -> float:
    """Rows a second of `executemany`, `rows_a_commit` rows a commit, ready as tuples before the clock starts."""
    batch = list(islice(cycle(table.rows), rows_a_commit))
    commits = max(1, round(count / rows_a_commit))
    with database(path, synchronous) as connection:
        connection.executescript(table.schema)
        start = perf_counter()
        for _ in range(commits):
            connection.execute("BEGIN")
            connection.executemany(table.insert, batch)
            connection.execute("COMMIT")
        seconds = perf_counter() - start
    return commits * rows_a_commit / seconds


def read_rate(path: Path, *, decode: bool, page: int | None = None) -> float:
    """Rows a second of `fetchall` of every column, in the order of the log.

    Args:
        path: a log that asyncbus made.
        decode: each row's data is decoded and a field of it read.
        page: rows for each `fetchall`; None: all at once.
    """
    with closing(sqlite3.connect(path)) as connection:
        head = connection.execute("SELECT max(sequence) FROM events").fetchone()[0]
        select = "SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
        data = [column[0] for column in connection.execute(select, (0, 0)).description].index("data")
        decoder = msgspec.json.Decoder().decode
        count = last = 0
        start = perf_counter()
        while last < head:
            rows = connection.execute(select, (last, page or -1)).fetchall()
            if decode:
                for row in rows:
                    decoder(row[data])["execution_time_ms"]
            count += len(rows)
            last = rows[-1][0]
        return count / (perf_counter() - start)
