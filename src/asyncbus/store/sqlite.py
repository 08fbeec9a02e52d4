"""A log in a SQLite file, written by one process and read by any number."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Literal, TypeVar

from anyio import to_thread

from asyncbus.errors import (
    InvalidOptionError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreTruncatedError,
)
from asyncbus.events import Record
from asyncbus.filters import EventFilter
from asyncbus.options import check_path
from asyncbus.patterns import Pattern
from asyncbus.store import lock, statements
from asyncbus.store.appender import Appender
from asyncbus.store.backup import Backups
from asyncbus.store.base import Appended, Bounds, Features, Page, TypeCount
from asyncbus.store.connection import Connection
from asyncbus.store.consumers import Change, ConsumerState, ParkedEvent, ParkedFilter
from asyncbus.store.failures import translated
from asyncbus.store.files import check_place, reading_mode
from asyncbus.store.filesystems import check_filesystem
from asyncbus.store.gil import GilYielder
from asyncbus.store.kept import KeptReader
from asyncbus.store.migrations import prepare
from asyncbus.store.pages import PageReader
from asyncbus.store.watermark import Watermark

T = TypeVar("T")

POLL: Final = 0.044
"""Seconds between looks of a read-only store for what another process wrote."""


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
        self._is_writing = False
        self._head = 0
        self._floor = 0

    @property
    def features(self) -> Features:
        """Durable, dense, with one writer, keeping consumers, and able to copy itself."""
        return Features(
            durable=True,
            exclusive=True,
            read_only=self._read_only,
            backup=True,
            consumers=True,
            keyed=True,
            causes=True,
            counted=True,
            batch_limit=statements.BATCH_LIMIT,
        )

    # ------------------------------------------------------------------------------------------- opening and closing

    async def open(self) -> Bounds:
        """Lock, create or migrate, and look for a lost tail.

        Raises:
            StoreLockedError, StoreNotFoundError, StoreIsDirectoryError, StoreReadOnlyError, NotAnEventStoreError,
            SchemaTooNewError, SchemaTooOldError, UnsupportedFilesystemError, StoreCorruptError, StoreTruncatedError,
            StoreFullError, StoreFailedError
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
            queries = await self._connect(resources)
            self._queries = PageReader(queries)
            self._kept = KeptReader(queries, self._path)
            # What is read ahead goes first: it may hold an error, and that its connection.
            resources.callback(self._pages.forget)
            self._backups = Backups(self._path, self._reading_mode, self._gil)
            resources.push_async_callback(self._backups.stop)
            bounds = await self._look_at_the_end(resources)
            if not self._read_only:
                await self._open_appender(last_to_close)
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
            self._lock_path = held.lock_file
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
        self._seen_version: int | None = None
        try:
            last = await self._queries.query(EventFilter(newest_first=True, limit=1))
        except StoreCorruptError:
            return Bounds(self._floor, self._head)  # whoever reads that event is told
        return Bounds(self._floor, self._head, last[0].recorded_at if last else 0)

    async def _open_appender(self, resources: AsyncExitStack) -> None:
        connection = await Connection.open(self._path, "rw", self._gil)
        resources.push_async_callback(connection.close)
        with translated(self._path):
            self._appender = Appender(
                connection,
                self._path,
                self._lock_path,
                synchronous=self._synchronous,
                watermark=self._watermark,
                head=self._head,
                floor=self._floor,
            )
        await self._appender.begin()
        resources.push_async_callback(self._appender.end)

    async def close(self) -> None:
        """Move the write-ahead log into the database and release the file; it may be called twice."""
        self._is_writing = False
        await self._resources.aclose()

    # ------------------------------------------------------------------------------------------------------- writing

    async def append(self, records: Sequence[Record]) -> Appended:
        """As `Appender.append`; refused where the store is read-only."""
        self._check_writable()
        return await self._appender.append(records)

    async def commit(self, records: Sequence[Record], changes: Sequence[Change]) -> Appended:
        """As `Appender.append`; refused where the store is read-only."""
        self._check_writable()
        return await self._appender.append(records, changes)

    async def clear(self) -> None:
        """As `Appender.clear`; refused where the store is read-only."""
        self._check_writable()
        await self._appender.clear()
        self._pages.forget()

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreReadOnlyError(f"{self._path} was opened with read_only=True")

    # ------------------------------------------------------------------------------------------------------- reading

    async def read(self, after: int, pattern: Pattern, limit: int) -> Page:
        """Read the next matching events: all in order, or by the index on types where a pattern has few types."""
        return await self._pages.read(after, pattern, limit)

    async def query(self, wanted: EventFilter) -> Sequence[Record]:
        """Read page by page on a connection of its own, so that a long query keeps no reader waiting."""
        return await self._queries.query(wanted)

    async def last_sequences(self, keys: Sequence[str]) -> Mapping[str, int]:
        """As `PageReader.last_sequences`, on the connection of pages: the writer waits for it."""
        return await self._pages.last_sequences(keys)

    async def ids(self, wanted: Sequence[str]) -> Mapping[str, int]:
        """As `PageReader.ids`, on the connection of pages: the writer waits for it."""
        return await self._pages.ids(wanted)

    async def count_types(self) -> Sequence[TypeCount]:
        """As `PageReader.count_types`, on the connection of queries."""
        return await self._queries.count_types()

    async def consumers(self) -> Sequence[ConsumerState]:
        """As `KeptReader.consumers`."""
        return await self._kept.consumers()

    async def dead_letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        """As `KeptReader.dead_letters`, on the connection of queries."""
        return await self._kept.dead_letters(wanted)

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """As `KeptReader.dead_letter_counts`."""
        return await self._kept.dead_letter_counts()

    async def latest_sequence(self) -> int:
        """The last sequence given; a read-only store asks the file."""
        if not self._read_only:
            return self._appender.head
        head: int = (await self._reader.row(statements.HEAD))[0]
        return head

    def statistics(self) -> Mapping[str, int]:
        """Of the write-ahead log its bytes on disk, how often it was moved, and stale transactions rolled back.

        Nothing, where it has not been opened for writing.
        """
        if not self._is_writing:
            return {}
        return self._appender.statistics()

    async def changed(self) -> None:
        """Wait until another connection has committed; it looks every `POLL` seconds."""
        while True:
            version = await self._reader.data_version()
            if version != self._seen_version:
                self._seen_version = version
                return
            await asyncio.sleep(POLL)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy it page by page in a thread of its own; `EventBus.backup` says what of it is promised."""
        await self._backups.make(Path(check_path("path", path)))
