"""Copies a log while it is written: SQLite's own backup, of one snapshot, put in its place when it is whole."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from anyio import to_thread

from asyncbus.errors import InvalidOptionError, StoreCorruptError, StoreFailedError
from asyncbus.store.connection import BUSY_TIMEOUT
from asyncbus.store.failures import meaning, translated
from asyncbus.store.files import check_nothing_is_left, check_place, sync_folder, uri
from asyncbus.store.gil import GilYielder

_STEP: Final = 1024
"""Pages copied at a time, 4 MB: after each one looks whether to go on, and needs the GIL for it."""

_NO_LINKS: Final = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What systems say of a file that cannot have two names; FAT is such a file system."""


class Backups:
    """The copies of one log that are being made; each has a thread, and stops when its caller or the log does.

    Args:
        path: the log.
        mode: its `reading_mode`.
        gil: yields the GIL to them.
    """

    def __init__(self, path: Path, mode: str, gil: GilYielder) -> None:
        self._path = path
        self._mode = mode
        self._gil = gil
        self._copying: dict[asyncio.Task[bool], threading.Event] = {}

    async def make(self, destination: Path) -> None:
        """Copy what is committed by now; cancelled, leave nothing behind.

        Raises:
            StoreFailedError: the log was closed before the copy was whole.
            And what `copy` raises.
        """
        stopped = threading.Event()
        copying = asyncio.create_task(self._copy(destination, stopped), name="asyncbus backup")
        self._copying[copying] = stopped
        copying.add_done_callback(self._ended)
        try:
            is_whole = await asyncio.shield(copying)
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.wait([copying])
            raise
        if not is_whole:
            raise StoreFailedError(
                f"{self._path} was closed before the copy was whole: nothing is left of it, make it anew"
            )

    async def _copy(self, destination: Path, stopped: threading.Event) -> bool:
        with self._gil:
            try:
                return await to_thread.run_sync(copy, self._path, self._mode, destination, stopped.is_set)
            finally:
                stopped.set()  # a thread cannot be cancelled

    def _ended(self, copying: asyncio.Task[bool]) -> None:
        del self._copying[copying]
        if not copying.cancelled():
            copying.exception()  # nobody's, where the caller was cancelled

    async def stop(self) -> None:
        """End those that are being made."""
        for stopped in self._copying.values():
            stopped.set()
        if self._copying:
            await asyncio.wait(self._copying)


class _StoppedError(Exception):
    """Nobody wants the copy any more."""


def copy(source: Path, mode: str, destination: Path, is_stopped: Callable[[], bool]) -> bool:
    """Copy a log, as it is when this begins, to a file that is not there yet.

    Returns:
        Whether it was copied; where it was stopped before, nothing is left.

    Raises:
        InvalidOptionError: there is a file already.
        StoreNotFoundError, StoreReadOnlyError, StoreFullError, StoreFailedError, StoreCorruptError
    """
    # Beside its place until it is whole: whatever kills us here, the copy is there whole or not at all. Its name is not
    # made from the other one, which may be as long as a name can be.
    draft = destination.with_name(f"asyncbus-{uuid.uuid4().hex}.partial")
    with translated(destination):
        _check_is_free(destination)
        try:
            _copy_pages(source, mode, draft, is_stopped)
            _sync(draft)
            if is_stopped():
                return False
            _check_is_free(destination)
            _name(draft, destination)
            sync_folder(destination.parent)
        except _StoppedError:
            return False
        finally:
            for suffix in ("", "-journal", "-wal", "-shm"):
                draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    return True


def _check_is_free(destination: Path) -> None:
    if os.path.lexists(destination):
        raise _is_taken(destination)
    check_place(destination, read_only=False)
    check_nothing_is_left(destination)


def _is_taken(destination: Path) -> InvalidOptionError:
    return InvalidOptionError("path", "a file that does not exist yet; name another, or remove it", str(destination))


def _name(draft: Path, destination: Path) -> None:
    """Give a draft its name; where a file can have two, what somebody else put there meanwhile is not replaced."""
    try:
        destination.hardlink_to(draft)  # which fails where there is something; a rename would replace it
    except FileExistsError:
        raise _is_taken(destination) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Here it would be: a moment ago the place was free, and of such a file system no more can be had.
        draft.rename(destination)
    else:
        draft.unlink()


def _copy_pages(source: Path, mode: str, draft: Path, is_stopped: Callable[[], bool]) -> None:
    def stop_if_asked(*_: int) -> None:
        if is_stopped():
            raise _StoppedError

    try:
        with (
            closing(sqlite3.connect(uri(source, mode), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)) as log,
            closing(sqlite3.connect(uri(draft, "rwc"), uri=True, isolation_level=None)) as copied,
        ):
            # It is synced once, when it is whole.
            copied.execute("PRAGMA synchronous = OFF")
            # One snapshot for all steps: without it, SQLite begins again after each commit of the writer's.
            log.execute("BEGIN")
            log.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            log.backup(copied, pages=_STEP, progress=stop_if_asked)
    except sqlite3.Error as error:
        if isinstance(meaning(draft, error), StoreCorruptError):
            raise meaning(source, error) from error
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
