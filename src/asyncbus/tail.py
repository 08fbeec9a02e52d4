"""Feeds the fan-out of a read-only bus with what another process commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from asyncbus.events import Record
from asyncbus.history import History
from asyncbus.patterns import Pattern
from asyncbus.store.base import Appended, EventStore

_PAGE: Final = 4096
_ALL: Final = Pattern.parse("*")


class Tail:
    """Takes the writer's place where the store cannot be written.

    Args:
        store: read-only; it tells when something may have changed.
        history: knows how far the bus has got.
        on_committed: gets the records of each page, ascending.
        on_lost: called when events were removed before they could be passed on.
    """

    def __init__(
        self,
        store: EventStore,
        history: History,
        *,
        on_committed: Callable[[Sequence[Record], Appended], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._store = store
        self._history = history
        self._on_committed = on_committed
        self._on_lost = on_lost

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            StoreCorruptError, StoreFailedError: the log cannot be followed any more.
        """
        while True:
            await self._store.changed()
            while await self._follow():
                pass

    async def _follow(self) -> bool:
        """Pass on one page; false: there was none."""
        head = self._history.head
        page = await self._store.read(head, _ALL, _PAGE)
        if page.floor > head:
            self._on_lost()
            self._history.clear(page.floor)
        if page.records:
            self._on_committed(page.records, Appended(page.records[0].sequence, floor=page.floor))
        return page.up_to > head
