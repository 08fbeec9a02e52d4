"""A log with consumers and dead letters, as the tests of `SQLiteStore` want it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncbus.store.consumers import ConsumerState, Failure, Owed, ParkedEvent, ParkedFilter
from asyncbus.testing import record
from tests.store.files import opened

EVENTS = 9
BAD = 5
ALL_LETTERS = ParkedFilter()


def state(name: str = "one", **fields: Any) -> ConsumerState:
    return ConsumerState(name=name, pattern="*", **fields)


def parked(event: Any, consumer: str = "one", error: str = "E", **fields: Any) -> ParkedEvent:
    failures = (Failure(attempt=1, error=error),)
    return ParkedEvent(consumer=consumer, record=event, attempts=1, failures=failures, parked_at=7, **fields)


async def parked_log(path: Path, data: Any = None) -> None:
    """A log with two consumers, whose nine events were all parked by one of them; the fifth has all it can have."""
    async with opened(path) as store:
        bad = record("a.bad", {"needle": "x" * 20} if data is None else data, id="id", key="key", metadata={"m": 1})
        events = [bad if number == BAD else record("a.b", number) for number in range(1, EVENTS + 1)]
        await store.append(events)
        letters = [parked(event) for event in events]
        await store.commit([], [state("one", owed={3: Owed(1)}, settled_to=4, begun_to=5), state("two"), *letters])


def numbers(letters: Sequence[ParkedEvent]) -> list[int]:
    return [letter.number for letter in letters]
