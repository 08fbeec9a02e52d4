"""The four subscribers, and the ledger in which each keeps what it received.

They come early (`Optimizer`, `Pager`), half-way through (`Latecomer`) and slow (`Slowpoke`). What has to hold is the
same for all: every event of their pattern once, in the order of the log.
"""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from asyncbus import Event, Subscription
from examples.emulator.events.execution import BlockExecuted
from examples.emulator.events.vm_lifecycle import Destroyed


class Subscriber:
    """Somebody who reads events of `pattern` and keeps book of them."""

    name: str
    pattern: str
    capacity = 1024

    def __init__(self) -> None:
        self.subscription: Subscription | None = None
        self.delivered: Counter[str] = Counter()
        self.sequences = array("q")

    @property
    def phase(self) -> str:
        return self.subscription.phase if self.subscription else "not yet"

    @property
    def backlog(self) -> int:
        return self.subscription.backlog if self.subscription else 0

    def record(self, event: Event) -> None:
        """Enter one event."""
        self.sequences.append(event.sequence)
        self.delivered[event.type] += 1

    def in_order(self) -> bool:
        """Whether no sequence came after a greater one."""
        return all(earlier <= later for earlier, later in pairwise(self.sequences))

    def none_twice(self) -> bool:
        """Whether no sequence came more than once."""
        return len(set(self.sequences)) == len(self.sequences)

    def findings(self) -> str:
        """What this one learnt from the data of the events."""
        return ""


class Optimizer(Subscriber):
    """A handler that looks for blocks worth compiling better."""

    name = "optimizer"
    pattern = "optimization.*"

    def __init__(self) -> None:
        super().__init__()
        self.hottest = 0

    async def handle(self, event: Event) -> None:
        self.record(event)
        self.hottest = max(self.hottest, event.data.threshold)

    def findings(self) -> str:
        return f"hottest block ran {self.hottest:,} times or more"


class Pager(Subscriber):
    """A handler that asks what pages are first touched for."""

    name = "pager"
    pattern = "page_table.*"

    def __init__(self) -> None:
        super().__init__()
        self.faults: Counter[str] = Counter()

    async def handle(self, event: Event) -> None:
        self.record(event)
        self.faults[event.data.access_type] += 1

    def findings(self) -> str:
        return "faults: " + ", ".join(f"{count} {access}" for access, count in self.faults.most_common())


class Latecomer(Subscriber):
    """An iterator that joins half-way, from the earliest event on, and profiles the guest from the log alone."""

    name = "latecomer"
    pattern = "*"

    def __init__(self) -> None:
        super().__init__()
        self.executions: Counter[int] = Counter()
        self.finished = asyncio.Event()

    @property
    def phase(self) -> str:
        return "done" if self.finished.is_set() else super().phase

    async def read(self, subscription: Subscription) -> None:
        """Read until the machine is gone."""
        async with subscription as events:
            async for event in events:
                self.record(event)
                match event.data:
                    case BlockExecuted(pc=pc):
                        self.executions[pc] += 1
                    case Destroyed():
                        break
        self.finished.set()

    def findings(self) -> str:
        pc, times = max(self.executions.items(), key=lambda item: item[1], default=(0, 0))
        return f"{len(self.executions)} blocks, the busiest at {pc:#x}: {times:,} times"


class Slowpoke(Subscriber):
    """A handler a hundred times too slow: while it takes one event, the machine executes a hundred blocks.

    From `set_free` on it is as fast as any. `seconds_until(n)`: how long until the machine has executed n blocks.
    """

    name = "slowpoke"
    pattern = "*"
    capacity = 256  # so small that it falls behind in the shortest run, too

    def __init__(self, seconds_until: Callable[[int], float]) -> None:
        super().__init__()
        self.handled_slowly = 0
        self._seconds_until = seconds_until
        self._free = False

    async def handle(self, event: Event) -> None:
        self.record(event)
        if not self._free:
            self.handled_slowly += 1
            await asyncio.sleep(self._seconds_until(100 * self.handled_slowly))

    def set_free(self) -> None:
        self._free = True

    def findings(self) -> str:
        return f"{self.handled_slowly:,} events slowly, and {len(self.sequences) - self.handled_slowly:,} once set free"


class Team(NamedTuple):
    """The four."""

    optimizer: Optimizer
    pager: Pager
    latecomer: Latecomer
    slowpoke: Slowpoke
