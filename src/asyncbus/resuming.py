"""How a consumer takes its name, and goes on where the last holder of it was."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from asyncbus.consumer_options import Wanted
from asyncbus.errors import CheckpointAheadError, ConsumerPatternError, EventsLostError
from asyncbus.feeding import Feeding
from asyncbus.fencing import Fencing
from asyncbus.filters import EventFilter
from asyncbus.history import ask
from asyncbus.ledger import Held, Ledger
from asyncbus.options import Start
from asyncbus.store.consumers import ConsumerState, Owed
from asyncbus.surroundings import Surroundings


class Resuming(Feeding):
    """Begins where the stored state says, or the database of the effects."""

    def __init__(self, wanted: Wanted, surroundings: Surroundings) -> None:
        super().__init__(wanted, surroundings)
        self._start: Start = wanted.options.start
        # What was asked for before it had its name, if something was.
        self._is_told_to_pause: bool | None = None
        self._fencing: Fencing | None = None
        if wanted.options.effects is not None:
            effects, store = wanted.options.effects, surroundings.store
            self._fencing = Fencing(wanted.name, wanted.pattern, effects, store, surroundings.clock)

    async def _take_name(self) -> None:
        """Find where to go on, and have it stored that the name is taken.

        Raises:
            ConsumerPatternError, CheckpointAheadError, EventsLostError, EffectsError, StoreError
        """
        state, self._parking.count = await self._around.taken(self.name)
        place_before_start = partial(self._around.history.place_before, self._start)
        is_new = state is None
        if state is None:
            before = await place_before_start()
            now = self._around.clock.now()
            text = str(self.pattern)
            state = ConsumerState(
                name=self.name,
                pattern=text,
                epoch=0,
                checkpoint=before,
                settled_to=before,
                begun_to=before,
                created_at=now,
            )
        if state.pattern != str(self.pattern):
            raise ConsumerPatternError(self.name, state.pattern, str(self.pattern))
        if self._fencing is not None:
            start = None if is_new or state.sought else place_before_start
            state = await self._fencing.agree(state, start)
            self._parked = self._fencing.parked
        self._check_place(state.checkpoint)
        await self._take_over(state)

    def _check_place(self, checkpoint: int) -> None:
        history = self._around.history
        if checkpoint > history.head:
            raise CheckpointAheadError(self.name, checkpoint, history.head)
        if checkpoint < history.floor:
            raise EventsLostError(checkpoint + 1, history.floor, consumer=self.name)

    async def _take_over(self, state: ConsumerState) -> None:
        """Owe what the last holder owed; what was in flight when its process ended comes again alone."""
        was_unclean = self._was_unclean = state.active_since > 0
        if self._is_told_to_pause is None:
            self.is_paused = state.paused
        self.redelivered = state.redelivered
        self.last_error = state.last_error
        self._stored = replace(
            state, epoch=state.epoch + 1, active_since=self._around.clock.now(), sought=False, alone=0
        )
        self._alone = state.alone
        self._ledger = Ledger(state)
        for sequence, owed in self._ledger.owed():
            await self._read_back(sequence, owed, was_unclean=was_unclean)
        self._feed_from(state.settled_to)
        self._is_active = True
        self._around.saving.add(self)
        await self._store_begun()
        self._is_settled_in.set()

    async def _read_back(self, sequence: int, owed: Owed, *, was_unclean: bool) -> None:
        wanted = EventFilter(pattern=self.pattern, start_sequence=sequence, stop_sequence=sequence + 1, limit=1)
        found = await ask(self._around.store.query(wanted))
        if not found:
            raise EventsLostError(sequence, max(sequence, self._around.history.floor), consumer=self.name)
        held = Held(found[0], owed.attempts, owed.due, lane=self._lanes.of(found[0]))
        self._ledger.read(held)
        if owed.due:
            if self._lanes.enter(held):  # the last holder of the name may have had another order
                # It is at least as late as when the event was recorded, wherever the clock was put since.
                now = max(self._around.clock.now(), held.record.recorded_at)
                self._wait(held, max(owed.due - now, 0) / 1e6)
            return
        is_last = owed.attempts >= self.options.retry.attempts
        if is_last and was_unclean and sequence == self._alone:
            self.exhaust(held, f"the process ended during attempt {owed.attempts}, when this event alone was in flight")
        else:
            if was_unclean and owed.attempts:
                self._suspect(held)
            if self._lanes.enter(held):
                self._again.append(held)
