"""Libraries in which a promise is really broken, for the tests that show that the tool finds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from asyncbus import StoreError
from asyncbus.store import migrations
from asyncbus.store.appender import Appender
from asyncbus.store.checkpoints import Checkpointer
from tests.reliability.broken import OptimisticStore


def swallow_errors_of_checkpoints() -> None:
    """As SQLite's automatic checkpoint does."""

    async def swallowing(self: Checkpointer) -> bool:
        with suppress(StoreError):
            await self._writer.row("PRAGMA wal_checkpoint(PASSIVE)")
        return True

    Checkpointer.move = swallowing  # type: ignore[method-assign]  # that is the control


def rename_a_draft_before_it_is_whole() -> None:
    """As if what SQLite does while it closes a file could not fail."""
    migrations._checkpoint = lambda connection: None


def go_on_after_a_failed_fsync() -> None:
    """As if the disk could be asked again."""

    @contextmanager
    def trusting(self: Appender) -> Iterator[None]:
        yield

    Appender._failing = trusting  # type: ignore[method-assign]  # that is the control


def acknowledge_what_a_full_disk_refused() -> None:
    """As if it had been stored."""
    # The module, for the name `asyncbus.connect` is the function.
    vars(import_module("asyncbus.connect"))["SQLiteStore"] = OptimisticStore
