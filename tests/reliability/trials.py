"""What the tools of this folder share: seeded trials, counted until there are enough, each replayable by its seed.

A tool tries to break one promise. One *trial* is a run that follows from its seed alone, as far as the system allows;
it returns what it has counted, or raises a `Violation`. A short run is part of the tests; `python -m tests.reliability`
makes the long ones (`make soak`) and replays single trials.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from msgspec import Struct, field

Figures = Counter[str]

MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # a folder of its own is made there
"""A folder in memory, for tools that need no disk; None: there is none here."""


class Violation(AssertionError):  # noqa: N818  # not an error of the program: what it was run to find
    """A promise was broken; the message says which one, with the facts."""


def no_obstacle() -> str | None:
    """For tools that run anywhere."""
    return None


def needs_strace() -> str | None:
    """For tools that trace system calls: why none can be traced here, if so."""
    return None if shutil.which("strace") else "strace is not installed: apt-get install strace"


@contextmanager
def quiet() -> Iterator[None]:
    """Without what a bus logs: where it is made to fail, that is expected, many times a second."""
    logger = logging.getLogger("asyncbus")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


class Tool(Struct, frozen=True, kw_only=True):
    """One way to try to break a promise.

    Attributes:
        name: of its module or its folder, and of its results, `kill_loop`.
        promise: what must hold, in one line.
        unit: what is counted, "kills"; every trial counts some.
        short: units of the run that is part of the tests.
        long: units of the run whose figures are in the docs.
        trial: runs once: the seed, and an empty folder of its own.
        obstacle: says why it cannot run on this machine (a program is missing, say), or None.
        folder: where the folders of trials are made; None: where temporary files go.
        jobs: trials that may run beside each other.
    """

    name: str
    promise: str
    unit: str
    short: int
    long: int
    trial: Callable[[int, Path], Figures]
    obstacle: Callable[[], str | None] = no_obstacle
    folder: Path | None = None
    jobs: int = 2


class Found(Struct, frozen=True):
    """A broken promise, and the seed that shows it again."""

    seed: int
    message: str


class Report(Struct):
    """What a run of many trials has counted; `first_seed` and the `trials - 1` that follow it replay it."""

    first_seed: int
    trials: int = 0
    seconds: float = 0.0
    figures: Figures = field(default_factory=Counter)
    violations: list[Found] = field(default_factory=list)


def run(
    tool: Tool,
    *,
    seed: int,
    units: float = float("inf"),
    trials: float = float("inf"),
    seconds: float = float("inf"),
    jobs: int | None = None,
    on_trial: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Run trials with `seed` and those that follow it until so many units are counted, or trials, or the time is over.

    Each trial has a process that other trials may have used before it; `jobs=1` keeps them in this one. A broken
    promise is kept in the report and ends nothing; what else a trial raises does.
    """
    report = Report(seed)
    jobs = tool.jobs if jobs is None else jobs
    began = time.monotonic()
    print(f"{tool.name}: seed {seed}; again: python -m tests.reliability {tool.name} --seed {seed}")

    def enough() -> bool:
        counted = report.figures[tool.unit] >= units or report.trials >= trials
        return counted or time.monotonic() - began >= seconds

    for number, found in _outcomes(tool, seed, jobs, enough):
        report.trials += 1
        if isinstance(found, Counter):
            report.figures += found
        else:
            report.violations.append(Found(number, found))
        report.seconds = round(time.monotonic() - began, 1)
        on_trial(report)
    return report


def _outcomes(tool: Tool, seed: int, jobs: int, enough: Callable[[], bool]) -> Iterator[tuple[int, Figures | str]]:
    if jobs == 1:
        for number in count(seed):
            yield number, _try(tool, number)
            if enough():
                return
    # Fresh interpreters, not forks: a trial may fork, and must not have inherited threads.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_be_quick) as pool:
        running: dict[Future[Figures | str], int] = {}
        for number in count(seed):
            running[pool.submit(_try, tool, number)] = number
            if len(running) < jobs:
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
            if enough():
                break
        for future in wait(running).done:
            yield running[future], future.result()


class _PlainLoops(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        loop.set_debug(False)
        return loop


def _be_quick() -> None:
    """What the tests are run with, `-X dev`, comes along to here, where asyncio's debug mode halves the trials."""
    asyncio.set_event_loop_policy(_PlainLoops())


def _try(tool: Tool, seed: int) -> Figures | str:
    with tempfile.TemporaryDirectory(prefix=f"{tool.name}-", dir=tool.folder, ignore_cleanup_errors=True) as folder:
        try:
            return tool.trial(seed, Path(folder))
        except Violation as violation:
            return str(violation)
