"""Cuts a file system off while a process publishes on it, mounts it again and looks whether the log lost anything.

Half of the cuts come under load. Linux 6.18 says then of a sync that is under way that it went well, though it did not
(21 times of 119 in a program of ten lines: pwrite, fdatasync, and so on). So what is acknowledged after such a cut has
begun may be lost, and is counted apart. Before the other half the process is killed: it syncs nothing during the cut,
and whatever it acknowledged must be there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, Literal

from asyncbus import SQLiteStore
from tests.reliability import small_disks
from tests.reliability.children import child
from tests.reliability.ledger import Ledger
from tests.reliability.lives import Life
from tests.reliability.small_disks import SmallDisk
from tests.reliability.trials import MEMORY, Figures, Tool

CUTS: Final = 3
"""In a row on one disk."""

LATE: Final = 0.03
"""Seconds that a child goes on after the cut: what it acknowledges by then counts as well."""

Synchronous = Literal["full", "normal"]


def trial(
    seed: int,
    folder: Path,
    *,
    modes: tuple[Synchronous, ...] = ("full", "full", "full", "normal"),
    store: Callable[..., SQLiteStore] = SQLiteStore,
) -> Figures:
    """Cut the power so many times, then let one child live to see that all is well."""
    random = Random(seed)
    ledger = Ledger()
    lives = 0
    path = folder / "disk" / "log.db"
    with SmallDisk(folder, 256) as disk:  # what many lives write has room in it
        while ledger.figures["cuts"] + ledger.figures["cuts at NORMAL"] < CUTS:
            lives += 1
            life = _life(random, lives, path, random.choice(modes), store)
            _live_and_lose_power(life, ledger, folder, disk, random)
            ledger.figures["cuts" if life.synchronous == "full" else "cuts at NORMAL"] += 1
            disk.unmount()
            disk.mount()
        with child(Life(number=lives + 1, seed=seed, path=path, closes_after=0), ledger, folder):
            pass
    return ledger.figures


def _life(random: Random, number: int, path: Path, synchronous: Synchronous, store: Callable[..., SQLiteStore]) -> Life:
    return Life(
        number=number,
        seed=random.randrange(2**32),
        path=path,
        synchronous=synchronous,
        weight=random.choices((0, 1, 2), (6, 3, 1))[0],
        clears_after=random.choice((0, 0, 0, random.randint(1, 300))),
        closes_after=random.choice((None, None, None, random.randint(1, 300))),
        store=store,
    )


def _live_and_lose_power(life: Life, ledger: Ledger, folder: Path, disk: SmallDisk, random: Random) -> None:
    """The cut comes at a count of acknowledgements or, mostly while the log is opened, at a moment."""
    enough = ledger.figures["acknowledged"] + 10 ** random.uniform(0, 3.2)
    moment = random.choice((None, None, None, 10 ** random.uniform(-2.5, -0.5)))
    under_load = random.random() < 0.5
    with child(life, ledger, folder) as one:

        def due() -> bool:
            if moment is not None:
                return one.age >= moment
            return ledger.closing or ledger.figures["acknowledged"] >= enough

        alive = one.watch(due)
        if alive and under_load:
            one.hear_out()
            certain = ledger.highest
            disk.cut_power()
            one.may_fail = True
            late = one.age + LATE
            alive = one.watch(lambda: one.age >= late)
        if alive:
            one.kill()
    if life.synchronous == "normal":
        ledger.may_lose(ledger.head, "at NORMAL")
    elif one.may_fail:
        ledger.may_lose(max(certain, ledger.head), "that were acknowledged during the cut")
    disk.cut_power()
    ledger.figures["cuts under load"] += one.may_fail


TOOL = Tool(
    name="power_cuts",
    promise="At FULL an acknowledged event survives a power cut; at NORMAL only the last events are lost",
    unit="cuts",
    short=3,
    long=300,
    trial=trial,
    obstacle=small_disks.obstacle,
    folder=MEMORY,
)
