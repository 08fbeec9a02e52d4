"""What the tests of `SQLiteStore` do to its file from outside, with SQLite, and how they look at folders."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from asyncbus import EventStore, Pattern, Record, SQLiteStore, StoreCorruptError, StoreError, Verification, verify
from asyncbus.testing import record

_Error = TypeVar("_Error", bound=StoreError)

ALL = Pattern.parse("*")


def sql(path: Path, statement: str, *bound: Any) -> list[Any]:
    """Run one statement on a connection of its own, as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, bound).fetchall()


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder; of no use while a store is open there, for reading its file drops SQLite's locks."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def refused(path: Path, kind: type[_Error], **options: Any) -> _Error:
    """The error with which opening fails."""
    try:
        async with opened(path, **options):
            pass
    except kind as error:
        return error
    pytest.fail(f"expected {kind.__name__}, but {path} opened")


async def make_log(path: Path, events: int = 5, *, data: Any = "text") -> None:
    """A log with so many events, closed; event n has the id `id-n`."""
    async with opened(path) as store:
        await store.append([record("a.b", data, id=f"id-{number}") for number in range(1, events + 1)])


async def verified(path: Path) -> Verification:
    """What `verify` finds; it reads in the thread that calls it, which must not be the loop's."""
    return await asyncio.to_thread(verify, path)


def told(found: Verification) -> list[tuple[str, int | None]]:
    return [(finding.message, finding.sequence) for finding in found.findings]


def only(found: Verification) -> tuple[str, int | None]:
    """The one finding there is."""
    [(message, sequence)] = told(found)
    return message, sequence


def exchange(file: bytearray, *pages: int) -> None:
    one, other = (4096 * page for page in pages)
    file[one : one + 4096], file[other : other + 4096] = file[other : other + 4096], file[one : one + 4096]


async def read_all(store: EventStore, limit: int = 1000) -> tuple[list[Record], StoreCorruptError | None]:
    """Read page by page up to the head, or up to damage; what was read, and what stopped it."""
    found: list[Record] = []
    after = 0
    head = await store.latest_sequence()
    while after < head:
        try:
            page = await store.read(after, ALL, limit)
        except StoreCorruptError as error:
            return found, error
        found += page.records
        after = page.up_to
    return found, None


def sequences(records: Sequence[Record]) -> list[int]:
    return [record.sequence for record in records]


def write_schema(path: Path, what: str, where: str) -> None:
    """Change what SQLite has written down of its tables and indexes, in a process whose memory of it goes with it."""
    script = f"PRAGMA writable_schema = ON; UPDATE sqlite_schema SET {what} WHERE {where};"
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.close()"
    subprocess.run([sys.executable, "-c", program, str(path), script], check=True)
