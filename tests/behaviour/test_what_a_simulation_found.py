"""Rare orders of events that seeded scenes have met, each told by itself (tests/reliability/simulation.py)."""

from collections.abc import Sequence

import pytest

from asyncbus import Appended, EventBus, MemoryStore, PublishOutcomeUnknownError, Record, StoreFailedError


class AnswerLostStore(MemoryStore):
    """Stores what it is given, numbers it, and then fails."""

    async def append(self, records: Sequence[Record]) -> Appended:
        await super().append(records)
        raise StoreFailedError("an I/O error after all was written", outcome_unknown=True)


@pytest.mark.asyncio
async def test_a_store_that_numbers_an_event_and_then_fails_has_not_acknowledged_it() -> None:
    async with EventBus(AnswerLostStore()) as bus:
        with pytest.raises(PublishOutcomeUnknownError):
            await bus.publish("a")
