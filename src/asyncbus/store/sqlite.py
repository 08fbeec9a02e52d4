"""A log in a SQLite file, written by one process and read by any number."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal, TypeVar

from anyio import to_thread
from msgspec import Struct

from asyncbus.errors import (
    InvalidOptionError,
    SequenceExhaustedError,
    StoreCorruptError,
    StoreError,
    StoreFailedError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreTruncatedError,
)
from asyncbus.events import LAST_SEQUENCE, Record
from asyncbus.filters import EventFilter
from asyncbus.options import check_path
from asyncbus.patterns import Pattern
from asyncbus.store import lock, statements
from asyncbus.store.backup import Backups
from asyncbus.store.base import Appended, Bounds, Features, Page, number, set_apart
from asyncbus.store.checkpoints import Checkpointer
from asyncbus.store.connection import Connection
from asyncbus.store.failures import no_write_ahead_log, translated
from asyncbus.store.filesystems import check_filesystem
from asyncbus.store.gil import GilYielder
from asyncbus.store.migrations import check_place, prepare, reading_mode
from asyncbus.store.pages import PageReader
from asyncbus.store.watermark import Watermark

log = logging.getLogger("asyncbus")

T = TypeVar("T")

POLL: Final = 0.044
"""Seconds between looks of a read-only store for what another process wrote."""


class _Identity(Struct, frozen=True, gc=False):
    """A file: what the system calls it, whatever its path, and its bytes."""

    name: tuple[int, int]
    size: int


_NOWHERE: Final = _Identity((0, 0), 0)


class SQLiteStore:
    """A durable log in one SQLite file, readable with `sqlite3`, datasette and pandas while it is written.

    Beside the file stand SQLite's own `-wal` and `-shm`, `.lock`, and `-watermark`; they belong together while a
    process writes. Copy a log that is being written with `EventBus.backup`, not with `cp`.

    Args:
        path: the file; made when it does not exist, in a folder that must.
        synchronous: "full": an acknowledged event survives a power cut; "normal": it survives the process, a power cut
            may take the last ones. Under load both are equally fast.
        read_only: follow a log that another process may be writing. In a folder that may not be written, and where
            nobody writes when it is opened, it reads the file as it is and follows nobody.
        any_filesystem: open it even on a network file system, where a log can be damaged if two machines open it.

    Raises:
        InvalidOptionError: `synchronous` is neither.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["full", "normal"] = "full",
        read_only: bool = False,
        any_filesystem: bool = False,
    ) -> None:
        if synchronous not in ("full", "normal"):  # what is not hashable is refused as well
            raise InvalidOptionError("synchronous", '"full" or "normal"', synchronous)
        self._path = Path(check_path("path", path))
        self._synchronous = synchronous
        self._read_only = read_only
        self._any_filesystem = any_filesystem
        self._gil = GilYielder()
        self._resources = AsyncExitStack()
        self._failure: Exception | None = None
        self._is_writing = False
        self._rolled_back = 0
        self._head = 0
        self._floor = 0

    @property
    def features(self) -> Features:
        """Durable, dense, with one writer, and able to copy itself."""
        return Features(
            durable=True,
            exclusive=True,
            read_only=self._read_only,
            backup=True,
            batch_limit=statements.BATCH_LIMIT,
        )

    # ------------------------------------------------------------------------------------------- opening and closing

    async def open(self) -> Bounds:
        """Lock, create or migrate, and look for a lost tail.

        Raises:
            StoreLockedError, StoreNotFoundError, StoreIsDirectoryError, StoreReadOnlyError, NotAnEventStoreError,
            SchemaTooNewError, UnsupportedFilesystemError, StoreCorruptError, StoreTruncatedError, StoreFullError,
            StoreFailedError
        """
        async with AsyncExitStack() as resources:
            with translated(self._path):
                await self._on_a_thread(self._find_place)
                if not self._read_only:
                    await self._lock(resources)
                await self._on_a_thread(lambda: prepare(self._path, read_only=self._read_only))
            # Closed last to first: what only reads goes before the writer, whose closing folds the -wal file in. And
            # opened first, so that a log that is refused stays as it was.
            last_to_close = await resources.enter_async_context(AsyncExitStack())
            self._reader = await self._connect(resources)
            self._pages = PageReader(self._reader)
            self._queries = PageReader(await self._connect(resources))
            # What is read ahead goes first: it may hold an error, and that its connection.
            resources.callback(self._pages.forget)
            self._backups = Backups(self._path, self._reading_mode, self._gil)
            resources.push_async_callback(self._backups.stop)
            bounds = await self._look_at_the_end(resources)
            if not self._read_only:
                self._writer, self._checkpointer = await self._open_writer(last_to_close)
                self._rolled_back = 0
                self._file = _identity(self._path) or _NOWHERE
                self._lock_file = _identity(self._lock_path) or _NOWHERE
                self._lookups = PageReader(self._writer)
            self._resources = resources.pop_all()
        self._is_writing = not self._read_only
        return bounds

    async def _on_a_thread(self, act: Callable[[], T]) -> T:
        with self._gil:
            return await to_thread.run_sync(act)

    def _find_place(self) -> None:
        # One lock and one set of sidecars for a file, by whatever name it is opened.
        self._path = Path(os.path.realpath(self._path))
        check_place(self._path, read_only=self._read_only)
        if not self._any_filesystem:
            check_filesystem(self._path)
        self._reading_mode = reading_mode(self._path)

    async def _lock(self, resources: AsyncExitStack) -> None:
        try:
            held = await self._on_a_thread(lambda: lock.acquire(self._path))
            self._lock_path = Path(held.lock_file)
        except StoreLockedError:
            raise StoreLockedError(str(self._path), await self._holder()) from None
        resources.callback(held.release)

    async def _holder(self) -> int | None:
        """The process id of whoever writes the file, if the file can say so yet."""
        try:
            reader = await Connection.open(self._path, "ro", self._gil)
            try:
                pid: int | None = (await reader.row("SELECT writer_pid FROM log"))[0]
            finally:
                await reader.close()
        except StoreError:
            return None
        return pid if pid is not None and lock.is_alive(pid) else None

    async def _connect(self, resources: AsyncExitStack) -> Connection:
        connection = await Connection.open(self._path, self._reading_mode, self._gil)
        resources.push_async_callback(connection.close)
        return connection

    async def _look_at_the_end(self, resources: AsyncExitStack) -> Bounds:
        """What the log holds, if it is all there."""
        head, floor, log_id = await self._reader.row(statements.HEAD)
        if not (isinstance(head, int) and isinstance(floor, int) and isinstance(log_id, str)):
            raise StoreCorruptError(
                f"{self._path} is damaged: head {head!r:.40}, floor {floor!r:.40}, id {log_id!r:.40}; restore a backup"
            )
        self._watermark = Watermark(self._path, log_id)
        with translated(self._path):
            # Before the head: the other way round a writer at work might be taken for a lost tail.
            expected = self._watermark.read()
            self._head, self._floor, _ = await self._reader.row(statements.HEAD)
            if expected > self._head:
                raise StoreTruncatedError(str(self._path), expected, self._head, str(self._watermark.path))
            if not self._read_only:
                self._watermark.open()
                resources.callback(self._watermark.close)
        self._version: int | None = None
        self._failure = None
        try:
            last = await self._queries.query(EventFilter(newest_first=True, limit=1))
        except StoreCorruptError:
            return Bounds(self._floor, self._head)  # whoever reads that event is told
        return Bounds(self._floor, self._head, last[0].recorded_at if last else 0)

    async def _open_writer(self, resources: AsyncExitStack) -> tuple[Connection, Checkpointer]:
        writer = await Connection.open(self._path, "rw", self._gil)
        resources.push_async_callback(writer.close)
        if await writer.row("PRAGMA journal_mode = WAL") != ("wal",):
            raise no_write_ahead_log(self._path)
        await writer.rows(f"PRAGMA synchronous = {self._synchronous.upper()}")
        # SQLite's automatic checkpoint swallows I/O errors; ours are looked at.
        await writer.rows("PRAGMA wal_autocheckpoint = 0")
        await writer.rows("UPDATE log SET writer_pid = ?", (os.getpid(),))
        checkpointer = Checkpointer(writer, self._path)
        resources.push_async_callback(self._sign_off, writer, checkpointer)
        return writer, checkpointer

    async def _sign_off(self, writer: Connection, checkpointer: Checkpointer) -> None:
        """Whoever is refused from now on is not told of this process; what was not moved yet is moved."""
        try:
            await writer.rows("UPDATE log SET writer_pid = NULL")
            # As it closes SQLite would do it as well, but swallow I/O errors.
            await checkpointer.move()
        except StoreError as error:
            log.warning("the write-ahead log stays beside the database, for the next opening to recover: %s", error)

    async def close(self) -> None:
        """Move the write-ahead log into the database and release the file; it may be called twice."""
        self._is_writing = False
        await self._resources.aclose()

    # ------------------------------------------------------------------------------------------------------- writing

    async def append(self, records: Sequence[Record]) -> Appended:
        """Store a batch whole or not at all, in one hop to the SQLite thread if it is not larger than asked for."""
        self._check_writable()
        await self._roll_back_what_is_stale()
        if self._checkpointer.due:
            await self._checkpoint()
        ids = [record.id for record in records if record.id is not None]
        repeated: dict[int, Record] = {}
        if ids:
            records, repeated = set_apart(records, await self._lookups.by_ids(ids))
        first = self._head + 1
        if records:
            await self._store(records, first)
        duplicates = {index: record.sequence for index, record in repeated.items()}
        return Appended(first, duplicates, self._floor)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """After a failed fsync nobody knows what the disk holds, and asking it again would not tell."""
        try:
            yield
        except (StoreFailedError, StoreCorruptError) as error:
            self._failure = error
            raise

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreReadOnlyError(f"{self._path} was opened with read_only=True")
        if self._failure is not None:
            raise StoreFailedError(
                f"{self._path} failed before and cannot be trusted: close the bus and open it again"
            ) from self._failure
        self._check_in_place()

    def _check_in_place(self) -> None:
        """The file and the lock of writers must be those that were opened, and the file never becomes shorter."""
        found = _identity(self._path)
        if found is None or found.name != self._file.name or found.size < self._file.size:
            self._failure = StoreFailedError(
                f"{self._path} was removed, replaced or cut while it was open; what is written now would be in a file"
                " without a name, or without a beginning: close the bus, put the file back, and open it again"
            )
            raise self._failure
        self._file = found
        held = _identity(self._lock_path)
        if held is None or held.name != self._lock_file.name:
            self._failure = StoreFailedError(
                f"{self._lock_path} was removed while the log was open, so another process may be writing it: close the"
                " bus and open it again"
            )
            raise self._failure

    async def _roll_back_what_is_stale(self) -> None:
        """A transaction that is open before a batch belongs to something that failed: the batch must not commit it."""
        if await self._writer.roll_back():
            self._rolled_back += 1
            log.warning("%s: a transaction was still open before a batch, and was rolled back", self._path)

    async def _store(self, records: Sequence[Record], first: int) -> None:
        last = first + len(records) - 1
        if last > LAST_SEQUENCE:
            raise SequenceExhaustedError(f"{self._path} has used its last sequence; begin a new log")
        with self._failing():
            stored = await self._insert(records, first)
        if stored != last:
            self._failure = StoreFailedError(
                f"{self._path}: event {last} was stored as {stored}; another program writes into this file",
                outcome_unknown=True,
            )
            raise self._failure
        self._head = last
        number(records, first)
        self._checkpointer.count(records)
        if self._synchronous == "full":
            self._watermark.write(last)

    async def _insert(self, records: Sequence[Record], first: int) -> int:
        """Insert in one autocommitted statement, or several in one transaction; return the last sequence."""
        if len(records) <= statements.BATCH_LIMIT:
            return await self._writer.insert(*statements.insert(records, first))
        last = 0
        async with self._writer.transaction():
            for offset in range(0, len(records), statements.BATCH_LIMIT):
                part = records[offset : offset + statements.BATCH_LIMIT]
                last = await self._writer.insert(*statements.insert(part, first + offset))
        return last

    async def _checkpoint(self) -> None:
        """Move what no reader needs any more from the write-ahead log into the database."""
        with self._failing():
            is_whole = await self._checkpointer.move()
        # What is left in the write-ahead log was perhaps not synced: the watermark must not be ahead of it.
        if self._synchronous == "normal" and is_whole:
            self._watermark.write(self._head)

    async def clear(self) -> None:
        """Remove all events, and record that they were removed."""
        self._check_writable()
        await self._roll_back_what_is_stale()
        with self._failing():
            async with self._writer.transaction():
                await self._writer.rows(statements.RECORD_REMOVAL, (time.time_ns() // 1000,))
                await self._writer.rows(statements.REMOVE_ALL)
        self._floor = self._head
        self._pages.forget()

    # ------------------------------------------------------------------------------------------------------- reading

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        """Read the next matching events: all in order, or by the index on types where a pattern has few types."""
        return await self._pages.read(after, pattern, limit)

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        """Read page by page on a connection of its own, so that a long query keeps no reader waiting."""
        return await self._queries.query(wanted)

    async def latest_sequence(self) -> int:
        """The last sequence given; a read-only store asks the file."""
        if self._read_only:
            self._head, self._floor, _ = await self._reader.row(statements.HEAD)
        return self._head

    def statistics(self) -> Mapping[str, int]:
        """Of the write-ahead log its bytes on disk, how often it was moved, and stale transactions rolled back.

        Nothing, where it has not been opened for writing.
        """
        if not self._is_writing:
            return {}
        return {
            "wal_bytes": _size(self._path.with_name(f"{self._path.name}-wal")),
            "wal_checkpoints": self._checkpointer.done,
            "rolled_back": self._rolled_back,
        }

    async def changed(self) -> None:
        """Ask SQLite every 44 ms whether another connection has committed."""
        while True:
            version = await self._reader.data_version()
            if version != self._version:
                self._version = version
                return
            await asyncio.sleep(POLL)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy it page by page in a thread of its own; `EventBus.backup` says what of it is promised."""
        await self._backups.make(Path(check_path("path", path)))


def _identity(path: Path) -> _Identity | None:
    """Which file is there; None: there is none. The kernel need not ask the disk."""
    try:
        found = os.stat(path)  # noqa: PTH116  # once a batch, and a Path takes three times as long
    except OSError:
        return None
    return _Identity((found.st_dev, found.st_ino), found.st_size)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
