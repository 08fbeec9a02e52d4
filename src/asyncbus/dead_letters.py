"""Dead letters as users see them, and page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from asyncbus.decoding import PLAIN
from asyncbus.events import Event, from_microseconds
from asyncbus.history import ask
from asyncbus.store.consumers import ConsumerStore, ParkedEvent, ParkedFilter

_PAGE: Final = 256
"""Dead letters that are read, and handed out, at once."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt that failed.

    Attributes:
        attempt: which, from 1 on.
        error: the exception's class and message, or the reason that was given.
        traceback: as Python prints it; "" where there is none.
        time: when it failed.
    """

    attempt: int
    error: str
    traceback: str
    time: datetime


class DeadLetter(Struct, frozen=True, kw_only=True):
    """An event that a consumer has given up.

    Attributes:
        number: its place among the dead letters of a log, ascending; `after=` goes by it.
        event: the event, also where the log has it no more.
        consumer: the name of the consumer.
        attempts: how often its handler has had the event.
        error: why it was parked.
        traceback: of the last attempt; "" where there is none.
        time: when it was parked.
        history: the attempts that failed, the oldest first; of many, the last 20.
    """

    number: int
    event: Event
    consumer: str
    attempts: int
    error: str
    traceback: str
    time: datetime
    history: tuple[Attempt, ...]

    @classmethod
    def of(cls, parked: ParkedEvent) -> Self:
        """What a store keeps, for users."""
        history = tuple(
            Attempt(
                attempt=failure.attempt,
                error=failure.error,
                traceback=failure.traceback,
                time=from_microseconds(failure.at),
            )
            for failure in parked.failures
        )
        return cls(
            number=parked.number,
            event=PLAIN.event(parked.record),
            consumer=parked.consumer,
            attempts=parked.attempts,
            error=history[-1].error if history else "",
            traceback=history[-1].traceback if history else "",
            time=from_microseconds(parked.parked_at),
            history=history,
        )


class RetriedLetters(Struct, frozen=True):
    """What came of `retry_dead_letters`: how many are done, and how many are dead letters as before.

    What a `seek` meanwhile lets come again as any event is neither.
    """

    done: int = 0
    failed: int = 0


async def pages(
    read: Callable[[ParkedFilter], Awaitable[Sequence[ParkedEvent]]], wanted: ParkedFilter
) -> AsyncGenerator[Sequence[ParkedEvent], None]:
    """All dead letters that are wanted, each once, ascending by number: what is parked again keeps its own.

    Args:
        read: gives those that a filter wants.
        wanted: which; each page is read when it is asked for.
    """
    after, remaining = wanted.after, wanted.limit
    while remaining is None or remaining > 0:
        size = _PAGE if remaining is None else min(_PAGE, remaining)
        page = await read(replace(wanted, after=after, limit=size))
        if page:
            yield page
        if len(page) < size:
            return
        after = page[-1].number
        remaining = None if remaining is None else remaining - size


async def numbers_of(store: ConsumerStore, wanted: ParkedFilter) -> Sequence[int]:
    """The numbers of the dead letters that are wanted, ascending."""
    found = pages(lambda page: ask(store.dead_letters(page)), wanted)
    return [letter.number async for page in found for letter in page]
