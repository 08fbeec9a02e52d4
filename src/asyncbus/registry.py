"""The consumers of one bus: those that are active, and what the store knows of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from copy import copy
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from msgspec.structs import replace

from asyncbus.consumer import Consumer
from asyncbus.dead_letters import numbers_of, pages
from asyncbus.errors import AsyncBusError, ConsumerInUseError, StoreFailedError, StoreFullError, UnknownConsumerError
from asyncbus.events import from_microseconds
from asyncbus.history import History, ask
from asyncbus.saving import Saving
from asyncbus.statistics import ConsumerStatistics
from asyncbus.store.consumers import (
    Change,
    ConsumerState,
    ConsumerStore,
    Forgotten,
    ParkedEvent,
    ParkedFilter,
    Released,
)

T = TypeVar("T")


class Registry:
    """Keeps names apart, and administers consumers whether or not they are active.

    Args:
        store: what keeps consumers.
        saving: the way to the next commit.
        history: the log as readers see it.
    """

    def __init__(self, store: ConsumerStore, saving: Saving, history: History) -> None:
        self._store = store
        self._saving = saving
        self._history = history
        self._active: dict[str, Consumer] = {}
        # What has ended those that nobody has consumed again.
        self._ended: dict[str, Exception] = {}
        # Asked for once, for there is one writer, and that is this bus; and what it has stored since.
        self._loaded = _Shared(self._load)
        self._stored: dict[str, ConsumerState | None] = {}
        # Of dead letters, by consumer; asked for anew after each change.
        self._counts = _Shared(self._count)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # -------------------------------------------------------------------------------------------- those that are active

    @property
    def active(self) -> tuple[Consumer, ...]:
        """By name."""
        return tuple(consumer for _, consumer in sorted(self._active.items()))

    def add(self, consumer: Consumer) -> None:
        """It has its name from now on.

        Raises:
            ConsumerInUseError: another one has it.
        """
        if consumer.name in self._active:
            raise ConsumerInUseError(consumer.name)
        self._active[consumer.name] = consumer
        self._ended.pop(consumer.name, None)

    def remove(self, consumer: Consumer) -> None:
        """Its name is free."""
        if self._active.get(consumer.name) is consumer:
            del self._active[consumer.name]
            if consumer.error is not None:
                self._ended[consumer.name] = consumer.error

    def find(self, name: str) -> Consumer | None:
        """The active consumer of this name, or None."""
        return self._active.get(name)

    def get(self, name: str) -> Consumer:
        """The active consumer of this name.

        Raises:
            UnknownConsumerError: there is none.
            And what has ended it.
        """
        if name in self._ended:
            raise copy(self._ended[name])
        if (consumer := self.find(name)) is None:
            raise UnknownConsumerError(name, active=True)
        return consumer

    async def save_all(self) -> None:
        """By the writer itself: store what has changed, of all that are active."""
        saves = self._saving.take_all()
        error: Exception | None = StoreFailedError("the writer was cancelled", outcome_unknown=True)
        try:
            if saves.changes:
                saves.stale = (await ask(self._store.commit((), saves.changes))).stale
            error = None
        except AsyncBusError as failed:
            error = failed
            raise
        finally:
            saves.settle(error)

    async def end(
        self, timeout: float | None, callers: Collection[asyncio.Task[Any] | None], *, outcomes: bool
    ) -> dict[str, int]:
        """End all of them, as `Consumer.end` does; how many events each has left, where it has."""
        ending = self.active
        left = await asyncio.gather(*(consumer.end(timeout, callers, outcomes=outcomes) for consumer in ending))
        return {consumer.name: count for consumer, count in zip(ending, left, strict=True) if count}

    # --------------------------------------------------------------------------------------------- what the store knows

    async def _load(self) -> Mapping[str, ConsumerState]:
        return {state.name: state for state in await ask(self._store.consumers())}

    async def _count(self) -> Mapping[str, int]:
        return await ask(self._store.dead_letter_counts())

    async def state(self, name: str) -> ConsumerState | None:
        """What is stored of a consumer, or None."""
        if name not in self._stored:
            loaded = await self._loaded.value()
            if name not in self._stored:
                return loaded.get(name)
        return self._stored[name]

    def note(self, change: Change) -> None:
        """A change was stored."""
        if isinstance(change, ConsumerState):
            self._stored[change.name] = change
            return
        self._counts = _Shared(self._count)
        if isinstance(change, Forgotten):
            self._stored[change.name] = None
            self._ended.pop(change.name, None)

    async def statistics(self) -> list[ConsumerStatistics]:
        """Of all that are known, by name."""
        counts = await self._count()
        known = await self._load()
        return [
            self._active[name].statistics() if name in self._active else self._at_rest(known[name], counts.get(name, 0))
            for name in sorted({*known, *self._active})
        ]

    def _at_rest(self, state: ConsumerState, dead_letters: int) -> ConsumerStatistics:
        return ConsumerStatistics(
            name=state.name,
            pattern=state.pattern,
            checkpoint=state.checkpoint,
            backlog=max(self._history.head - state.checkpoint, 0),
            in_flight=0,
            waiting_for_retry=sum(owed.due > 0 for owed in state.owed.values()),
            redelivered=state.redelivered,
            dead_letters=dead_letters,
            handled=0,
            failed=0,
            skipped=0,
            paused=state.paused,
            active_since=from_microseconds(state.active_since) if state.active_since else None,
            last_error=state.last_error,
            error=self._ended.get(state.name),
        )

    # ---------------------------------------------------------------------------------------------------- administering

    def _turn(self, name: str) -> asyncio.Lock:
        """Held by whoever changes what is stored of a consumer that is not active, and by who takes its name."""
        return self._turns.setdefault(name, asyncio.Lock())

    async def taken(self, name: str) -> tuple[ConsumerState | None, int]:
        """What is stored of a consumer that has its name by now, or None, and how many dead letters it has.

        From now on nobody but this consumer changes any of that.
        """
        async with self._turn(name):
            await self._saving.settled()
            return await self.state(name), (await self._counts.value()).get(name, 0)

    async def _change(
        self, name: str, change: Callable[[ConsumerState], Awaitable[Sequence[Change]]]
    ) -> Consumer | None:
        """Change what is stored of a consumer; the consumer, and nothing is changed, where it is active."""
        if (consumer := self.find(name)) is None:
            async with self._turn(name):
                if (consumer := self.find(name)) is None:  # who takes the name from here on waits for the turn
                    await self._saving.settled()
                    await self._saving.store(await change(await self._state(name)))
        return consumer

    async def _state(self, name: str) -> ConsumerState:
        state = await self.state(name)
        if state is None:
            raise UnknownConsumerError(name)
        return state

    async def seek(self, name: str, before: int) -> None:
        """Move a consumer: it goes on with the first event after `before`."""

        async def move(state: ConsumerState) -> Sequence[Change]:
            moved = state.moved(before, epoch=state.epoch + 1, alone=0, sought=True, active_since=0)
            letters = await numbers_of(self._store, ParkedFilter(consumer=name, start_sequence=before + 1))
            return [Released(letters), moved] if letters else [moved]

        if (consumer := await self._change(name, move)) is not None:
            await consumer.seek(before)

    async def pause(self, name: str, *, paused: bool) -> None:
        """Have a consumer hand out nothing more, or go on; this is remembered."""

        async def mark(state: ConsumerState) -> Sequence[Change]:
            return [replace(state, paused=paused)]

        if (consumer := await self._change(name, mark)) is not None:
            await consumer.pause(paused=paused)

    async def forget(self, name: str) -> None:
        """Forget a consumer that is not active, and its dead letters."""

        async def forgotten(_: ConsumerState) -> Sequence[Change]:
            return [Forgotten(name)]

        if await self._change(name, forgotten) is not None:
            raise ConsumerInUseError(name)

    # ----------------------------------------------------------------------------------------------------- dead letters

    async def letters(self, wanted: ParkedFilter) -> Sequence[ParkedEvent]:
        """Those that are wanted, in the order of their numbers; what was parked before the call is among them."""
        for consumer in self.active:
            if consumer.has_unstored_letters:
                with suppress(StoreFullError):  # then those that are stored can still be read
                    await consumer.saved()
        return await ask(self._store.dead_letters(wanted))

    async def retry(self, consumer: Consumer, wanted: ParkedFilter) -> tuple[int, int]:
        """Hand them out once more; how many are done, and how many failed again."""
        async with aclosing(pages(self.letters, wanted)) as found:
            return await consumer.try_again(found)

    async def discard(self, name: str, wanted: ParkedFilter) -> int:
        """Remove them; how many there were.

        Raises:
            UnknownConsumerError: there was none, and nobody knows the consumer of whom they should be.
        """
        removed = 0
        async with aclosing(pages(self.letters, wanted)) as found:
            while (count := await self._discard_next(name, found)) is not None:
                removed += count
        if not removed and self.find(name) is None:
            await self._state(name)
        return removed

    async def _discard_next(self, name: str, found: AsyncIterator[Sequence[ParkedEvent]]) -> int | None:
        while True:
            async with self._turn(name):
                consumer = self.find(name)
                if consumer is None:
                    if (page := await anext(found, None)) is None:
                        return None
                    await self._saving.store([Released([letter.number for letter in page])])
                    return len(page)
                if consumer.has_settled_in:
                    return await consumer.discard(found)
            await consumer.settled_in()


class _Shared(Generic[T]):
    """What is asked for once, by whoever comes first; cancelling one of those who wait harms no other.

    Args:
        make: asks for it.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._asking: asyncio.Task[T] | None = None

    async def value(self) -> T:
        """What was answered; asked again where that raised."""
        if self._asking is None or (self._asking.done() and (self._asking.cancelled() or self._asking.exception())):
            self._asking = asyncio.create_task(self._make(), name="asyncbus look up consumers")
        return await asyncio.shield(self._asking)
