"""The main act: the machine in a worker thread, the bus in the middle, the subscribers behind it."""

import time
from dataclasses import dataclass

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import TaskGroup

from asyncbus import BusStatistics, EventBus
from examples.emulator.display import Display, Frame, SubscriberLine
from examples.emulator.machine import Machine
from examples.emulator.subscribers import Latecomer, Optimizer, Pager, Slowpoke, Team

SLICES = 64  # so often is the guest interrupted, whatever its limit
FRAME_SECONDS = 0.1
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Rehearsal:
    """The same machine without a bus: how many blocks there will be, and how long the emulator alone takes."""

    blocks: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one run, and what was seen on the way."""

    limit: int
    primes: int
    machine: Machine
    rehearsal: Rehearsal
    team: Team
    joined_at: int
    at_halt: dict[str, SubscriberLine]
    publishing_seconds: float
    catching_up_seconds: float
    statistics: BusStatistics


async def run(bus: EventBus, display: Display, *, limit: int) -> Outcome:
    """Run the sieve up to `limit` on a fresh bus; ends when all subscribers have all, or have not after a minute."""
    display.say(f"Rehearsal: the sieve up to {limit:,} on the Unicorn engine, without a bus …")
    rehearsal = await anyio.to_thread.run_sync(_rehearse, limit)
    machine = Machine(bus.publish_from_thread, limit=limit, slice_blocks=max(1, rehearsal.blocks // SLICES))
    view = _View(bus, machine, rehearsal)
    team = Team(Optimizer(), Pager(), Latecomer(), Slowpoke(view.seconds_until))
    for listener in (team.optimizer, team.pager, team.slowpoke):
        listener.subscription = bus.subscribe(listener.pattern, listener.handle, capacity=listener.capacity)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(view.keep_showing, display, team)
        door = _HalfWayDoor(bus, machine, rehearsal.blocks // 2, team.latecomer, tasks)
        # Left to itself when this task is cancelled: the bus closes then, and the machine's next publish ends it.
        primes = await anyio.to_thread.run_sync(machine.run, door.on_slice, abandon_on_cancel=True)
        await bus.flush()
        publishing_seconds = view.elapsed()
        at_halt = view.lines(team)
        team.slowpoke.set_free()
        with anyio.move_on_after(PATIENCE_SECONDS):
            await bus.drain()
            await team.latecomer.finished.wait()
        catching_up_seconds = view.elapsed() - publishing_seconds
        tasks.cancel_scope.cancel()
    display.show(view.frame(team))

    return Outcome(
        limit=limit,
        primes=primes,
        machine=machine,
        rehearsal=rehearsal,
        team=team,
        joined_at=door.joined_at,
        at_halt={line.name: line for line in at_halt},
        publishing_seconds=publishing_seconds,
        catching_up_seconds=catching_up_seconds,
        statistics=bus.statistics(),
    )


def _rehearse(limit: int) -> Rehearsal:
    started = time.perf_counter()
    machine = Machine(lambda _event: None, limit=limit)
    machine.run()
    return Rehearsal(machine.blocks, time.perf_counter() - started)


class _HalfWayDoor:
    """Lets the latecomer in as soon as the machine, between two slices, has done half of its blocks.

    The machine waits at the door, on its own thread, so that a short run cannot be over before the latecomer is in.
    """

    def __init__(self, bus: EventBus, machine: Machine, half: int, latecomer: Latecomer, tasks: TaskGroup) -> None:
        self.joined_at = 0
        self._bus = bus
        self._machine = machine
        self._half = half
        self._latecomer = latecomer
        self._tasks = tasks

    def on_slice(self) -> None:
        if not self.joined_at and self._machine.blocks >= self._half:
            self.joined_at = self._machine.blocks
            anyio.from_thread.run_sync(self._let_in)

    def _let_in(self) -> None:
        subscription = self._bus.subscribe(self._latecomer.pattern, start="earliest")
        self._latecomer.subscription = subscription
        self._tasks.start_soon(self._latecomer.read, subscription)


class _View:
    """Looks at the bus, the machine and the team, and keeps showing what it sees."""

    def __init__(self, bus: EventBus, machine: Machine, rehearsal: Rehearsal) -> None:
        self._bus = bus
        self._machine = machine
        self._rehearsal = rehearsal
        self._started = time.perf_counter()

    def elapsed(self) -> float:
        return time.perf_counter() - self._started

    def seconds_until(self, blocks: int) -> float:
        """How long until the machine has executed so many blocks, at its pace so far."""
        done = self._machine.blocks
        return max(0.0, blocks - done) * self.elapsed() / max(1, done)

    def lines(self, team: Team) -> list[SubscriberLine]:
        return [
            SubscriberLine(member.name, member.pattern, member.phase, member.backlog, len(member.sequences))
            for member in team
        ]

    def frame(self, team: Team) -> Frame:
        statistics = self._bus.statistics()
        return Frame(
            elapsed=self.elapsed(),
            blocks=self._machine.blocks,
            expected_blocks=self._rehearsal.blocks,
            stored=statistics.stored,
            waiting=statistics.inbox_depth,
            subscribers=self.lines(team),
        )

    async def keep_showing(self, display: Display, team: Team) -> None:
        while True:
            display.show(self.frame(team))
            await anyio.sleep(FRAME_SECONDS)
