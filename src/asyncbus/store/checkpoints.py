"""Moves the write-ahead log into the database, and looks at the answer, which SQLite's own checkpoints swallow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asyncbus.errors import StoreError, StoreFailedError, StoreFullError
from asyncbus.events import Record
from asyncbus.store.connection import Connection
from asyncbus.store.statements import Statement

log = logging.getLogger("asyncbus")

CHECKPOINT_PAGES: Final = 4000
"""Pages, as estimated, that the write-ahead log takes before they are moved into the database: 16 MB."""

CHECKPOINT_COMMITS: Final = 600
"""Commits after which they are moved in any case.

While the file grows a commit takes longer, for fdatasync has the new length to write as well: 0.58 ms and not 0.44
(ext4, single events). So for small commits it stays short: 8 MB at single events. Large ones have better use for
the time: beside a loop that computes, each hop to the SQLite thread is dear.
"""

_LONG: Final = 4
"""So many times CHECKPOINT_PAGES, and still not moved: somebody is told."""

_FRAME: Final = 4096 + 24
"""Bytes of a page in the write-ahead log."""


class Checkpointer:
    """Decides when to move the write-ahead log, and moves it; one for each opening of a log.

    Args:
        writer: the connection that writes: two that move the same log can damage it.
        path: of the database.
    """

    def __init__(self, writer: Connection, path: Path) -> None:
        self._writer = writer
        self._path = path
        self._pages = 0
        self._commits = 0
        self._warned = False
        self.done = 0

    def count(self, records: Sequence[Record], changes: Sequence[Statement] = ()) -> None:
        """Take account of a commit."""
        self._commits += 1
        # Estimated: a commit touches three pages at least, and an event takes about twice its data with the indexes.
        self._pages += 3 + (sum(map(len, [record.data for record in records])) + 100 * len(records)) // 2000
        for _, bound in changes:
            self._pages += sum([len(value) if isinstance(value, str | bytes) else 8 for value in bound]) // 2000

    def count_removal(self, events: int) -> None:
        """Take account of events that were removed: their pages are written once more, as empty ones."""
        self._commits += 1
        self._pages += events * 100 // 2000

    @property
    def due(self) -> bool:
        """Whether there is enough in the write-ahead log to move it."""
        return self._pages >= CHECKPOINT_PAGES or self._commits >= CHECKPOINT_COMMITS

    async def move(self) -> bool:
        """Move what no reader needs any more; true: that was all, and all that was committed is synced.

        Raises:
            StoreFailedError: the disk failed, and nobody knows what it holds.
        """
        try:
            busy, length, moved = await self._writer.row("PRAGMA wal_checkpoint(PASSIVE)")
        except StoreFullError as error:
            # The write-ahead log may still have room; if it has not, the commit will tell.
            log.warning("the write-ahead log cannot be moved into the database for now: %s", error)
            self._pages, self._commits = CHECKPOINT_PAGES // 2, 0
            return False
        except StoreError as error:
            raise StoreFailedError(
                f"{self._path}: the write-ahead log cannot be moved: {error}; close the bus and open it again"
            ) from error
        self._pages, self._commits = CHECKPOINT_PAGES // 2 if busy else 0, 0
        self.done += not busy
        is_whole = not busy and moved == length
        self._tell(length, is_whole=is_whole)
        return is_whole

    def _tell(self, length: int, *, is_whole: bool) -> None:
        """Say once that the write-ahead log grows, until it was moved as a whole again."""
        if is_whole:
            self._warned = False
        elif length >= _LONG * CHECKPOINT_PAGES and not self._warned:
            self._warned = True
            log.warning(
                "the write-ahead log of %s has grown to %d MB: a long transaction reads the file (a backup, or another"
                " program); until it ends, the write-ahead log grows",
                self._path,
                length * _FRAME // 10**6,
            )
