"""Appends batches to the file of a log, and stops for good where nobody can say any more what the disk holds."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from asyncbus.errors import SequenceExhaustedError, StoreCorruptError, StoreError, StoreFailedError
from asyncbus.events import LAST_SEQUENCE, Record
from asyncbus.store import keeping, statements
from asyncbus.store.base import Appended, number, set_apart
from asyncbus.store.checkpoints import Checkpointer
from asyncbus.store.connection import Connection
from asyncbus.store.consumers import Change, fenced
from asyncbus.store.failures import no_write_ahead_log, translated
from asyncbus.store.pages import PageReader
from asyncbus.store.statements import Statement
from asyncbus.store.watched import WatchedFile
from asyncbus.store.watermark import Watermark

log = logging.getLogger("asyncbus")

_LARGE: Final = 64
"""From so many events on the GIL is given up as a batch is handed over: beside a busy loop a tenth more is stored."""


class Appender:
    """The one who writes a log: its connection, the sequences it gives, and the first failure, after which it refuses.

    Args:
        connection: to the log's file, for writing; `begin` sets it up, and whoever opened it closes it.
        path: of the file.
        lock_path: of the lock of writers beside it.
        synchronous: "full" or "normal".
        watermark: moved after each commit that is durable.
        head: the last sequence given.
        floor: the last sequence removed.
    """

    def __init__(
        self,
        connection: Connection,
        path: Path,
        lock_path: str,
        *,
        synchronous: str,
        watermark: Watermark,
        head: int,
        floor: int,
    ) -> None:
        self.connection = connection
        self.head = head
        self.floor = floor
        self._path = path
        self._file = WatchedFile(path)
        self._lock_file = WatchedFile(lock_path)
        self._wal_path = path.with_name(f"{path.name}-wal")
        self._synchronous = synchronous
        self._watermark = watermark
        self._checkpointer = Checkpointer(connection, path)
        self._lookups = PageReader(connection)
        self._rolled_back = 0
        self._failure: Exception | None = None
        # By name, of all consumers; None: not read yet.
        self._epochs: Mapping[str, int] | None = None

    async def begin(self) -> None:
        """Set the connection up and sign the log, so that whoever is refused can be told who writes it."""
        if await self.connection.row("PRAGMA journal_mode = WAL") != ("wal",):
            raise no_write_ahead_log(self._path)
        await self.connection.rows(f"PRAGMA synchronous = {self._synchronous.upper()}")
        # SQLite's automatic checkpoint swallows I/O errors; ours are looked at.
        await self.connection.rows("PRAGMA wal_autocheckpoint = 0")
        await self.connection.rows("UPDATE log SET writer_pid = ?", (os.getpid(),))
        with translated(self._path):
            self._wal = WatchedFile(self._wal_path)

    async def end(self) -> None:
        """Whoever is refused from now on is not told of this process; what was not moved yet is moved."""
        try:
            await self.connection.rows("UPDATE log SET writer_pid = NULL")
            # As it closes SQLite would do it as well, but swallow I/O errors.
            await self._checkpointer.move()
        except StoreError as error:
            log.warning("the write-ahead log stays beside the database, for the next opening to recover: %s", error)

    async def append(self, records: Sequence[Record], changes: Sequence[Change] = ()) -> Appended:
        """Store a batch and changes, all of it or nothing; without ids it is one hop to the SQLite thread."""
        await self._be_ready()
        if self._checkpointer.due:
            await self._checkpoint()
        ids = [record.id for record in records if record.id is not None]
        repeated: dict[int, Record] = {}
        if ids:
            records, repeated = set_apart(records, await self._lookups.by_ids(ids))
        first = self.head + 1
        stale: frozenset[str] = frozenset()
        if changes:
            changes, stale, epochs = fenced(changes, await self._known_epochs())
            await self._store(records, first, keeping.changing(changes))
            self._epochs = epochs
        elif records:
            await self._store(records, first)
        duplicates = {index: record.sequence for index, record in repeated.items()}
        return Appended(first, duplicates, self.floor, stale)

    async def _known_epochs(self) -> Mapping[str, int]:
        """The epochs of all consumers: read once, for nobody else writes them."""
        if self._epochs is None:
            [text] = await self.connection.row(keeping.EPOCHS)
            self._epochs = msgspec.json.decode(text, type=dict[str, int])
        return self._epochs

    async def clear(self) -> None:
        """Remove all events, and record that they were removed."""
        await self._be_ready()
        with self._failing():
            async with self.connection.transaction():
                await self.connection.rows(statements.RECORD_REMOVAL, (time.time_ns() // 1000,))
                await self.connection.rows(statements.REMOVE_ALL)
        self._checkpointer.count_removal(self.head - self.floor)
        self.floor = self.head

    def statistics(self) -> Mapping[str, int]:
        """Of the write-ahead log its bytes on disk, how often it was moved, and stale transactions rolled back."""
        return {
            "wal_bytes": _size(self._wal_path),
            "wal_checkpoints": self._checkpointer.done,
            "rolled_back": self._rolled_back,
        }

    # ------------------------------------------------------------------------------------------- may it be trusted?

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """After a failed fsync nobody knows what the disk holds, and asking it again would not tell."""
        try:
            yield
        except (StoreFailedError, StoreCorruptError) as error:
            self._failure = error
            raise

    async def _be_ready(self) -> None:
        """Before a change of the file: refuse where it cannot be trusted, and end what something that failed began."""
        self._check()
        if self.connection.in_transaction:
            await self._roll_back()

    def _check(self) -> None:
        """The files and the lock of writers must be those that were opened, and no file becomes shorter."""
        if self._failure is not None:
            raise StoreFailedError(
                f"{self._path} failed before and cannot be trusted: close the bus and open it again"
            ) from self._failure
        if not self._file.is_intact():
            self._failure = StoreFailedError(
                f"{self._path} was removed, replaced or cut while it was open; what is written now would be in a file"
                " without a name, or without a beginning: close the bus, put the file back, and open it again"
            )
        elif not self._wal.is_intact():
            self._failure = StoreFailedError(
                f"{self._wal_path} was removed, replaced or cut while the log was open, so others do not find"
                " what was stored last: close the bus, which saves what is left, and open it again"
            )
        elif not self._lock_file.is_intact():
            self._failure = StoreFailedError(
                f"{self._lock_file.path} was removed while the log was open, so another process may be writing it:"
                " close the bus and open it again"
            )
        if self._failure is not None:
            raise self._failure

    async def _roll_back(self) -> None:
        """A transaction that is open before a batch belongs to something that failed: the batch must not commit it."""
        await self.connection.roll_back()
        self._rolled_back += 1
        log.warning("%s: a transaction was still open before a batch, and was rolled back", self._path)

    # ------------------------------------------------------------------------------------------------------- storing

    async def _store(self, records: Sequence[Record], first: int, changes: Sequence[Statement] = ()) -> None:
        last = first + len(records) - 1
        if last > LAST_SEQUENCE:
            raise SequenceExhaustedError(f"{self._path} has used its last sequence; begin a new log")
        inserts = statements.inserts(records, first)
        with self._failing():
            given = await self._run([*inserts, *changes], is_large=len(records) >= _LARGE)
        if inserts and given[len(inserts) - 1] != last:
            self._failure = StoreFailedError(
                f"{self._path}: event {last} was stored as {given[len(inserts) - 1]}; another program writes into this"
                " file",
                outcome_unknown=True,
            )
            raise self._failure
        self.head = last
        number(records, first)
        self._checkpointer.count(records, changes)
        if inserts and self._synchronous == "full":
            self._watermark.write(last)

    async def _run(self, changes: Sequence[Statement], *, is_large: bool) -> list[int]:
        """Run one statement, autocommitted, or several in one transaction; return the last rowid after each."""
        match changes:
            case []:
                return []
            case [(sql, bound)]:
                inserting = self.connection.insert(sql, bound)
                return [await (self.connection.begin(inserting) if is_large else inserting)]
        transaction = self.connection.transact(changes)
        return await (self.connection.begin(transaction) if is_large else transaction)

    async def _checkpoint(self) -> None:
        """Move what no reader needs any more from the write-ahead log into the database."""
        with self._failing():
            is_whole = await self._checkpointer.move()
        # What is left in the write-ahead log was perhaps not synced: the watermark must not be ahead of it.
        if is_whole and self._synchronous == "normal":
            self._watermark.write(self.head)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
