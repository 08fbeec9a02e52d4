"""Lets each event have its effect once in a database of the user's, whose transactions say which had it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from msgspec.structs import replace

from asyncbus.clock import Clock
from asyncbus.effects.base import Effects
from asyncbus.effects.busy import is_busy
from asyncbus.errors import EffectsError
from asyncbus.fence import Fence
from asyncbus.history import ask
from asyncbus.ledger import Held
from asyncbus.patterns import Pattern
from asyncbus.store.consumers import ConsumerState, ConsumerStore, ParkedFilter

log = logging.getLogger("asyncbus")

_PAGE: Final = 512

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
"""Seconds between attempts to begin, while the database is busy; whoever closes the consumer may wait for one."""


class NotBegunError(Exception):
    """No transaction was begun for an event, so its handler was not called.

    Args:
        error: what ends the consumer; None: it has ended while the database was busy.
    """

    def __init__(self, error: EffectsError | None = None) -> None:
        self.error = error
        super().__init__(error)


class Fencing:
    """What a consumer knows of its effects.

    Args:
        consumer: its name.
        pattern: what it consumes.
        effects: where they are kept.
        store: the log.
        clock: gives the pauses while the database is busy.
    """

    def __init__(self, consumer: str, pattern: Pattern, effects: Effects, store: ConsumerStore, clock: Clock) -> None:
        self._consumer = consumer
        self._pattern = pattern
        self._effects = effects
        self._store = store
        self._clock = clock
        self._fence = Fence()
        self.parked: frozenset[int] = frozenset()
        """Of the events that come once more because the database is an older copy, those that are dead letters."""
        # Whether the fence is what the database holds; not where a commit was cancelled or has failed.
        self._is_known = True
        # One transaction at a time, as one connection has.
        self._lock = asyncio.Lock()
        self.turn = asyncio.Lock()
        """Held by whoever goes on to `apply`, until it is known what came of that."""

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
        if retried := self._fence.retried:  # some of them were done after the last effect of the last session
            self.forget(frozenset(retried) - await self._parked_after(retried[0] - 1))
        checkpoint = self._fence.checkpoint
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
        """Ask the database; False: it does not know the consumer."""
        text = await self._effects.load(self._consumer)
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
        async with self._effects.transaction(self._consumer, fence.to_text()):
            yield
            self._is_known = False  # it may be committed from here on, also where this is cancelled
        self._fence = fence
        self._is_known = True

    async def apply(
        self,
        held: Held,
        checkpoint: Callable[[], int],
        call: Callable[[], Awaitable[None]],
        may_wait: Callable[[], bool],
    ) -> None:
        """Run a handler in a transaction that also says that this event has had its effect, if it has not.

        Args:
            held: the event.
            checkpoint: gives where the consumer's will be once this event is done.
            call: the handler.
            may_wait: whether to wait, at that moment, until a busy database is free.

        Raises:
            NotBegunError: the handler was not called.
            And what it raises, or the end of the transaction.
        """
        async with self._lock, AsyncExitStack() as transaction:
            if await self._begun(transaction, held, checkpoint, may_wait):
                await call()

    async def _begun(
        self,
        transaction: AsyncExitStack,
        held: Held,
        checkpoint: Callable[[], int],
        may_wait: Callable[[], bool],
    ) -> bool:
        """Begin, as soon as the database is free."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._begin(transaction, held, checkpoint)
            except EffectsError as error:
                raise NotBegunError(error) from error
            except Exception as error:
                if not is_busy(error):
                    raise NotBegunError(self._away(held, error)) from error
                if not may_wait():
                    raise NotBegunError from error
                if pause == _FIRST_PAUSE:
                    log.warning(
                        "consumer %s waits until the database of its effects is free: %r", self._consumer, error
                    )
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _begin(self, transaction: AsyncExitStack, held: Held, checkpoint: Callable[[], int]) -> bool:
        """Begin, unless the event has had its effect."""
        if not self._is_known:
            await self.load()
        sequence, is_retried = held.record.sequence, held.parked is not None
        if self._fence.has(sequence, retried=is_retried):
            return False
        fence = self._fence.with_applied(sequence, checkpoint(), retried=is_retried, after=held.after)
        await transaction.enter_async_context(self._transaction(fence))
        return True

    def _away(self, held: Held, error: Exception) -> EffectsError:
        away = EffectsError(
            self._consumer,
            f"cannot begin the effect of event {held.record.sequence}: {error!r}; see that its database can be reached"
            " by a connection, and consume it again with one that is open",
        )
        away.__cause__ = error
        return away

    async def has_committed(self, held: Held) -> bool:
        """After an error: whether the event has had its effect all the same.

        Raises:
            EffectsError: nobody can say.
        """
        if self._is_known:
            return False
        try:
            await self.load()
        except Exception as error:
            text = f"cannot say whether event {held.record.sequence} has had its effect: {error!r}"
            raise EffectsError(self._consumer, text) from error
        return self._fence.has(held.record.sequence, retried=held.parked is not None)
