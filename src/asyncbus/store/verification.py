"""Checks a log in a SQLite file as a whole: what readers meet event by event, and what only shows in sum."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from asyncbus.errors import StoreCorruptError, StoreNotFoundError
from asyncbus.options import check_path
from asyncbus.store.connection import BUSY_TIMEOUT
from asyncbus.store.failures import translated
from asyncbus.store.files import check_place, reading_mode, uri
from asyncbus.store.inspection import Finding, Inspection, in_one_line
from asyncbus.store.kept_inspection import inspect_kept
from asyncbus.store.migrations import prepare

_VERSIONS: Final = slice(18, 20)
"""Where the header of a SQLite file says how it is to be written and read."""

_EXPECTED: Final = (2, 2)
"""With a write-ahead log."""


class Verification(Struct, frozen=True):
    """What `verify` has looked at, and what it found wrong; `str()` of it is one line a finding.

    Attributes:
        path: the log.
        events: how many it holds.
        head: the last sequence it has ever given.
        findings: what is wrong, at most the first 1,000.
        unlisted: how many findings there were beyond those.
    """

    path: str
    events: int
    head: int
    findings: tuple[Finding, ...] = ()
    unlisted: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        if self.sound:
            return in_one_line(f"{self.path}: {self.events:,} events, head {self.head:,}: sound")
        lines = [str(finding) for finding in self.findings]
        if self.unlisted:
            lines.append(f"and {self.unlisted:,} more")
        return "\n".join(lines)


def verify(path: str | os.PathLike[str]) -> Verification:
    """Check a log in a SQLite file: all that can be known of it without another copy.

    The checksum of every event, whether an event is missing (what `clear()` removed is not), whether `recorded_at`
    ever decreases, the indexes, the tables, whether the schema holds what asyncbus has not made, SQLite's own
    structure, whether the end is lost, whether the watermark beside it is that of another log, every consumer, and the
    checksum of every dead letter. The file is not changed, and may be in use; then what is appended after the call is
    not looked at. A million events take some seconds (benchmarks/README.md), in short read transactions but for
    SQLite's own check, which keeps the -wal file from being moved into the database for about a quarter of that.

    It reads and computes in the thread that calls it: on an event loop, `await asyncio.to_thread(verify, path)`. From
    a shell, `asyncbus verify PATH`.

    Args:
        path: the file.

    Raises:
        InvalidOptionError: `path` is no path.
        StoreNotFoundError, StoreIsDirectoryError, StoreReadOnlyError, NotAnEventStoreError, SchemaTooNewError,
        SchemaTooOldError, StoreLockedError, StoreFailedError: the file cannot be opened or read.
    """
    return look_through(path, is_alone=False)


def look_through(path: str | os.PathLike[str], *, is_alone: bool) -> Verification:
    """Do what `verify` does.

    Args:
        path: the file.
        is_alone: nothing else in this process has it open, as on a command line.
    """
    log = Path(os.path.realpath(check_path("path", path)))
    with translated(log):
        if not log.exists():
            raise StoreNotFoundError(f"{path} does not exist")
        check_place(log, read_only=True)
        # Whoever closes a file drops the locks that SQLite holds on it in this process.
        versions = _versions(log) if is_alone or not log.with_name(f"{log.name}-shm").exists() else _EXPECTED
        try:
            prepare(log, read_only=True)
        except StoreCorruptError as error:
            return Verification(str(path), 0, 0, (Finding(in_one_line(str(error))),))
        mode = reading_mode(log)
        location = uri(log, mode)
        with closing(sqlite3.connect(location, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)) as connection:
            inspection = Inspection(connection, log)
            if versions != _EXPECTED:
                inspection.note(
                    f"its header has the write version {versions[0]} and the read version {versions[1]}; both must be 2"
                )
            elif mode == "ro":
                inspection.check_journal()
            if inspection.run():
                inspect_kept(inspection)
    findings = tuple(inspection.findings)
    return Verification(str(path), inspection.events, inspection.head, findings, inspection.unlisted)


def _versions(log: Path) -> tuple[int, ...]:
    """The write and the read version, as the header has them."""
    with log.open("rb") as file:
        return tuple(file.read(_VERSIONS.stop)[_VERSIONS])
