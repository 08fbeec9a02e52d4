"""Creates and migrates the SQLite file, and refuses files that are not ours. It blocks: callers bring a thread."""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from asyncbus.errors import (
    NotAnEventStoreError,
    SchemaTooNewError,
    SchemaTooOldError,
    StoreCorruptError,
)
from asyncbus.store.failures import no_write_ahead_log, translated
from asyncbus.store.files import check_nothing_is_left, check_place, reading_mode, sync_folder, uri

APPLICATION_ID: Final = 0x61736275
"""`asbu`: what `PRAGMA application_id` and the command `file` tell of our files."""

_HEADER: Final = re.compile(r"^-- migration (\d+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"--.*")


def migrations() -> list[tuple[int, str]]:
    """The numbered migrations of `sqlite.sql`, ascending from 1."""
    parts = _HEADER.split(Path(__file__).with_name("sqlite.sql").read_text("utf-8"))
    return [(int(number), sql) for number, sql in zip(parts[1::2], parts[2::2], strict=True)]


def schema(version: int) -> dict[str, str]:
    """The SQL of each table and index that a log of this version has, by name, as `schema_of` gives it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for number, sql in migrations():
            if number <= version:
                connection.executescript(sql)
        return schema_of(connection)


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """The SQL of each table and index of a database, by name; without comments, which may differ between releases."""
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    # Where damage has made something else of the text, it is told as Python shows it.
    return {name: " ".join(_COMMENT.sub("", str(sql)).split()) for name, sql in found}


def prepare(path: Path, *, read_only: bool) -> None:
    """See that `path` is a log of this version: create it, migrate it, or refuse it untouched.

    The caller holds the lock of writers, unless `read_only`.

    Raises:
        StoreNotFoundError, StoreIsDirectoryError, StoreReadOnlyError, NotAnEventStoreError, SchemaTooNewError,
        SchemaTooOldError, StoreCorruptError, StoreFullError, StoreFailedError
    """
    check_place(path, read_only=read_only)
    if not path.exists():
        check_nothing_is_left(path)
        _create(path)
    elif not read_only:
        # Whoever made it may have been killed before its name was synced; what is stored now is to have a name.
        sync_folder(path.parent)
    found = _version(path)
    latest = migrations()[-1][0]
    if found > latest:
        raise SchemaTooNewError(str(path), found, latest)
    if found < latest:
        if read_only:
            raise SchemaTooOldError(str(path), found, latest)
        with closing(_connect(path, "rw")) as connection, translated(path):
            _migrate(connection, found)
            _checkpoint(connection)


def _create(path: Path) -> None:
    # Built beside its place and then renamed: whatever kills us here, the file is there whole or not at all.
    draft = path.with_name(f"{path.name}.asyncbus-new")
    for suffix in ("", "-wal", "-shm"):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)
    with translated(path):
        with closing(_connect(draft, "rwc")) as connection:
            connection.execute("PRAGMA page_size = 4096")
            connection.execute("PRAGMA auto_vacuum = NONE")
            if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise no_write_ahead_log(path)
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection, 0)
            connection.execute("INSERT INTO log (log_id) VALUES (?)", (uuid.uuid4().hex,))
            _checkpoint(connection)  # only the draft itself is renamed, not its -wal file
        draft.rename(path)
        sync_folder(path.parent)


def _version(path: Path) -> int:
    # Read-only, so that a file that is not ours stays as it is.
    try:
        with closing(_connect(path, reading_mode(path))) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot parse, and Python cannot decode the quotation
        raise StoreCorruptError(f"{path} is damaged: its schema cannot be read: {error}; restore a backup") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise NotAnEventStoreError(f"{path} is not a SQLite database; choose another file") from error
        with translated(path):
            raise
    if application != APPLICATION_ID:
        what = "a SQLite database of another program" if tables or application else "an empty file"
        raise NotAnEventStoreError(f"{path} is {what}, not an asyncbus log; choose another file")
    if not tables:
        raise StoreCorruptError(f"{path} has lost its tables")
    if version < 1:
        raise StoreCorruptError(f"{path} has schema version {version}, which no log has; restore a backup")
    return version


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number, sql in migrations():
            if number > version:
                for statement in _statements(sql):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number:d}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the database; SQLite does so as it closes, but swallows what goes wrong."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _statements(sql: str) -> Iterator[str]:
    """Part a script into statements; `executescript` would commit the transaction they belong to."""
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(uri(path, mode), uri=True, isolation_level=None)
