"""The process that profiles: counts in a database of its own how often each block ran, once for each event.

Run as ``python -m examples.emulator.profiler LOG PROFILE``. Where the log is new, a small guest runs first, so that
there is something to count. It says ``counting N`` as it comes to the N-th event of this life; killed at any moment and
run again, it goes on where it was, for a count and the place in the log are one transaction of the profile. On SIGTERM
or Ctrl-C, or where nobody reads any more what it says, it finishes the event it is at, says what is left, and ends.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiosqlite
import anyio.to_thread

import asyncbus
from examples.emulator.events.execution import BlockExecuted
from examples.emulator.machine import Machine

NAME = "profiler"
LIMIT = 300
DRAIN_SECONDS = 5

SCHEMA = """
PRAGMA journal_mode = WAL;
-- A power cut may take the last counts, and with them what the profile knows of its place in the log: they come again.
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS blocks (pc INTEGER PRIMARY KEY, executions INTEGER NOT NULL);
"""
COUNT = "INSERT INTO blocks VALUES (?, 1) ON CONFLICT DO UPDATE SET executions = executions + 1"


class Profiler:
    """Counts the blocks that a bus tells of, through a connection that nobody else uses.

    `unheard` is called where what it says cannot be read any more.
    """

    def __init__(self, bus: asyncbus.EventBus, profile: aiosqlite.Connection, unheard: Callable[[], None]) -> None:
        self._profile = profile
        self._unheard = unheard
        self._counted = 0
        bus.consume(NAME, BlockExecuted, self._count, effects=asyncbus.SQLiteEffects(profile))

    async def _count(self, event: asyncbus.Event[BlockExecuted]) -> None:
        self._counted += 1
        # What becomes of these words is no part of the event's effect: raised here, it would be rolled back.
        if not say(f"counting {self._counted}"):
            self._unheard()
        await self._profile.execute(COUNT, (event.data.pc,))


def say(words: str) -> bool:
    """Say it in one write, past any buffer of ours, so it is told whenever the kill comes; or return False."""
    try:
        os.write(sys.stdout.fileno(), f"{words}\n".encode())
    except OSError:  # the reader has gone, or the disk is full
        return False
    return True


async def main(log: Path, database: Path) -> None:
    """Count until all is counted, or nobody wants it any more."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    # The bus closes first: until then its consumer may be at work in the profile.
    async with aiosqlite.connect(database) as profile, asyncbus.connect(str(log)) as bus:
        await profile.executescript(SCHEMA)
        if await bus.latest_sequence() == 0:
            machine = Machine(bus.publish_from_thread, limit=LIMIT)
            await anyio.to_thread.run_sync(machine.run)
            await bus.flush()
        Profiler(bus, profile, ended.set)
        counting = asyncio.create_task(bus.wait_processed(NAME, await bus.latest_sequence()))
        counting.add_done_callback(lambda _: ended.set())
        await ended.wait()
        report = await bus.drain(DRAIN_SECONDS)
        with suppress(asyncbus.ConsumerClosedError):  # told to end before all was counted
            await counting
        [profiler] = await bus.consumers()
        left = "nothing was in flight" if report.ok else f"given back: {report.unfinished}"
        say(f"drained, {left}; behind by {profiler.backlog}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
