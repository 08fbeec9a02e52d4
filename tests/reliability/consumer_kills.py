"""Kills a process whose consumers handle with failures, and looks each time whether they owe what is not done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, Literal

from msgspec import structs

from asyncbus import verify
from tests.reliability.children import SystemCall, can_trace, count_death, forked
from tests.reliability.consumer_ledger import Claims, ConsumerLedger
from tests.reliability.consumer_lives import Life, live, look_at_the_end
from tests.reliability.trials import Figures, Tool, Violation

KILLS: Final = 8
"""In a row on one log."""

CALLS: Final = {"pwrite64": 300, "fcntl": 600, "write": 200}
"""System calls at which a child is killed, and up to which number of them by one of its threads."""

_ORDERS: Final[tuple[Literal["none", "key", "strict"], ...]] = ("none", "key", "strict")


def trial(seed: int, folder: Path, *, breaks: Callable[[], None] | None = None) -> Figures:
    """Kill so many children of one log, then let one live until all is done."""
    random = Random(seed)
    ledger = ConsumerLedger()
    one = Life(seed=0, log=folder / "log.db", database=folder / "effects.db", breaks=breaks)
    while ledger.figures["kills"] < KILLS:
        _live_and_die(_life(random, one), ledger, folder, random)
    last = structs.replace(one, seed=random.randrange(2**32), concurrency=random.choice((1, 8)), ends_all=True)
    with forked(lambda pipe: live(last, ledger, Claims(pipe)), ledger, folder):
        pass
    with forked(lambda _: look_at_the_end(last, ledger), ledger, folder):
        pass
    found = verify(one.log)
    if not found.sound:
        raise Violation(str(found))
    ledger.figures["logs"] += 1
    return ledger.figures


def _life(random: Random, like: Life) -> Life:
    return structs.replace(
        like,
        seed=random.randrange(2**32),
        publishes=random.choice((5, 50, 200)),
        concurrency=random.choice((1, 2, 8)),
        order=random.choice(_ORDERS),
        is_poisoned=random.random() < 0.1,
        tries_again=random.random() < 0.4,
    )


def _live_and_die(life: Life, ledger: ConsumerLedger, folder: Path, random: Random) -> None:
    ways = [_kill_at_a_moment, _kill_at_a_count, _kill_at_a_count, _kill_while_closing]
    if can_trace():
        ways.append(_kill_at_a_call)
    count_death(ledger.figures, random.choice(ways)(life, ledger, folder, random))


def _kill_at_a_moment(life: Life, ledger: ConsumerLedger, folder: Path, random: Random) -> str | None:
    """Mostly while names are taken over from the last child."""
    moment = 10 ** random.uniform(-2.5, -0.7)
    with forked(lambda pipe: live(life, ledger, Claims(pipe)), ledger, folder) as one:
        if one.watch(lambda: one.age >= moment):
            one.kill()
            return "kills at a moment"
    return _of_its_own(killed=one.killed)


def _kill_at_a_count(life: Life, ledger: ConsumerLedger, folder: Path, random: Random) -> str | None:
    """While it handles."""
    enough = ledger.figures["handed out"] + 10 ** random.uniform(0, 2.5)
    with forked(lambda pipe: live(life, ledger, Claims(pipe)), ledger, folder) as one:
        # What is left to be handed out may be less.
        if one.watch(lambda: ledger.figures["handed out"] >= enough or (ledger.working and one.age > 0.4)):
            one.kill()
            return "kills at a count"
    return _of_its_own(killed=one.killed)


def _kill_while_closing(life: Life, ledger: ConsumerLedger, folder: Path, random: Random) -> str | None:
    moment = 10 ** random.uniform(-4, -1.5)
    life = structs.replace(life, closes_after=round(10 ** random.uniform(0, 1.5)))
    with forked(lambda pipe: live(life, ledger, Claims(pipe)), ledger, folder) as one:
        one.kill_while_closing(moment)
    return "kills while closing" if one.killed else None


def _kill_at_a_call(life: Life, ledger: ConsumerLedger, folder: Path, random: Random) -> str | None:
    """At a system call, if it makes so many."""
    name = random.choice(list(CALLS))
    dies_at = SystemCall(name, random.randint(1, CALLS[name]))
    with forked(lambda pipe: live(life, ledger, Claims(pipe)), ledger, folder, dies_at=dies_at) as one:
        if one.watch(lambda: one.age > 0.6):
            one.kill()
            return "kills at a moment"
    return "kills at a system call" if one.killed else None


def _of_its_own(*, killed: bool) -> str | None:
    return "kills by an event" if killed else None


TOOL = Tool(
    name="consumer_kills",
    promise="After SIGKILL a consumer owes what is not done, and no more: each effect and each follow-up is there once",
    unit="kills",
    short=24,
    long=500,
    trial=trial,
)
