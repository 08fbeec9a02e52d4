"""The third act: a profiler is killed while it counts, and each block is counted once all the same."""

import signal
import sqlite3
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Timer

import asyncbus
from examples.emulator.events.execution import BlockExecuted

PATIENCE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """What came of it: block → how often it ran, by the profile and by the log.

    `killed`: whether the profiler died of the kill; `said`: its last words when it had been run again.
    """

    killed: bool
    said: str
    profile: Counter[int]
    log: Counter[int]


def profile_through_a_kill(log: Path, database: Path, *, after: int) -> tuple[bool, str]:
    """Let `profiler.py` come to `after` events, kill it with SIGKILL, and run it again to its end.

    Returns whether it died of that, and the last line of the second one. Blocks the calling thread; a profiler that
    takes longer than half a minute is killed.
    """
    with profiler(log, database) as first:
        said = last_line(first, until=after)
        first.kill()
    killed = first.returncode == -signal.SIGKILL and said == f"counting {after}"
    with profiler(log, database) as second:
        return killed, last_line(second)


@contextmanager
def profiler(log: Path, database: Path) -> Iterator[subprocess.Popen[str]]:
    """A profiler at work, which has ended afterwards."""
    command = [sys.executable, "-m", "examples.emulator.profiler", str(log), str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        silence = Timer(PATIENCE_SECONDS, process.kill)
        silence.start()
        try:
            yield process
            process.wait()
        finally:
            silence.cancel()
            process.kill()


def last_line(process: subprocess.Popen[str], until: int | None = None) -> str:
    """The last line it says, or the one of a number, from 1 on."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe, which a type checker cannot know
    last = deque(islice(process.stdout, until), maxlen=1)
    return last.pop().rstrip() if last else ""


async def compare(log: Path, database: Path, *, killed: bool, said: str) -> Profiled:
    """Read the profile, and count in the log what it should hold."""
    with closing(sqlite3.connect(database)) as connection:
        profile = Counter(dict(connection.execute("SELECT pc, executions FROM blocks").fetchall()))
    async with asyncbus.connect(str(log)) as bus:
        told = Counter([event.data.pc async for event in bus.replay(BlockExecuted)])
    return Profiled(killed=killed, said=said, profile=profile, log=told)
