"""What a consumer has stored, and who waits for its checkpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from copy import copy
from typing import Final

from asyncbus.consumer_options import Wanted
from asyncbus.delivering import Delivering
from asyncbus.errors import ConsumerClosedError, StaleAckError, StoreFullError
from asyncbus.feed import Feed
from asyncbus.futures import fail, resolve
from asyncbus.store.consumers import Change, ConsumerState
from asyncbus.surroundings import Surroundings

log = logging.getLogger("asyncbus")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
"""Seconds between attempts to store what was begun, while the disk is full."""


class Storing(Delivering):
    """Stores what was begun and what is done, by the commits that store events."""

    _feed: Feed

    def __init__(self, wanted: Wanted, surroundings: Surroundings) -> None:
        super().__init__(wanted.name, wanted.options, surroundings.clock, surroundings.random)
        self._around = surroundings
        # Whether it has its name, and its state is to be stored; and whether that is the last time.
        self._is_active = False
        self._is_resting = False
        self._was_stored = False
        # The event that is handed out alone.
        self._alone = 0
        # Who waits until the checkpoint is at a sequence.
        self._passed: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def checkpoint(self) -> int:
        """Nothing at or below it is owed; it passes events that do not match. Stored with the next commit."""
        return self._ledger.checkpoint(self._feed.position) if self._is_active else self._stored.checkpoint

    # ------------------------------------------------------------------------------------------------------- storing

    async def saved(self) -> None:
        """Wait until what was decided is stored.

        Raises:
            AsyncBusError: what the commit raised.
        """
        await self._around.saving.save(self)

    async def _store_begun(self) -> None:
        """Store what was begun, before anybody gets it; a full disk is waited for."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.saved()
            except StoreFullError as error:
                if pause == _FIRST_PAUSE:
                    log.warning("consumer %s waits until there is room: %s", self.name, error)
                await self._around.clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                return

    def changes(self) -> Sequence[Change]:
        """What is different from what is stored."""
        if not self._is_active:
            return ()
        state = self._ledger.state(
            self._stored,
            self._feed.position,
            alone=0 if self._is_resting else self._alone,
            paused=self.is_paused,
            redelivered=self.redelivered,
            last_error=self.last_error,
            active_since=0 if self._is_resting and not self.is_careful else self._stored.active_since,
        )
        if self._was_stored and not self._parking.has_changes and state == self._stored:
            return ()
        return (*self._parking.take(), state)

    def kept(self, changes: Sequence[Change], *, stale: bool) -> None:
        """They are stored; or somebody else has the name."""
        if stale:
            self._is_active = False
            self._end(StaleAckError(self.name, None, self.epoch, None))
            return
        self._was_stored = True
        self._parking.kept(changes)
        for change in changes:
            if isinstance(change, ConsumerState) and change.epoch == self.epoch:  # no `seek` has come in between
                self._stored = change

    def lost(self, changes: Sequence[Change], error: Exception) -> None:
        """They are not: they are to be stored with the next commit, if there is one."""
        self._parking.lost(changes)
        if not isinstance(error, StoreFullError):
            self._end(error)

    # ------------------------------------------------------------------------------------------- who waits for it

    async def passed(self, sequence: int) -> None:
        """Wait until the checkpoint is at `sequence` or above.

        Raises:
            ConsumerClosedError: it was closed before.
            And what ended the consumer.
        """
        if not self.is_open:
            raise self._gone()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._passed.append((sequence, future))
        self._tell_passed()
        await future

    def _tell_passed(self) -> None:
        if self._passed:
            checkpoint = self.checkpoint if self._is_active else -1
            for sequence, future in self._passed:
                if sequence <= checkpoint:
                    resolve(future, None)
                elif not self.is_open:
                    fail(future, self._gone())
            self._passed = [(sequence, future) for sequence, future in self._passed if not future.done()]

    def _gone(self) -> Exception:
        return copy(self.error) if self.error is not None else ConsumerClosedError(self.name)
