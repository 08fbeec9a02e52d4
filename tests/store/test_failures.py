"""Each error of SQLite or the system becomes the error of the store that says what happened and what to do."""

import errno
import sqlite3
from pathlib import Path

import pytest

from asyncbus import (
    NotAnEventStoreError,
    StoreCorruptError,
    StoreError,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StoreNotFoundError,
    StoreReadOnlyError,
)
from asyncbus.store.failures import translated

PATH = Path("/logs/events.db")

MEANINGS: list[tuple[int, type[StoreError]]] = [
    (sqlite3.SQLITE_FULL, StoreFullError),
    (sqlite3.SQLITE_IOERR_WRITE, StoreFullError),
    (sqlite3.SQLITE_BUSY, StoreLockedError),
    (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreLockedError),
    (sqlite3.SQLITE_LOCKED, StoreLockedError),
    (sqlite3.SQLITE_READONLY, StoreReadOnlyError),
    (sqlite3.SQLITE_READONLY_DIRECTORY, StoreReadOnlyError),
    (sqlite3.SQLITE_CORRUPT, StoreCorruptError),
    (sqlite3.SQLITE_CORRUPT_INDEX, StoreCorruptError),
    (sqlite3.SQLITE_NOTADB, NotAnEventStoreError),
    (sqlite3.SQLITE_CANTOPEN, StoreFailedError),
    (sqlite3.SQLITE_IOERR_FSYNC, StoreFailedError),
    (sqlite3.SQLITE_IOERR_READ, StoreFailedError),
    (sqlite3.SQLITE_ERROR, StoreFailedError),
]


@pytest.mark.parametrize(("code", "kind"), MEANINGS, ids=[f"{code}" for code, _ in MEANINGS])
def test_an_error_of_sqlite_becomes_the_stores_and_stays_its_cause(code: int, kind: type[StoreError]) -> None:
    cause = sqlite3.OperationalError("what SQLite said")
    cause.sqlite_errorcode = code

    with pytest.raises(StoreError) as caught, translated(PATH):
        raise cause

    assert type(caught.value) is kind
    assert caught.value.__cause__ is cause
    assert str(PATH) in str(caught.value)


def test_only_of_an_unexpected_error_the_outcome_is_unknown() -> None:
    for code, kind in MEANINGS:
        cause = sqlite3.OperationalError("what SQLite said")
        cause.sqlite_errorcode = code
        with pytest.raises(StoreError) as caught, translated(PATH):
            raise cause
        assert getattr(caught.value, "outcome_unknown", False) is (kind is StoreFailedError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EACCES, StoreReadOnlyError),
        (errno.EROFS, StoreReadOnlyError),
        (errno.ENOENT, StoreNotFoundError),
        (errno.EIO, StoreFailedError),
        (errno.ENAMETOOLONG, StoreFailedError),
    ],
)
def test_an_error_of_the_system_becomes_the_stores(code: int, kind: type[StoreError]) -> None:
    cause = OSError(code, "what the system said")

    with pytest.raises(StoreError, match="what the system said") as caught, translated(PATH):
        raise cause

    assert type(caught.value) is kind
    assert caught.value.__cause__ is cause


def test_the_stores_own_errors_pass_unchanged() -> None:
    error = StoreNotFoundError("as it was")

    with pytest.raises(StoreNotFoundError) as caught, translated(PATH):
        raise error

    assert caught.value is error
