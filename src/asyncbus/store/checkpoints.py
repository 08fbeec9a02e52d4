"""Moves the write-ahead log into the database, and looks at the answer, which SQLite's own checkpoints swallow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asyncbus.errors import StoreError, StoreFailedError, StoreFullError
from asyncbus.events import Record
from asyncbus.store.connection import Connection

log = logging.getLogger("asyncbus")

CHECKPOINT_PAGES: Final = 1000
"""Pages, as estimated, that the write-ahead log takes before they are moved into the database: 4 MB.

While it grows a commit takes longer, for fdatasync has the new length to write as well: 0.58 ms and not 0.44 (ext4). So
it grows little; with four times as many pages nothing was faster, not even under full load.
"""

_LONG: Final = 16
"""So many times that, and still not moved: somebody is told."""

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
        self._warned = False
        self.done = 0

    def count(self, records: Sequence[Record]) -> None:
        """Take account of what was committed."""
        # Estimated: a commit touches three pages at least, and an event takes about twice its data with the indexes.
        self._pages += 3 + (sum(map(len, [record.data for record in records])) + 100 * len(records)) // 2000

    @property
    def due(self) -> bool:
        """Whether the write-ahead log is long enough to be moved."""
        return self._pages >= CHECKPOINT_PAGES

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
            self._pages = CHECKPOINT_PAGES // 2
            return False
        except StoreError as error:
            raise StoreFailedError(
                f"{self._path}: the write-ahead log cannot be moved: {error}; close the bus and open it again"
            ) from error
        self._pages = CHECKPOINT_PAGES // 2 if busy else 0
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
                "the write-ahead log of %s has grown to %d MB: another program reads the file in a transaction that it"
                " does not end; until it does, the log grows",
                self._path,
                length * _FRAME // 10**6,
            )
