"""A connection that cannot be opened leaves nothing behind: no thread, no file."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from asyncbus import NotAnEventStoreError, StoreFailedError, StoreLockedError
from asyncbus.store import connection
from asyncbus.store.connection import Connection
from asyncbus.store.gil import GilYielder
from tests.store.files import make_log, opened, refused


@pytest.mark.asyncio
async def test_the_thread_of_a_file_that_cannot_be_opened_has_ended_when_the_error_comes(tmp_path: Path) -> None:
    threads = threading.active_count()

    with pytest.raises(StoreFailedError, match="cannot be opened"):
        await Connection.open(tmp_path / "missing.db", "ro", GilYielder())

    # The one in which it was waited for stays with the loop.
    assert threading.active_count() <= threads + 1


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_read_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(NotAnEventStoreError):
        await Connection.open(path, "ro", GilYielder())

    assert str(path) not in {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()}


@pytest.mark.fault(29)
@pytest.mark.asyncio
async def test_a_log_that_another_program_locks_is_refused_by_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 0.01)

    with closing(sqlite3.connect(path, isolation_level=None)) as theirs:
        theirs.execute("BEGIN IMMEDIATE")
        await refused(path, StoreLockedError)
        theirs.execute("ROLLBACK")

    async with opened(path) as store:
        assert await store.latest_sequence() == 5
