"""How the contract gets at a store that keeps consumers, and makes and shows what it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from asyncbus.events import Record
from asyncbus.store.base import EventStore
from asyncbus.store.consumers import ConsumerState, ConsumerStore, Failure, ParkedEvent, ParkedFilter
from asyncbus.testing.logs import Logs
from asyncbus.testing.records import MOMENT, content

AWKWARD: Final = 'it\'s "quoted"; DROP TABLE consumers; -- 漢字 🐍 \\u0000 %_*?[a]{0}'
"""A name."""

TOLD: Final = f"{AWKWARD}\0 NUL,\nline feed, \x7f, line separator \u2028"
"""What an error may say."""

LARGEST: Final = 2**63 - 1

EVERY_LETTER: Final = ParkedFilter()


def state(name: str, checkpoint: int = 0, **fields: Any) -> ConsumerState:
    """A consumer that has done all up to its checkpoint."""
    return ConsumerState(
        name=name, pattern="*", **{"checkpoint": checkpoint, "settled_to": checkpoint, "begun_to": checkpoint} | fields
    )


def parked(consumer: str, event: Record, *errors: str, number: int = 0, parked_at: int = MOMENT) -> ParkedEvent:
    """An event that a consumer could not handle, for these reasons."""
    failures = tuple(
        Failure(attempt=attempt, error=error, traceback=f"Traceback …\n{error}", at=MOMENT + attempt)
        for attempt, error in enumerate(errors or ("ValueError: no",), 1)
    )
    kept = msgspec.structs.replace(event)
    return ParkedEvent(
        consumer=consumer,
        record=kept,
        attempts=len(failures),
        failures=failures,
        parked_at=parked_at,
        number=number,
    )


def shown(letters: Sequence[ParkedEvent], *, numbers: bool = True) -> list[tuple[Any, ...]]:
    """What of dead letters must come back."""
    return [
        (
            letter.number if numbers else 0,
            letter.consumer,
            content(letter.record),
            letter.record.data.__class__,
            letter.attempts,
            letter.failures,
            letter.parked_at,
        )
        for letter in letters
    ]


def parking(letters: Sequence[ParkedEvent]) -> list[tuple[str, int]]:
    """Whose they are, and which events."""
    return [(letter.consumer, letter.record.sequence) for letter in letters]


def consumer_store(store: EventStore) -> ConsumerStore:
    """The store, if it has the methods of one that keeps consumers."""
    if not isinstance(store, ConsumerStore):
        raise AssertionError("expected the methods of a ConsumerStore of one whose features declare consumers")  # noqa: TRY004  # it is a test that fails
    return store


class KeptLogs(Logs):
    """The stores of one test that keep consumers."""

    @asynccontextmanager
    async def keeping(self, log: str = "log") -> AsyncIterator[ConsumerStore]:
        """An open store that keeps consumers; skips the test where it does not."""
        self.needs("consumers", log)
        async with self.opened(log) as store:
            yield consumer_store(store)
