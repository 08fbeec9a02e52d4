"""Model: everything a user can do to a bus, put together at random, against a plain dict that says what must be seen.

Hypothesis puts the steps together: publishing in all ways, cancelling, groups, ids that meet, subscriptions of every
kind, queries, removals, closing and opening again, flipped bits and lost tails; and one consumer by hand, with outcomes
in any order, retries, dead letters, ends and crashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from asyncbus import EventStore
from tests.reliability.model.consuming import ConsumerMachine
from tests.reliability.model.machine import BusMachine
from tests.reliability.model.world import World, make_store
from tests.reliability.trials import MEMORY, Figures, Tool, Violation, quiet

RUNS = 10
CONSUMER_RUNS = 5
STEPS = 60


def trial(seed: int, folder: Path) -> Figures:
    """Some runs of some steps each."""
    try:
        return explore(seed, folder) + explore_consumers(seed, folder)
    except Violation as violation:
        message = f"{violation}\nthe fewest steps that show it: python -m tests.reliability.model {seed}"
        raise Violation(message) from violation


def explore(
    seed: int, folder: Path, make: Callable[[World, Path], EventStore] = make_store, *, shrink: bool = False
) -> Figures:
    """Try to find steps after which bus and model differ.

    Args:
        seed: of what hypothesis draws.
        folder: for files.
        make: makes the stores; a control hands in broken ones.
        shrink: whether to look for the fewest steps that show it, which may take minutes.

    Raises:
        Violation: they differ; with the steps.
    """
    figures: Figures = Counter()
    _run(lambda: BusMachine(folder, make, figures), RUNS, seed, shrink=shrink)
    figures["runs"] += RUNS
    return figures


def explore_consumers(seed: int, folder: Path, *, shrink: bool = False) -> Figures:
    """The same for a consumer and what it must owe.

    Args:
        seed, folder, shrink: as for `explore`.

    Raises:
        Violation: they differ; with the steps.
    """
    figures: Figures = Counter()
    _run(lambda: ConsumerMachine(folder, figures), CONSUMER_RUNS, seed, shrink=shrink)
    figures["runs"] += CONSUMER_RUNS
    return figures


def _run(machine: Callable[[], RuleBasedStateMachine], runs: int, seed: int, *, shrink: bool) -> None:
    @hypothesis.seed(seed)
    def seeded() -> RuleBasedStateMachine:
        return machine()

    try:
        with quiet():
            run_state_machine_as_test(
                seeded,  # type: ignore[arg-type]  # it calls it, and that is all
                settings=settings(
                    max_examples=runs,
                    stateful_step_count=STEPS,
                    database=None,
                    deadline=None,
                    derandomize=False,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
                ),
            )
    except Exception as error:  # whatever a step raises that its rule does not expect is a broken promise
        steps = "\n".join(getattr(error, "__notes__", ()))
        # What does not come again when hypothesis repeats the steps, for threads are at work, comes as a group.
        seen = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        told = "; ".join(f"{type(each).__name__}: {each}" for each in seen)
        raise Violation(f"{told}\n{steps}") from error


TOOL = Tool(
    name="model",
    promise="Whatever is done to a bus, every reader, consumer and publisher sees what a plain dict says",
    unit="steps",
    short=8_000,
    long=1_000_000,
    trial=trial,
    folder=MEMORY,
)
