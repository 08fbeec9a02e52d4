"""Checks a log in a SQLite file as a whole: what readers meet event by event, and what only shows in sum."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from asyncbus.errors import StoreCorruptError
from asyncbus.options import check_path
from asyncbus.store.connection import BUSY_TIMEOUT
from asyncbus.store.failures import translated
from asyncbus.store.inspection import Finding, Inspection
from asyncbus.store.migrations import prepare, reading_mode, uri


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
            return f"{self.path}: {self.events:,} events, head {self.head:,}: sound"
        lines = [str(finding) for finding in self.findings]
        if self.unlisted:
            lines.append(f"and {self.unlisted:,} more")
        return "\n".join(lines)


def verify(path: str | os.PathLike[str]) -> Verification:
    """Check a log in a SQLite file: all that can be known of it without another copy.

    The checksum of every event, whether an event is missing (what `clear()` removed is not), whether `recorded_at`
    ever decreases, the indexes, the tables, SQLite's own structure, and whether the end is lost. The file is not
    changed, and may be in use; then what is appended after the call is not looked at. A million events take some
    seconds (benchmarks/README.md), in short read transactions but for SQLite's own check, which keeps the -wal file
    from being moved into the database for about a quarter of that.

    It reads and computes in the thread that calls it: on an event loop, `await asyncio.to_thread(verify, path)`. From
    a shell, `python -m asyncbus.verify PATH`.

    Args:
        path: the file.

    Raises:
        InvalidOptionError: `path` is no path.
        StoreNotFoundError, StoreIsDirectoryError, StoreReadOnlyError, NotAnEventStoreError, SchemaTooNewError,
        StoreLockedError, StoreFailedError: the file cannot be opened or read.
    """
    log = Path(os.path.realpath(check_path("path", path)))
    with translated(log):
        try:
            prepare(log, read_only=True)
        except StoreCorruptError as error:
            return Verification(str(path), 0, 0, (Finding(str(error)),))
        location = uri(log, reading_mode(log))
        with closing(sqlite3.connect(location, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)) as connection:
            inspection = Inspection(connection, log)
            inspection.run()
    findings = tuple(inspection.findings)
    return Verification(str(path), inspection.events, inspection.head, findings, inspection.unlisted)
