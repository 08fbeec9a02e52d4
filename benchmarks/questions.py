"""All questions by name, in the order of the tables, and how one is answered in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import msgspec

from benchmarks.contained import FailedError, TookTooLongError, contained, tell
from benchmarks.harness import Question, Setting, Size, Step, measure
from benchmarks.machine import this_machine
from benchmarks.results import Result, answer, no_answer

NAMES = (
    "publish_to_handled",
    "concurrent_stored",
    "single_stored",
    "from_thread",
    "memory_fanout",
    "many_subscriptions",
    "replay",
    "rare_pattern",
    "busy_loop",
    "choices",
    "event_cost",
    "far_behind",
    "latency",
    "consumers",
    "typed_events",
    "verify",
    "growing_log",
    "growing_subscriptions",
    "growing_types",
    "growing_payloads",
    "emulator",
    "import_time",
)

LIMIT = 240.0
"""Seconds that one question may take at its default number of repeats."""

_REPEATS_IN_LIMIT = 5


def question(name: str, setting: Setting) -> Question:
    """The question of that name; nothing is measured or made yet."""
    ask = cast("Callable[[Setting], Question]", import_module(f"benchmarks.bench_{name}").question)
    return ask(setting)


def ask(name: str, directory: Path, *, size: Size, repeats: int, on_step: Callable[[Step], None]) -> Result:
    """Answer a question in a process of its own, killed when it exceeds its limit.

    What the process of one question leaves in memory is nobody else's burden. A question that dies or is killed has
    a result too, which says so.
    """
    limit = LIMIT * max(1.0, repeats / _REPEATS_IN_LIMIT)
    try:
        found = contained(
            _answer, name, str(directory), size.value, repeats, limit=limit, on_told=lambda step: on_step(Step(**step))
        )
    except (TookTooLongError, FailedError) as error:
        asked = question(name, Setting(directory, size))
        return no_answer(name, asked, str(error), size=size, repeats=repeats, machine=this_machine(directory))
    return msgspec.convert(found, Result)


def _answer(name: str, directory: str, size: str, repeats: int) -> Any:
    """The contained side of `ask`."""
    machine = this_machine(Path(directory))
    asked = question(name, Setting(Path(directory), Size(size)))
    start = perf_counter()
    readings = measure(
        asked,
        repeats=repeats,
        on_step=lambda step: tell({"done": step.done, "of": step.of, "doing": step.doing}),
    )
    seconds = perf_counter() - start
    return answer(name, asked, readings, size=Size(size), repeats=repeats, seconds=seconds, machine=machine)
