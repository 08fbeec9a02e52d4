"""What SQLite's errors mean to a user of the log."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from asyncbus.errors import (
    NotAnEventStoreError,
    StoreCorruptError,
    StoreError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StoreNotFoundError,
    StoreReadOnlyError,
)

_PRIMARY: Final = 0xFF
"""The lower byte of an extended result code is the primary one."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's and the operating system's errors as errors of the store."""
    try:
        yield
    except sqlite3.Error as error:
        raise meaning(path, error) from error
    except StoreError:
        raise
    except OSError as error:
        raise _meaning_of_os_error(path, error) from error


def _meaning_of_os_error(path: Path, error: OSError) -> StoreError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return StoreFullError(f"{path}: no space is left: {error}")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StoreReadOnlyError(f"{path} cannot be reached or written: {error}; mend its permissions")
        case errno.ENOENT | errno.ENOTDIR:
            return StoreNotFoundError(f"{path}: {error}")
    return StoreFailedError(f"{path}: {error}")


def without_frames(error: sqlite3.Error) -> sqlite3.Error:
    """The error without what it holds.

    The frames of the SQLite thread hold the cursor, and it the snapshot that it reads: the connection would see nothing
    new, and could not be closed, for as long as somebody keeps the error.
    """
    error.__context__ = None
    return error.with_traceback(None)


def no_write_ahead_log(path: Path) -> StoreFailedError:
    """The error of a file system without the shared memory or the locks that it needs."""
    return StoreFailedError(f"{path}: this file system cannot hold a write-ahead log; put the log on a local disk")


def is_too_big(error: StoreError) -> bool:
    """Whether what was asked for is too large to be read at once, so that less of it may not be."""
    return getattr(error.__cause__, "sqlite_errorcode", 0) == sqlite3.SQLITE_TOOBIG


def meaning(path: Path, error: sqlite3.Error) -> StoreError:  # noqa: PLR0911  # a table, a line each
    """The error of the store that says what happened and what to do."""
    code = getattr(error, "sqlite_errorcode", 0)
    match code & _PRIMARY:
        case sqlite3.SQLITE_FULL:
            return StoreFullError(f"{path}: no space is left; nothing was stored, and it goes on when there is space")
        case sqlite3.SQLITE_IOERR if code in {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}:
            return StoreFullError(f"{path}: the system refused to write; is a quota or a file size limit reached?")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreLockedError(str(path), None)
        case sqlite3.SQLITE_TOOBIG:
            return StoreFailedError(f"{path}: more than can be read at once: {error}")
        case sqlite3.SQLITE_READONLY:
            return StoreReadOnlyError(f"{path} cannot be written: {error}")
        case sqlite3.SQLITE_CORRUPT:
            return StoreCorruptError(f"{path} is damaged: {error}; restore a backup")
        case sqlite3.SQLITE_NOTADB:
            return NotAnEventStoreError(f"{path} is not a SQLite database; choose another file")
        case sqlite3.SQLITE_CANTOPEN:
            # Whether it is there was looked at before: this is a failing disk, or too many open files.
            return StoreFailedError(
                f"{path} cannot be opened: {error}; does the disk fail, or are too many files open (ulimit -n)?",
                outcome_unknown=True,
            )
    if "decode to UTF-8" in str(error) or "JSON cannot hold BLOB" in str(error):
        return StoreCorruptError(f"{path} is damaged: {error}; restore a backup")
    return StoreFailedError(f"{path}: {error}; close the bus and open it again", outcome_unknown=True)
