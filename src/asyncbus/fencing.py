"""Lets each event have its effect once in a database of the user's, whose transactions say which had it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from msgspec.structs import replace

from asyncbus.effects.base import Effects
from asyncbus.errors import EffectsError
from asyncbus.fence import Fence
from asyncbus.history import ask
from asyncbus.ledger import Held
from asyncbus.patterns import Pattern
from asyncbus.store.consumers import ConsumerState, ConsumerStore, ParkedFilter

T = TypeVar("T")

log = logging.getLogger("asyncbus")

_PAGE: Final = 512

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0
"""Seconds until a database that is away is asked once more; twice as many each time."""

_TRANSIENT: Final = frozenset({"40", "53", "55"})
"""Classes of SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html: rolled back for another one's
sake, out of resources, in use."""

_STARTING: Final = "57P03"
"""The SQLSTATE of a server that cannot be connected to as yet."""

_IN_USE: Final = "another operation is in progress"
"""What asyncpg says, without an SQLSTATE, where somebody else has the connection at that moment."""


class Fencing:
    """What a consumer knows of its effects.

    Args:
        consumer: its name.
        pattern: what it consumes.
        effects: where they are kept.
        store: the log.
        is_open: whether the consumer is to go on; one that ends waits for no database that is away.
    """

    def __init__(
        self, consumer: str, pattern: Pattern, effects: Effects, store: ConsumerStore, is_open: Callable[[], bool]
    ) -> None:
        self._consumer = consumer
        self._pattern = pattern
        self._effects = effects
        self._store = store
        self._is_open = is_open
        self._fence = Fence()
        self.parked: frozenset[int] = frozenset()
        """Of the events that come once more because the database is an older copy, those that are dead letters."""
        # Whether the fence is what the database holds; not where a commit was cancelled or has failed.
        self._is_known = True
        # One transaction at a time, as one connection has.
        self._lock = asyncio.Lock()
        self.turn = asyncio.Lock()
        """Held by whoever goes on to `apply`: the time a handler has does not run while it waits for others."""

    async def agree(self, state: ConsumerState, start: Callable[[], Awaitable[int]] | None) -> ConsumerState:
        """Where to go on: the checkpoint that counts is that of the database.

        But where the log has moved the consumer by `seek`, or knows it no more, for it was deleted, the log does.

        Args:
            state: as the log has it.
            start: gives where to begin in a database that has never heard of the consumer; None: where the log says.
        """
        is_new = not await self.load()
        if is_new or state.sought or state.epoch == 0:
            await self.move(state.checkpoint if start is None else await start())
        checkpoint = self._fence.checkpoint
        if self._fence.retried:  # also those that were gone before the database was told
            self.forget(set(self._fence.retried) - await self._parked_after(self._fence.retried[0] - 1))
        # What has had its effect is done, however its last attempt ended for the log: it must not be parked for that.
        owed = {sequence: each for sequence, each in state.owed.items() if not self._fence.has(sequence)}
        if checkpoint >= state.checkpoint:
            settled_to = max(state.settled_to, checkpoint)
            begun_to = max(state.begun_to, settled_to)
            return replace(state, checkpoint=checkpoint, settled_to=settled_to, begun_to=begun_to, owed=owed)
        parked = await self._parked_after(checkpoint)
        if not await self._is_any_missing(checkpoint, state.checkpoint, parked):
            # What was passed has had its effect, or is to have none: other types, dead letters.
            return replace(state, owed=owed)
        # That database is an older copy: what it has not seen is done again.
        self.parked = parked
        return state.moved(checkpoint, alone=0, active_since=0)

    async def _parked_after(self, checkpoint: int) -> frozenset[int]:
        wanted = ParkedFilter(consumer=self._consumer, start_sequence=checkpoint + 1)
        return frozenset(parked.record.sequence for parked in await ask(self._store.dead_letters(wanted)))

    async def _is_any_missing(self, after: int, up_to: int, parked: frozenset[int]) -> bool:
        while after < up_to:
            page = await ask(self._store.read(after, self._pattern, _PAGE))
            sequences = [record.sequence for record in page.records if record.sequence <= up_to]
            if any(sequence not in parked and not self._fence.has(sequence) for sequence in sequences):
                return True
            after = page.up_to
        return False

    async def load(self) -> bool:
        """Ask the database, as soon as it answers; False: it does not know the consumer.

        Raises:
            EffectsError: it does not.
        """
        text = await self._as_soon_as_it_can(lambda: self._effects.load(self._consumer))
        self._fence = Fence() if text is None else Fence.from_text(text, self._consumer)
        self._is_known = True
        return text is not None

    async def move(self, checkpoint: int) -> None:
        """Tell it where the consumer goes on: what comes after has its effect, perhaps once more."""
        async with self._lock:
            await self._save(self._fence.at(checkpoint))

    async def pass_by(self, checkpoint: int) -> None:
        """Tell it how far the consumer is, also by what it has given up and will not have any effect."""
        async with self._lock:
            if not self._is_known:
                await self.load()
            if checkpoint > self._fence.checkpoint:
                await self._save(self._fence.passing(checkpoint))

    def forget(self, sequences: Collection[int]) -> None:
        """These dead letters are done, and durably gone; the database is told with the next effect."""
        self._fence = self._fence.forgetting(sequences)

    async def _save(self, fence: Fence) -> None:
        async with self._transaction(fence):
            pass

    @asynccontextmanager
    async def _transaction(self, fence: Fence) -> AsyncIterator[None]:
        """One that begins as soon as it can, and with which the fence is another one."""
        async with AsyncExitStack() as stack:
            await self._as_soon_as_it_can(
                lambda: stack.enter_async_context(self._effects.transaction(self._consumer, fence.to_text()))
            )
            yield
            self._is_known = False  # it may be committed from here on, also where this is cancelled
        self._fence = fence
        self._is_known = True

    async def _as_soon_as_it_can(self, act: Callable[[], Awaitable[T]]) -> T:
        """Ask the database, again and again while it is only in use or away.

        Raises:
            EffectsError: it is not, and raises all the same; or the consumer is to end.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                return await act()
            except EffectsError:
                raise
            except Exception as error:
                if not (_is_transient(error) and self._is_open()):
                    text = f"cannot use the database of its effects ({error!r}): see that it is there, and consume it"
                    raise EffectsError(self._consumer, f"{text} again with a connection that is open") from error
                if pause == _FIRST_PAUSE:
                    log.warning("consumer %s waits for the database of its effects: %r", self._consumer, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def apply(
        self,
        held: Held,
        checkpoint: Callable[[], int],
        call: Callable[[], Awaitable[None]],
        on_begun: Callable[[], None],
    ) -> None:
        """Run a handler in a transaction that also says that this event has had its effect, if it has not.

        Args:
            held: the event.
            checkpoint: gives where the consumer's will be once this event is done.
            call: the handler.
            on_begun: called when the transaction has begun.

        Raises:
            EffectsError: the transaction could not begin; the handler was not called.
        """
        async with self._lock:
            if not self._is_known:
                await self.load()
            is_retried = held.parked is not None
            if self._fence.has(held.record.sequence, retried=is_retried):
                return
            fence = self._fence.with_applied(held.record.sequence, checkpoint(), retried=is_retried, after=held.after)
            async with self._transaction(fence):
                on_begun()
                await call()

    async def has_committed(self, held: Held) -> bool:
        """After an error: whether the event has had its effect all the same.

        Raises:
            EffectsError: nobody can say.
        """
        if self._is_known:
            return False
        try:
            await self.load()
        except EffectsError as error:
            text = f"cannot say whether event {held.record.sequence} has had its effect: {error.__cause__ or error!r}"
            raise EffectsError(self._consumer, text) from error
        return self._fence.has(held.record.sequence, retried=held.parked is not None)


def _is_transient(error: Exception) -> bool:
    """Whether the same may succeed a little later."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    state = str(getattr(error, "sqlstate", ""))
    return isinstance(error, OSError) or state[:2] in _TRANSIENT or state == _STARTING or _IN_USE in str(error)
