"""What takes dead letters out again: they are tried once more, discarded, or owed as all others after a `seek`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from asyncbus.consumer_options import Wanted
from asyncbus.dead_letters import numbers_of
from asyncbus.errors import ConsumerClosedError, WouldDeadlockError
from asyncbus.futures import fail, resolve
from asyncbus.ledger import Held
from asyncbus.living import Living
from asyncbus.store.consumers import ParkedEvent, ParkedFilter, Released
from asyncbus.surroundings import Surroundings


class Unparking(Living):
    """Decides what becomes of dead letters, by those that were read and by what became of them meanwhile."""

    def __init__(self, wanted: Wanted, surroundings: Surroundings) -> None:
        super().__init__(wanted, surroundings)
        # What is being tried again; the outcome is None for what is no dead letter any more, for its event comes again.
        self._tried_again: dict[Held, asyncio.Future[bool | None]] = {}
        self._handing_out_letters = asyncio.Lock()

    # ------------------------------------------------------------------------------------------------- reading them

    async def _next_page(self, pages: AsyncIterator[Sequence[ParkedEvent]]) -> list[ParkedEvent] | None:
        """What is a dead letter still when it was read; None: there is no further page."""
        with self._parking.meanwhile() as meanwhile:
            if self.has_unstored_letters:
                await self.saved()
            page = await anext(pages, None)
        return None if page is None else [letter for letter in page if letter.number not in meanwhile.removed]

    async def _letters_after(self, before: int) -> Sequence[int]:
        """The numbers of all whose events come after a sequence."""
        if self.has_unstored_letters:
            await self._store_begun()
        return await numbers_of(self._around.store, ParkedFilter(consumer=self.name, start_sequence=before + 1))

    # ------------------------------------------------------------------------------------------- trying them again

    async def try_again(self, pages: AsyncIterator[Sequence[ParkedEvent]]) -> tuple[int, int]:
        """Hand dead letters out once more, each once, and wait for their outcomes.

        What is parked meanwhile is left alone, and so is what another call has handed out.

        Args:
            pages: gives them, read when they are asked for.

        Returns:
            How many are done, and how many failed again.

        Raises:
            ConsumerClosedError: it was closed before; what was not done is a dead letter as before.
            WouldDeadlockError: one of its handlers calls it.
        """
        self._refuse_handlers("retry_dead_letters")
        done = failed = 0
        with self._parking.meanwhile() as meanwhile:
            while (tried := await self._hand_out_next(pages, meanwhile.parked)) is not None:
                outcomes = await asyncio.gather(*tried)
                done += outcomes.count(True)
                failed += outcomes.count(False)
            await self.saved()
        return done, failed

    def _refuse_handlers(self, call: str) -> None:
        task = asyncio.current_task()
        if task in self._workers or task in self._limited:
            raise WouldDeadlockError(f"a handler of consumer {self.name!r} cannot wait for itself: {call} from outside")

    async def _hand_out_next(
        self, pages: AsyncIterator[Sequence[ParkedEvent]], since: Collection[int]
    ) -> Sequence[asyncio.Future[bool | None]] | None:
        # One call at a time: what it finds is not in flight, and it has not failed again since it was read.
        async with self._handing_out_letters:
            busy = self._numbers_tried_again()
            letters = await self._next_page(pages)
            if letters is None:
                return None
            if not self.is_open:
                raise ConsumerClosedError(self.name)
            return [
                self._hand_out(letter)
                for letter in letters
                if letter.number not in busy and letter.record.sequence not in since
            ]

    def _hand_out(self, letter: ParkedEvent) -> asyncio.Future[bool | None]:
        lane = self._lanes.of(letter.record)
        held = Held(letter.record, letter.attempts, parked=letter, failures=letter.failures, lane=lane)
        outcome = self._tried_again[held] = asyncio.get_running_loop().create_future()
        self._again.append(held)
        self._nudge()
        return outcome

    def _numbers_tried_again(self) -> set[int]:
        return {held.parked.number for held in self._tried_again if held.parked is not None}

    def _settled(self, held: Held, *, is_done: bool) -> None:
        super()._settled(held, is_done=is_done)
        tried = self._tried_again.pop(held, None) if self._tried_again else None
        if tried is not None:
            resolve(tried, is_done)

    def _stop_trying(self, before: int) -> None:
        """What was read is forgotten; what comes after `before` is no dead letter any more."""
        self._take_back_letters()
        for held, tried in self._tried_again.items():
            resolve(tried, None if held.record.sequence > before else False)
        self._tried_again.clear()

    async def _rest(self) -> None:
        self._take_back_letters()
        await super()._rest()

    def _take_back_letters(self) -> None:
        """What was begun and is not in flight was never handed out."""
        for held in self._tried_again:
            if held.is_begun and held not in self.in_flight:
                self._take_back(held)

    def _release_name(self) -> None:
        super()._release_name()
        for tried in self._tried_again.values():
            fail(tried, self._gone())

    # ---------------------------------------------------------------------------------------------- discarding them

    @property
    def has_settled_in(self) -> bool:
        """Whether it has its name, or has found that it never will."""
        return self._is_settled_in.is_set()

    async def settled_in(self) -> None:
        """Wait until it has its name, or never will."""
        await self._is_settled_in.wait()

    async def discard(self, pages: AsyncIterator[Sequence[ParkedEvent]]) -> int | None:
        """Remove a page of them, whatever comes of those that are being tried again.

        Once they are read, cancelling this does not keep them, nor does a full disk: they go with a later commit.

        Args:
            pages: gives them, the next ones when they are asked for.

        Returns:
            How many are no more; None: there is no further page.
        """
        letters = await self._next_page(pages)
        if letters is None:
            return None
        numbers = [letter.number for letter in letters]
        if self._is_active and not self._is_resting:
            self._parking.discard(numbers, self._numbers_tried_again())
            await self.saved()
        else:  # nothing more of its own is stored
            await self._around.saving.store([Released(numbers)])
        return len(numbers)
