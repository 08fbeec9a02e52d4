"""Kills a process that publishes and reads, again and again, and looks each time whether the log holds what it must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from msgspec import structs

from asyncbus import SQLiteStore, verify
from tests.reliability.children import SystemCall, can_trace, child, count_death
from tests.reliability.ledger import Ledger
from tests.reliability.lives import Life
from tests.reliability.trials import Figures, Tool, Violation

KILLS: Final = 8
"""In a row on one log, so that what a kill has left is killed again while it is mended."""

CALLS: Final = {
    "pwrite64": 60,
    "fdatasync": 25,
    "openat": 60,
    "ftruncate": 3,
    "unlink": 2,
    "fcntl": 200,
    "write": 60,
}
"""System calls at which a child is killed, and up to which number of them by one of its threads."""

CALLS_OF_CREATION: Final = {"rename": 1, "fsync": 1}


def trial(seed: int, folder: Path, *, store: Callable[..., SQLiteStore] = SQLiteStore) -> Figures:
    """Kill so many children of one log, then let one live to see that all is well."""
    random = Random(seed)
    ledger = Ledger()
    path = folder / "log.db"
    lives = 0
    while ledger.figures["kills"] < KILLS:
        lives += 1
        _live_and_die(_life(random, lives, path, store), ledger, folder, random)
    with child(Life(number=lives + 1, seed=seed, path=path, closes_after=0), ledger, folder):
        pass
    found = verify(path)
    if not found.sound:
        raise Violation(str(found))
    ledger.figures["logs"] += 1
    return ledger.figures


def _life(random: Random, number: int, path: Path, store: Callable[..., SQLiteStore]) -> Life:
    return Life(
        number=number,
        seed=random.randrange(2**32),
        path=path,
        synchronous=random.choice(("full", "normal")),
        weight=random.choices((0, 1, 2), (6, 3, 1))[0],
        clears_after=random.choice((0, 0, 0, random.randint(1, 300))),
        store=store,
    )


def _live_and_die(life: Life, ledger: Ledger, folder: Path, random: Random) -> None:
    ways = [_kill_at_a_moment, _kill_at_a_count, _kill_while_closing]
    if can_trace():
        ways.append(_kill_at_a_call)
    # Of counts and moments each order of magnitude is as likely as the others.
    count_death(ledger.figures, random.choice(ways)(life, ledger, folder, random))


def _kill_at_a_moment(life: Life, ledger: Ledger, folder: Path, random: Random) -> str | None:
    """Mostly while it opens the log, mends what the last kill has left, and checks it."""
    moment = 10 ** random.uniform(-2.5, -0.5)
    with child(life, ledger, folder) as one:
        one.watch(lambda: one.age >= moment)
        one.kill()
    return "kills at a moment"


def _kill_at_a_count(life: Life, ledger: Ledger, folder: Path, random: Random) -> str | None:
    """While it publishes."""
    enough = ledger.figures["acknowledged"] + 10 ** random.uniform(0, 3)
    with child(life, ledger, folder) as one:
        one.watch(lambda: ledger.figures["acknowledged"] >= enough)
        one.kill()
    return "kills at a count"


def _kill_while_closing(life: Life, ledger: Ledger, folder: Path, random: Random) -> str | None:
    moment = 10 ** random.uniform(-4, -1.5)
    life = structs.replace(life, closes_after=round(10 ** random.uniform(0, 2.5)))
    with child(life, ledger, folder) as one:
        one.kill_while_closing(moment)
    return "kills while closing" if one.killed else None


def _kill_at_a_call(life: Life, ledger: Ledger, folder: Path, random: Random) -> str | None:
    """At a system call, if it makes so many; half of the time it closes the log before long."""
    calls = CALLS if life.path.exists() else CALLS | CALLS_OF_CREATION
    name = random.choice(list(calls))
    enough = ledger.figures["acknowledged"] + 300
    life = structs.replace(life, closes_after=random.choice((None, random.randint(0, 100))))
    with child(life, ledger, folder, dies_at=SystemCall(name, random.randint(1, calls[name]))) as one:
        if one.watch(lambda: ledger.figures["acknowledged"] >= enough):
            one.kill()
            return "kills at a count"
    return "kills at a system call" if one.killed else None


TOOL = Tool(
    name="kill_loop",
    promise="An acknowledged event is there after SIGKILL, whole, once, at its sequence, and so is what was delivered",
    unit="kills",
    short=100,
    long=5_000,
    trial=trial,
)
