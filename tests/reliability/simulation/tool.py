"""Thousands of seeded scenes on a loop of our own: any order of what is ready, and a cancellation at any await."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import Any, Final

from msgspec import Struct

from asyncbus import EventBus, MemoryStore
from tests.reliability.simulation import checks, consumers
from tests.reliability.simulation.cancelling import Cancelling, Place, awaits
from tests.reliability.simulation.consumers import administer, consume, hold, take
from tests.reliability.simulation.disk import Faults, Lane, Ledger, Row, SimulatedStore
from tests.reliability.simulation.file import File
from tests.reliability.simulation.loop import SimulatedLoop
from tests.reliability.simulation.publishers import TYPES, clear, close, drain, flush, publish
from tests.reliability.simulation.readers import handle, iterate, look_back, query, replay, unsubscribe, wait_for
from tests.reliability.simulation.world import VirtualClock, World
from tests.reliability.trials import MEMORY, Figures, Tool, Violation, quiet

_ACTORS: Final = (
    *("publisher",) * 6,
    *("reader", "asyncbus handler", "consumer", "asyncbus consumer") * 2,
    *("host", "clear", "flush", "drain", "close", "replay", "wait for", "query", "look back", "unsubscribe"),
    *("taker", "holder", "administer"),
)
"""Who may be cancelled, as tasks are in any program."""

_BUS: Final = (
    *("asyncbus writer", "asyncbus wait for", "asyncbus close", "asyncbus open", "asyncbus undo"),
    *("asyncbus end consumers", "asyncbus look up consumers"),
)
"""What a bus runs for itself, and nobody but a loop that is shut down cancels."""

_LOOKING: Final = ((replay, "replay"), (query, "query"), (look_back, "look back"))

PLACES: Final = tuple(awaits())


class Played(Struct):
    """What a scene has counted, and where in the library a task was cancelled."""

    figures: Figures
    cancelled_at: set[Place]


def play(seed: int, aim: Place | None = None, folder: Path | None = None) -> Played:
    """Play the scene of a seed, and compare what everybody was told with what was durable.

    Args:
        seed: it all follows from it.
        aim: where a task is to be cancelled, if one waits there.
        folder: for the log, where the scene has one in a file; None: all are in memory.

    Raises:
        Violation: a promise was broken.
    """
    with quiet(), _without_collections():
        played, problems, unhandled = _play(_Scene(seed, aim, folder))
        # What nobody looked at says so when it is freed. Here nobody holds the scene any more, and all of it is young:
        # what a collection finds in use is old from then on, and would stay for as long as the process lives.
        gc.collect(0)
    problems += unhandled
    if problems:
        raise Violation("; ".join(dict.fromkeys(problems)))
    return played


def _play(scene: _Scene) -> tuple[Played, list[str], list[str]]:
    """What a scene has counted, what is wrong with it, and what nobody caught; to the last its end may add more."""
    with scene.store.on_lanes(scene.loop, scene.random) if isinstance(scene.store, File) else nullcontext():
        problems = scene.loop.run(scene.play())
    played = Played(scene.figures(), {place for each in scene.cancelling for place in each.places})
    return played, problems, scene.loop.unhandled


def trial(seed: int, folder: Path) -> Figures:
    """One scene."""
    return play(seed, folder=folder).figures


@contextmanager
def _without_collections() -> Iterator[None]:
    """Without a collection of garbage that no seed knows of."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Scene:
    """The world, its actors, and what befalls them."""

    def __init__(self, seed: int, aim: Place | None, folder: Path | None) -> None:
        random = self.random = Random(seed)
        # No sockets, signals and processes: what it lacks nobody here asks for.
        self.loop = SimulatedLoop(random, in_order=random.random() < 0.25)  # type: ignore[abstract]
        self.ledger = Ledger()
        removes = random.random() < 0.3
        in_file = random.random() < 0.1
        self.faults = Faults(random, random.choice((0, 0, 0, 0.1, 0.3)))
        batch_limit = random.choice((1, 2, 8, 4096))
        self.store: File | SimulatedStore = (
            File(folder / "events.db", self.ledger, self.faults, batch_limit)
            if in_file and folder is not None
            else self._in_memory(batch_limit, bounded=removes and random.random() < 0.5)
        )
        bus = EventBus(
            self.store,
            inbox_capacity=random.choice((4, 5, 8, 64)),
            recent_capacity=random.choice((1, 8)),
            close_timeout=0.1,
            clock=VirtualClock(self.loop, random),
        )
        self.world = World(self.loop, random, bus, self.ledger, removes=removes)
        names = self.world.names
        self.ledger.is_settled = lambda name, row: (
            name not in names
            or names[name].sought
            or names[name].discarded
            or row.sequence in names[name].done
            or not names[name].wants(row.type)
        )
        self.ledger.expected = self._expected
        self.ledger.taken = lambda: [submission.data for submission in bus._inbox._in_flight.submissions]
        self.cancelling = (
            self._cancelling(aim or random.choice(PLACES), random.choice((1, 1, 2, 5)))
            if aim or random.random() < 0.6
            else self._cancelling("", random.randrange(1, 150))
            if random.random() < 0.2
            else self._cancelling(random.choice(_BUS), random.randrange(10)),
            *(self._cancelling(random.choice(_ACTORS), random.randrange(16)) for _ in range(random.randrange(4))),
        )
        self.loop.steps = self.cancelling
        self._actors: list[asyncio.Task[None]] = []

    def _in_memory(self, batch_limit: int, *, bounded: bool) -> SimulatedStore:
        random = self.random
        inner = MemoryStore(max_events=random.randrange(2, 8) if bounded else None)
        lanes = (Lane(self.loop, random), Lane(self.loop, random))
        store = SimulatedStore(inner, self.ledger, lanes, self.faults, batch_limit)
        store.keeps_consumers = random.random() < 0.9
        store.remember([random.choice(TYPES) for _ in range(random.choice((0, 0, 3, 20)))])
        return store

    def _expected(self, row: Row) -> int | None:
        return next((each.expected for each in self.world.attempts if f'"{each.payloads[0]}"' == row.data), None)

    def _cancelling(self, victim: str | Place, nth: int) -> Cancelling:
        return Cancelling(victim, nth, late=self.random.random() < 0.5, tasks=self.loop.tasks)

    @property
    def struck(self) -> list[asyncio.Task[Any]]:
        """What was cancelled."""
        return [task for each in self.cancelling for task in each.struck]

    async def play(self) -> list[str]:
        """What was found."""
        world, random = self.world, self.random
        host = self._start(world.host(random.choice(("leave", "leave", "close", "early", "by an error"))), "host")
        # Also where it was cancelled before it has begun.
        host.add_done_callback(lambda _: world.opened.set())
        actors = [self._start(publish(world, name), name) for name in self._names("publisher", 1, 4)]
        for name in self._names("reader", 0, 3):
            self._start(iterate(world, name), name)
        actors += [self._start(handle(world, name), name) for name in self._names("handler", 0, 3)]
        actors += [self._start(kind(world, name), name) for kind, name in _LOOKING if random.random() < 0.3]
        if random.random() < 0.3:
            self._start(wait_for(world, "wait for"), "wait for")
        actors += self._start_consumers()
        others = (flush, drain, unsubscribe, *((clear,) if world.removes else ()))
        actors += [self._start(other(world), other.__name__) for other in others if random.random() < 0.4]
        if random.random() < 0.1:
            self._start(close(world), "close")
        await self.loop.idle()
        found = [] if world.closing or host.done() else list(checks.while_quiet(world, actors, harmed=self.harmed))
        if not (world.closing or host.done() or self.harmed or self.struck or world.removes or self.faults.full):
            found += consumers.while_quiet(world)
        if found:
            raise Violation("; ".join(found) + "\n" + self.loop.waiting())
        world.leaving.set()
        await self.loop.idle()
        found = [*self._left(), *checks.after(world, harmed=self.harmed, faults=self.faults), *consumers.after(world)]
        if self.store.features.consumers and not (found or self.harmed or self.struck or world.removes):
            found = await self._again()
        return found

    def _start_consumers(self) -> Iterator[asyncio.Task[None]]:
        """Those who consume; gives the ones that end by themselves."""
        world, random = self.world, self.random
        for name in self._names("consumer", 0, 2):
            yield self._start(consume(world, name), name)
        if random.random() < 0.4:
            self._start(take(world, "taker 0"), "taker 0")
        if random.random() < 0.4:
            yield self._start(hold(world, "holder 0"), "holder 0")
        if random.random() < 0.5:
            yield self._start(administer(world), "administer")

    async def _again(self) -> list[str]:
        """What is found when the log is opened once more."""
        self.faults.end()
        self.loop.steps = ()
        clock = VirtualClock(self.loop, self.random)
        async with EventBus(self.store, close_timeout=0.1, clock=clock) as bus:
            return await consumers.live_again(self.world, bus)

    def _names(self, kind: str, least: int, most: int) -> list[str]:
        return [f"{kind} {number}" for number in range(self.random.randint(least, most))]

    def _start(self, acting: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.loop.create_task(acting, name=name)
        self._actors.append(task)
        return task

    @property
    def harmed(self) -> bool:
        """Whether the store has failed, or one of the bus's own tasks was cancelled."""
        return self.faults.failed or any(task.get_name().startswith(_BUS) for task in self.struck)

    def _left(self) -> Iterator[str]:
        """Tasks that have not ended, or not as they should have."""
        unclosed = any(task.get_name() == "asyncbus close" for task in self.struck)
        for task in self.loop.tasks:
            name = task.get_name()
            if name == "main":
                continue
            if not task.done():
                if not unclosed:  # a close that was itself cancelled ends no handler that is at work
                    yield f"{name} is left: {self.loop.waiting()}"
            elif task in self.struck and not task.cancelled():
                yield f"{name} was cancelled, and swallowed it"
            elif task in self._actors and task.cancelled() and not (task in self.struck or self.harmed):
                yield f"{name} was not cancelled, but raised it"
            elif not (task.cancelled() or _may_raise(name) or task.exception() is None):
                yield f"{name} raised {task.exception()!r}"
        if self.store.opened:
            yield "the store was not closed"

    def figures(self) -> Figures:
        """What is worth to be counted."""
        outcomes = Counter(attempt.outcome for attempt in self.world.attempts)
        return Counter(
            {
                "seeds": 1,
                "of them with a file": int(isinstance(self.store, File)),
                "cancelled": len(self.struck),
                "stored": self.ledger.head,
                "delivered": sum(len(reader.got) for reader in self.world.readers),
                "consumed": sum(len(named.done) for named in self.world.names.values()),
                "dead letters": len(self.ledger.parked),
                "outcomes unknown": outcomes["unknown"],
                "turns": self.loop.turns,
            }
        )


def _may_raise(name: str) -> bool:
    """Whether a task has somebody who looks at what it raises: who waits for it, or judges a handler."""
    return name.startswith(("asyncbus wait for", "asyncbus look up")) or name.endswith(" handler")


TOOL = Tool(
    name="simulation",
    promise="Whatever goes on first and wherever a task is cancelled, everybody is told the truth, once and in order",
    unit="seeds",
    short=2_000,
    long=200_000,
    trial=trial,
    folder=MEMORY,
)
