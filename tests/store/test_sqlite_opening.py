"""What cannot be opened as a log is refused with its own error, which says what to do, and left as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from asyncbus import (
    NotAnEventStoreError,
    SchemaTooNewError,
    SQLiteStore,
    StoreCorruptError,
    StoreError,
    StoreIsDirectoryError,
    StoreNotFoundError,
)
from asyncbus.errors import InvalidOptionError
from asyncbus.store.migrations import migrations
from asyncbus.testing import record
from tests.store.files import contents, make_log, opened, read_all, refused, sql

LATEST = migrations()[-1][0]

BOTH = pytest.mark.parametrize("read_only", [False, True], ids=["to write", "read-only"])

# SQLite makes the -shm file anew whenever it likes; the lock file is ours, and is made before the log is looked at.
PASSING = ("-shm", ".lock")


async def refusal(path: Path, *, read_only: bool = False) -> StoreError:
    """The error with which opening fails; no byte of what was there is changed, and no file is left."""
    before = contents(path.parent) if path.parent.is_dir() else {}
    error = await refused(path, StoreError, read_only=read_only)
    after = contents(path.parent) if path.parent.is_dir() else {}
    assert _lasting(after) == _lasting(before), "no file was changed, made or removed"
    assert str(path) in str(error) or str(path.parent) in str(error)
    return error


def _lasting(files: dict[str, bytes]) -> dict[str, bytes]:
    # An empty -wal file holds nothing: SQLite makes one for whoever looks into a database.
    return {name: text for name, text in files.items() if not name.endswith(PASSING) and (text or "-wal" not in name)}


# --- somebody else's file --------------------------------------------------------------------------------------------

FOREIGN = {
    "an empty file": b"",
    "a short text": b"hi",
    "a text": b"Dear diary,\n" * 1000,
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
    "the first bytes of a database": b"SQLite format 3\0",
    "a header, then rubbish": b"SQLite format 3\0" + bytes(range(256)) * 64,
}


@BOTH
@pytest.mark.fault(47)
@pytest.mark.asyncio
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes, read_only: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    error = await refusal(path, read_only=read_only)

    assert type(error) is NotAnEventStoreError
    assert "choose another file" in str(error)


def foreign_database(path: Path, *, mode: str = "delete") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    # As in our files, so that the name of a table is not enough.
    connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT)")
    connection.execute("INSERT INTO events (data) VALUES ('theirs')")
    return connection


@BOTH
@pytest.mark.fault(47)
@pytest.mark.asyncio
@pytest.mark.parametrize("application_id", [0, 1234])
async def test_a_database_of_another_program_is_refused(tmp_path: Path, application_id: int, read_only: bool) -> None:
    path = tmp_path / "theirs.db"
    with closing(foreign_database(path)) as theirs:
        theirs.execute(f"PRAGMA application_id = {application_id}")

    error = await refusal(path, read_only=read_only)

    assert type(error) is NotAnEventStoreError
    assert "another program" in str(error)
    assert "choose another file" in str(error)


@BOTH
@pytest.mark.fault(47)
@pytest.mark.asyncio
async def test_a_database_that_another_program_is_writing_keeps_its_write_ahead_log(
    tmp_path: Path, read_only: bool
) -> None:
    path = tmp_path / "theirs.db"
    with closing(foreign_database(path, mode="wal")) as theirs:
        before = {name: (tmp_path / name).stat().st_size for name in ("theirs.db", "theirs.db-wal")}

        await refused(path, NotAnEventStoreError, read_only=read_only)

        assert {name: (tmp_path / name).stat().st_size for name in before} == before
        assert theirs.execute("PRAGMA locking_mode").fetchone() == ("normal",)
        theirs.execute("INSERT INTO events (data) VALUES ('theirs too')")
        assert theirs.execute("SELECT count(*) FROM events").fetchone() == (2,)


@BOTH
@pytest.mark.fault(47)
@pytest.mark.asyncio
@pytest.mark.parametrize("with_shm", [True, False], ids=["with -shm", "without -shm"])
async def test_a_dead_programs_write_ahead_log_is_left_for_it(tmp_path: Path, with_shm: bool, read_only: bool) -> None:
    living, dead = tmp_path / "living", tmp_path / "dead"
    living.mkdir()
    with closing(foreign_database(living / "theirs.db", mode="wal")):
        # What a program leaves that dies now.
        left = {name: text for name, text in contents(living).items() if with_shm or not name.endswith("-shm")}
    dead.mkdir()
    for name, text in left.items():
        (dead / name).write_bytes(text)

    error = await refusal(dead / "theirs.db", read_only=read_only)

    assert type(error) is NotAnEventStoreError
    assert sql(dead / "theirs.db", "SELECT data FROM events") == [("theirs",)]


# --- our file, but not for this version, or damaged ------------------------------------------------------------------


@BOTH
@pytest.mark.fault(48)
@pytest.mark.asyncio
async def test_a_log_of_a_newer_schema_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    sql(path, f"PRAGMA user_version = {LATEST + 1}")

    error = await refusal(path, read_only=read_only)

    assert isinstance(error, SchemaTooNewError)
    assert (error.found, error.supported) == (LATEST + 1, LATEST)
    assert "upgrade asyncbus" in str(error)


async def large_log(path: Path) -> tuple[int, dict[str, int]]:
    """A log of some hundred pages; its number of pages, and where its tables begin."""
    async with opened(path) as store:
        for number in range(10):
            await store.append([record(f"a.{n % 3}", "x" * 100, id=f"{number}-{n}", key="k") for n in range(300)])
    [(pages,)] = sql(path, "PRAGMA page_count")
    return pages, dict(sql(path, "SELECT name, rootpage FROM sqlite_schema"))


def destroy(path: Path, *pages: int, first_kept: int = 0) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096 + first_kept)
            file.write(b"\xa5" * (4096 - first_kept))


@BOTH
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "damage",
    ["the first page behind its header", "all but the first page", "sqlite_sequence", "removals", "log", "cut"],
)
async def test_a_damaged_log_is_refused(tmp_path: Path, damage: str, read_only: bool) -> None:
    path = tmp_path / "log.db"
    pages, roots = await large_log(path)
    if damage == "the first page behind its header":
        destroy(path, 1, first_kept=100)
    elif damage == "all but the first page":
        destroy(path, *range(2, pages + 1))
    elif damage == "cut":
        with path.open("r+b") as file:
            file.truncate(4096 * (pages // 2))
    else:
        destroy(path, roots[damage])

    error = await refusal(path, read_only=read_only)

    assert type(error) is StoreCorruptError
    assert error.sequence is None


@pytest.mark.asyncio
async def test_the_error_of_a_damaged_log_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    _, roots = await large_log(path)
    destroy(path, roots["sqlite_sequence"])

    assert "backup" in str(await refusal(path))


@pytest.mark.asyncio
async def test_a_log_with_damaged_events_opens_and_whoever_reads_them_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    _, roots = await large_log(path)
    destroy(path, roots["events"])

    async with opened(path, read_only=True) as store:
        assert await store.latest_sequence() == 3000
        found, error = await read_all(store)

    assert found == []
    assert error is not None


@BOTH
@pytest.mark.asyncio
async def test_a_log_that_has_lost_the_row_that_names_it_is_damaged(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    sql(path, "DELETE FROM log")

    assert type(await refusal(path, read_only=read_only)) is StoreCorruptError


# --- a place where no log can be -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.asyncio
async def test_a_directory_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "logs"
    path.mkdir()

    error = await refusal(path, read_only=read_only)

    assert isinstance(error, StoreIsDirectoryError)
    assert isinstance(error, IsADirectoryError)
    assert "name a file in it" in str(error)
    assert list(tmp_path.iterdir()) == [path], "not even a lock file is made"


@BOTH
@pytest.mark.asyncio
async def test_a_missing_folder_is_refused_and_not_made(tmp_path: Path, read_only: bool) -> None:
    error = await refusal(tmp_path / "missing" / "log.db", read_only=read_only)

    assert isinstance(error, StoreNotFoundError)
    assert isinstance(error, FileNotFoundError)
    assert "make it first" in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_a_missing_file_is_not_made_by_a_reader(tmp_path: Path) -> None:
    error = await refusal(tmp_path / "log.db", read_only=True)

    assert isinstance(error, StoreNotFoundError)
    assert "read_only=True does not create it" in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["x" * 250, "x" * 300], ids=["only its sidecars", "itself"])
async def test_a_name_that_is_too_long_is_an_error_of_the_store(tmp_path: Path, name: str) -> None:
    await refused(tmp_path / name, StoreError)

    assert not [entry for entry in tmp_path.iterdir() if entry.name == name]


@pytest.mark.asyncio
async def test_a_watermark_that_cannot_be_read_is_an_error_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    (tmp_path / "log.db-watermark").unlink()
    (tmp_path / "log.db-watermark").mkdir()

    assert "log.db-watermark" in str(await refusal(path))


@pytest.mark.parametrize("synchronous", ["off", "FULL", None, 1])
def test_a_durability_that_is_not_offered_is_refused(synchronous: Any) -> None:
    with pytest.raises(InvalidOptionError, match='"full" or "normal"'):
        SQLiteStore("log.db", synchronous=synchronous)


@pytest.mark.asyncio
async def test_a_writer_that_cannot_sign_on_says_why(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    sql(path, "CREATE TRIGGER refuse BEFORE UPDATE ON log BEGIN SELECT raise(ABORT, 'nobody may'); END")

    error = await refused(path, StoreError)

    assert "nobody may" in str(error)
