"""How a run shows itself: a progress bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.harness import Step
from benchmarks.results import Result
from benchmarks.wording import in_lines

_COLOURS = {"met": "green", "MISSED": "bold red", "NO": "bold red"}


class Display(Protocol):
    """What a run tells: a question begins, it is so far, it has a result."""

    def begin(self, name: str) -> None:
        """A question begins."""
        ...

    def step(self, step: Step) -> None:
        """It is so far."""
        ...

    def result(self, result: Result) -> None:
        """It is answered."""
        ...


@contextmanager
def display(questions: int) -> Iterator[Display]:
    """The display that fits where standard output goes."""
    if not sys.stdout.isatty():
        yield PlainLines()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        refresh_per_second=2,  # the cores are for what is measured
    ) as progress:
        yield Bars(progress, questions)


class PlainLines:
    """A line when a question begins, and its figures when it is answered."""

    def begin(self, name: str) -> None:
        """A question begins."""
        print(f"asking {name} …", flush=True)

    def step(self, step: Step) -> None:
        """Nothing is said in between."""

    def result(self, result: Result) -> None:
        """It is answered."""
        print("\n".join(in_lines(result)), end="\n\n", flush=True)


class Bars:
    """A bar over the questions and one over the runs of the current one; figures scroll by above."""

    def __init__(self, progress: Progress, questions: int) -> None:
        self._progress = progress
        self._all = progress.add_task("questions", total=questions)
        self._one = progress.add_task("", total=None, visible=False)
        self._name = ""

    def begin(self, name: str) -> None:
        """A question begins."""
        self._name = name
        self._progress.reset(self._one, total=None, visible=True, description=name)

    def step(self, step: Step) -> None:
        """It is so far."""
        doing, _, _ = step.doing.partition(":")  # the contestant's name would leave the bar no room
        description = escape(f"{self._name}, {doing}")
        self._progress.update(self._one, total=step.of, completed=step.done, description=description)

    def result(self, result: Result) -> None:
        """It is answered."""
        for line in in_lines(result):
            _print(self._progress.console, line)
        self._progress.console.print()
        self._progress.advance(self._all)


def _print(console: Console, line: str) -> None:
    console.print(escape(line), style=_COLOURS.get(line.split(maxsplit=1)[0]), highlight=False, soft_wrap=True)
