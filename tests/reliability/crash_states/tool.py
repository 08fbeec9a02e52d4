"""Power cuts: whatever a cut leaves of what was written, the log opens and holds all it must.

As ALICE (Pillai and others, "All File Systems Are Not Created Equal", OSDI 2014) and CrashMonkey (Mohan and others,
"Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018) did: `strace` logs the system calls of
a process that works with a log, its notes of what was acknowledged among them. The disk is then rebuilt after every
call as a power cut might leave it, and each such state is opened, read, checked and written to by our code. A second
process goes on from one of these states, or from where the first was killed, so that recovery is cut short as well.

What the disk may do, which is more than ext4 or XFS do:

- What fsync or fdatasync of a file has returned for stays; of later writes to it any may be lost, whole or in part, in
  any order, and independently of other files. A write that is lost in part is lost by sectors of 512 bytes, which is
  what drives write whole. Bytes of a sector that were not written stay as they are: SQLite builds on that as well
  (https://sqlite.org/psow.html).
- Sizes go the same way; where a file is longer than what was written into it, it reads as zeros.
- Creating, renaming and removing names are durable by fsync of the folder, and by nothing else (on ext4, fsync of a new
  file makes its name durable as well). Before that any may be lost, of one name the last ones first (ext4 and XFS keep
  the order of all, others need not), and a rename is whole or not done.
- A drive does not lie about its flushes, and what was synced does not rot: what a damaged file does is told elsewhere.
- The -shm file is memory. It is not there after a cut.

`SQLiteStore(synchronous="normal")` has each third trial; there a cut may take the last events, but none that was
acknowledged before the last sync of the -wal file, and none in the middle.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from random import Random

from tests.reliability.crash_states.disk import Contents, Disk, SyncBegan, Synced, Write
from tests.reliability.crash_states.judge import History, Log, look
from tests.reliability.crash_states.plan import Synchronous, plan
from tests.reliability.crash_states.trace import COMMAND, Note, Step, Trace
from tests.reliability.trials import MEMORY, Figures, Tool, Violation, needs_strace
from tests.store.processes import REPOSITORY

RUNS = 2
CUTS = 3
"""Power cuts after each call in which chance says what is lost, beside the two that lose all and nothing."""


class Trial:
    """Two processes that work on one log, one after the other, and all the states in which they may leave it.

    Args:
        synchronous: what the store is told.
        promised: what must hold; another one only in a control, as are the next two.
        fault: what the processes do wrong.
        lied_about: the name of a file whose syncs the drive takes no notice of; "" is the folder.
    """

    def __init__(
        self,
        seed: int,
        folder: Path,
        synchronous: Synchronous,
        *,
        promised: Synchronous | None = None,
        fault: str = "none",
        lied_about: str | None = None,
    ) -> None:
        self._seed = seed
        self._folder = folder
        self._synchronous = synchronous
        self._promised = promised or synchronous
        self._fault = fault
        self._lied_about = lied_about
        self._random = Random(seed)
        self._seen: dict[bytes, Log] = {}
        self._figures = Figures()

    async def run(self) -> Figures:
        """All of it; what was counted.

        Raises:
            Violation: of the first state that does not hold what it must.
        """
        (self._folder / "state").mkdir()
        disk, history = Disk(), History(self._seed, self._promised)
        for run in range(RUNS):
            steps = self._trace(run, disk)
            disk, history = await self._follow(run, steps, disk, history)
        return self._figures

    def _trace(self, run: int, disk: Disk) -> Sequence[Step]:
        """What the process of a run does to the disk."""
        folder, marks, log = (self._folder / f"{name}-{run}" for name in ("disk", "marks", "trace"))
        folder.mkdir()
        for name, content in disk.everything().items():
            (folder / name).write_bytes(content)
        options = map(str, (folder, marks, self._seed, run, self._synchronous, self._fault))
        child = (sys.executable, "-m", "tests.reliability.crash_states.child", *options)
        command = (*COMMAND, "-o", str(log), *child)
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise Violation(f"{self._synchronous}, run {run} failed: {done.stderr}")
        with log.open() as lines:
            steps = list(Trace(folder, marks, disk.names(), disk.next_file()).steps(lines))
        check_model(disk, steps, folder)
        return without_syncs(steps, self._lied_about)

    async def _follow(self, run: int, steps: Sequence[Step], disk: Disk, history: History) -> tuple[Disk, History]:
        """Cut the power after each step; return how things stand where the next run is to begin."""
        operations = plan(self._seed, run).operations()
        next_begins = self._random.randrange(len(steps))
        left = disk, history
        for number, step in enumerate(steps):
            try:
                if not isinstance(step, Note):
                    disk.apply(step)
                history.apply(step, operations)
                contents, place = await self._cut(disk, history)
            except Violation as violation:
                where = f"{self._synchronous}, run {run}, after step {number} ({_told(step)})"
                raise Violation(f"{where}: {violation}") from None
            if number == next_begins:
                left = self._interrupted(disk, history, contents, place)
        return left

    async def _cut(self, disk: Disk, history: History) -> tuple[Contents, int]:
        """Cut the power now, in several ways; return what the last of them left, and how many operations that is."""
        left = [(contents, history.place(await self._look(contents))) for contents in self._states(disk)]
        return left[-1]

    def _interrupted(self, disk: Disk, history: History, contents: Contents, place: int) -> tuple[Disk, History]:
        """Where a second process finds the log: the first was killed, or the power was cut."""
        history = history.copy()
        if self._random.random() < 0.5:
            return disk.copy(), history  # what was not synced is seen, and goes on waiting
        history.cut(place)
        return Disk(contents), history

    def _states(self, disk: Disk) -> Iterator[Contents]:
        """States in which a power cut may leave the disk now."""
        yield disk.everything()
        if disk.is_synced():
            return
        yield disk.nothing()
        for _ in range(CUTS):
            yield disk.something(self._random)

    async def _look(self, contents: Contents) -> Log:
        """What the log of a disk holds; the same disk is looked at once."""
        self._figures["rebuilt"] += 1
        key = _digest(contents)
        if key not in self._seen:
            self._seen[key] = await look(self._folder / "state", contents)
            self._figures["states"] += 1
            self._figures[f"states at {self._synchronous}"] += 1
        return self._seen[key]


def check_model(disk: Disk, steps: Iterable[Step], folder: Path) -> None:
    """See that the model holds what the folder does where nothing is lost, so that no system call was overlooked.

    Raises:
        RuntimeError: it does not.
    """
    disk = disk.copy()
    for step in steps:
        if not isinstance(step, Note):
            disk.apply(step)
    real = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
    if disk.everything() != real:
        raise RuntimeError(f"the model of the disk differs from {folder}: a system call was overlooked")


def without_syncs(steps: Sequence[Step], name: str | None) -> Sequence[Step]:
    """The same steps, but of the file of that name nothing is synced."""
    calls = {step.call for step in steps if isinstance(step, SyncBegan) and step.name == name}
    return [step for step in steps if not (isinstance(step, SyncBegan | Synced) and step.call in calls)]


def _digest(contents: Contents) -> bytes:
    whole = blake2b(digest_size=16)
    for name in sorted(contents):
        whole.update(f"{name} {len(contents[name])}\n".encode())
        whole.update(contents[name])
    return whole.digest()


def _told(step: Step) -> str:
    if isinstance(step, Write):
        return f"a write of {len(step.data)} bytes at {step.offset} of file {step.file}"
    return str(step)


def trial(seed: int, folder: Path) -> Figures:
    """At "full", each third at "normal"."""
    return asyncio.run(Trial(seed, folder, "normal" if seed % 3 == 0 else "full").run())


TOOL = Tool(
    name="crash_states",
    promise="Whatever a power cut leaves of what was not synced, the log opens and holds all that was acknowledged",
    unit="states",
    short=1_800,
    long=300_000,
    trial=trial,
    obstacle=needs_strace,
    folder=MEMORY,
)
