"""Where a log lies: which places are refused, how SQLite is told of one, and how a new name there survives."""

from __future__ import annotations

import os
from pathlib import Path

from asyncbus.errors import (
    NotAnEventStoreError,
    StoreCorruptError,
    StoreFailedError,
    StoreIsDirectoryError,
    StoreNotFoundError,
    StoreReadOnlyError,
)


def check_place(path: Path, *, read_only: bool) -> None:
    """Refuse a path where no log can be, before anything is made there.

    Raises:
        StoreNotFoundError, StoreIsDirectoryError, StoreReadOnlyError, NotAnEventStoreError, StoreFailedError
    """
    if path.is_dir():
        raise StoreIsDirectoryError(f"{path} is a directory; name a file in it")
    if path.exists() and not path.is_file():  # to open a named pipe would wait for its other end
        raise NotAnEventStoreError(f"{path} is no regular file; choose another file")
    if not read_only and path.exists() and path.stat().st_nlink > 1:
        raise StoreFailedError(
            f"{path} has another name (a hard link), under which a second process could write it unnoticed; remove that"
            " name, or give this process a copy"
        )
    if not path.parent.is_dir():
        raise StoreNotFoundError(f"the folder {path.parent} does not exist; make it first")
    if read_only:
        if not path.exists():
            raise StoreNotFoundError(f"{path} does not exist, and read_only=True does not create it")
    elif not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise StoreReadOnlyError(f"{path} cannot be written; mend its permissions, or open a log with read_only=True")


def check_nothing_is_left(path: Path) -> None:
    """SQLite would take the write-ahead log of a database that is gone for the new one's, unless it is empty."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size:
        raise StoreCorruptError(f"{wal} is there without {path}; put the file back, or remove what is left of it")


def reading_mode(path: Path) -> str:
    """How SQLite is to open a log for reading; for `uri`.

    Beside a log that is being written it needs its -shm file. Where that is not there and cannot be made, nobody here
    can be writing, and it reads the file as one that does not change.
    """
    folder_is_closed = not os.access(path.parent, os.W_OK)
    return "ro&immutable=1" if folder_is_closed and not path.with_name(f"{path.name}-wal").exists() else "ro"


def uri(path: Path, mode: str) -> str:
    """The URI of a database file for SQLite; `mode` is "rw", "rwc", or a `reading_mode`."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
