"""What the tests of consumers share: a handler that fails and waits to order, and what is read of dead letters."""

import asyncio
from collections.abc import Collection, Iterable

from asyncbus import DeadLetter, Event, EventBus, Retry

ONCE = Retry(attempts=1)
AT_ONCE = Retry(attempts=3, backoff=0)


class Handling:
    """A handler.

    Attributes:
        got: the sequences it was called with.
        done: those it has returned from.
        failing: for these it raises `error`.
        gate: it waits while this is cleared.
    """

    def __init__(self, failing: Collection[int] = (), error: Exception | None = None) -> None:
        self.got: list[int] = []
        self.done: list[int] = []
        self.failing = set(failing)
        self.error = ValueError("no such block") if error is None else error
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, event: Event) -> None:
        self.got.append(event.sequence)
        await self.gate.wait()
        if event.sequence in self.failing:
            raise self.error.with_traceback(None)  # or each raise would lengthen it
        self.done.append(event.sequence)


async def publish(bus: EventBus, count: int, type: str = "a") -> int:
    """So many events in one batch; the sequence of the last one."""
    receipts = await bus.publish_many([(type, number) for number in range(1, count + 1)])
    return receipts[-1].sequence


async def settled(bus: EventBus, name: str = "one") -> None:
    """Wait until a consumer owes nothing."""
    await bus.wait_processed(name, await bus.latest_sequence())


def parked(letters: Iterable[DeadLetter]) -> list[int]:
    """The sequences of the events."""
    return [letter.event.sequence for letter in letters]


async def parked_events(bus: EventBus, count: int, name: str = "one") -> Handling:
    """A consumer all of whose events were parked; the handler, which fails no more."""
    handling = Handling(failing=range(1, count + 1))
    bus.consume(name, "a", handling.handle, retry=ONCE)
    await publish(bus, count)
    await settled(bus, name)
    assert parked(await bus.dead_letters(name)) == list(range(1, count + 1))
    handling.failing.clear()
    handling.got.clear()
    return handling
