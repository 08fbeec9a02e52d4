"""What consumers have to store, collected for the next commit: the same one that stores events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from itertools import islice
from typing import Final, Protocol

from asyncbus.futures import resolve
from asyncbus.store.consumers import Change

_PASSING: Final = 8
"""Consumers that may have a commit save how far they have passed, beside those that ask: so a thousand cost no more."""


class Saver(Protocol):
    """What has something to store."""

    def changes(self) -> Sequence[Change]:
        """All that has changed since it was asked last; nothing, where nothing has."""
        ...

    def kept(self, changes: Sequence[Change], *, stale: bool) -> None:
        """They are stored; but not the state, where it was `stale`."""
        ...

    def lost(self, changes: Sequence[Change], error: Exception) -> None:
        """They are not stored, or nobody knows."""
        ...


class Saves:
    """What one commit stores for consumers."""

    def __init__(
        self,
        asked: Sequence[tuple[Saver, Sequence[Change]]],
        done: asyncio.Future[Exception | None],
        note: Callable[[Change], None],
    ) -> None:
        self._asked = asked
        self._done = done
        self._note = note
        # Of whom the state was not stored, for there is a newer holder of the name.
        self.stale: frozenset[str] = frozenset()
        self.changes = [change for _, changes in asked for change in changes]

    def settle(self, error: Exception | None) -> None:
        """Tell those who asked what became of it."""
        for saver, changes in self._asked:
            if error is not None:
                saver.lost(changes, error)
                continue
            is_stale = bool(self.stale) and any(getattr(change, "name", None) in self.stale for change in changes)
            if not is_stale:
                for change in changes:
                    self._note(change)
            saver.kept(changes, stale=is_stale)
        resolve(self._done, error)


class Saving:
    """Collects until the writer takes it.

    Args:
        wake: tells the writer that there is something to take.
        note: called with each change that is stored.
    """

    def __init__(self, wake: Callable[[], None], note: Callable[[Change], None]) -> None:
        self._wake = wake
        self._note = note
        self._asked: dict[Saver, None] = {}
        self._next: asyncio.Future[Exception | None] | None = None
        # All that are active, those first that were not looked at for longest.
        self._active: dict[Saver, None] = {}
        self._ended: Exception | None = None

    @property
    def wanted(self) -> bool:
        """Whether somebody has asked."""
        return bool(self._asked)

    def add(self, saver: Saver) -> None:
        """It is active: what it passes is saved now and then, without its asking."""
        self._active[saver] = None

    def remove(self, saver: Saver) -> None:
        """It is not active any more."""
        self._active.pop(saver, None)
        self._asked.pop(saver, None)

    def ask(self, saver: Saver) -> asyncio.Future[Exception | None]:
        """Have its changes stored by the next commit.

        Returns:
            A future, shared by all who ask before that commit: it gives the error of the commit, or None.
        """
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        if self._ended is not None:
            self._next.set_result(self._ended)
            return self._next
        self._asked[saver] = None
        self._wake()
        return self._next

    async def save(self, saver: Saver) -> None:
        """Have its changes stored, and wait for it; cancelling this does not stop it.

        Raises:
            AsyncBusError: what the commit raised.
        """
        done = self.ask(saver)
        await asyncio.wait([done])
        error = done.result()
        if error is not None:
            raise copy(error)

    async def store(self, changes: Sequence[Change]) -> None:
        """Have changes stored that are no active consumer's, as `save` does."""
        await self.save(_Once(changes))

    async def settled(self) -> None:
        """Wait until all that was asked for before is stored, or is not, also what nobody waits for any more."""
        await asyncio.wait([self.ask(_Once(()))])  # commits come one after the other

    def take(self, *, passing: bool) -> Saves:
        """What the next commit is to store; with `passing` also of some that have not asked."""
        if passing:
            for saver in tuple(islice(self._active, _PASSING)):
                self._asked[saver] = None
                self._active[saver] = self._active.pop(saver)  # the last one to be looked at again
        done = self._next or asyncio.get_running_loop().create_future()
        self._next = None
        asked, self._asked = self._asked, {}
        return Saves([(saver, changes) for saver in asked if (changes := saver.changes())], done, self._note)

    def take_all(self) -> Saves:
        """What all that are active have to store."""
        self._asked.update(self._active)
        return self.take(passing=False)

    def end(self, error: Exception) -> None:
        """The writer is no more: nothing is stored from now on."""
        self._ended = error
        self.take(passing=False).settle(error)


class _Once:
    """Changes that are handed over once.

    Args:
        changes: what is to be stored.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def changes(self) -> Sequence[Change]:
        """All of them."""
        return self._changes

    def kept(self, changes: Sequence[Change], *, stale: bool) -> None:
        """Whoever waits is told by the saving."""

    def lost(self, changes: Sequence[Change], error: Exception) -> None:
        """As `kept`, but nothing is stored."""
