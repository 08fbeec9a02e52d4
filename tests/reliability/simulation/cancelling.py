"""Cancels tasks of a simulated scene where they wait, and knows where that was."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncbus
from tests.reliability.simulation.loop import frames

SOURCES: Final = Path(asyncbus.__file__).parent

LEFT_OUT: Final = {
    "clock": "a scene has one of its own",
    "fencing": "no scene has a database of the user's",
    "tail": "no scene is read-only",
    "web": "no scene has a browser",
}
"""Modules in which nobody is cancelled, and why; those in packages, of stores and effects, have tests of their own."""

MODULES: Final = tuple(sorted({path.stem for path in SOURCES.glob("*.py")} - LEFT_OUT.keys()))
"""Of the library, those whose every await is to be cancelled."""

Place = tuple[str, int]
"""A module of the library and a line of it."""

_FILES: Final = {str(SOURCES / f"{module}.py"): module for module in MODULES}


class Await(NamedTuple):
    """What stands at a place, and in which function; it stays the same where lines are added above it."""

    module: str
    function: str
    text: str


def awaits() -> dict[Place, Await]:
    """Each place where the library waits."""
    found = {}
    for file, module in _FILES.items():
        text = Path(file).read_text("utf-8")
        lines = text.splitlines()
        for function, line in _waiting(ast.parse(text), "the module"):
            found[module, line] = Await(module, function, lines[line - 1].strip())
    return found


def _waiting(node: ast.AST, function: str) -> Iterator[tuple[str, int]]:
    """The functions and lines in which something below a node waits."""
    for below in ast.iter_child_nodes(node):
        if isinstance(below, ast.Await | ast.YieldFrom | ast.AsyncFor | ast.AsyncWith):
            yield function, below.lineno
        inner = below.name if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from _waiting(below, inner)


def places(task: asyncio.Task[Any]) -> set[Place]:
    """The places in the library at which a task waits."""
    return {(_FILES[code.co_filename], line) for code, line in frames(task) if code.co_filename in _FILES}


class Cancelling:
    """Cancels the first task that waits at some place, or of some kind, for the n-th time; or all tasks there are.

    Args:
        victim: where it waits, or how its name begins; "": whichever it is, and with it all others, as a loop does that
            is shut down.
        nth: which time; 0: before it has begun.
        late: not while it waits, but when what it waited for has come and it has not heard of it yet.
        tasks: all there are, as they are made.

    Attributes:
        struck: what was cancelled.
        places: where in the library they waited.
    """

    def __init__(self, victim: str | Place, nth: int, *, late: bool, tasks: Sequence[asyncio.Task[Any]]) -> None:
        self._victim = victim
        self._nth = nth
        self._late = late
        self._tasks = tasks
        self._waited: dict[asyncio.Task[Any] | None, int] = {}
        self._next: asyncio.Task[Any] | None = None
        self._done = False
        self.struck: list[asyncio.Task[Any]] = []
        self.places: set[Place] = set()

    def before(self, task: asyncio.Task[Any]) -> None:
        if self._nth == 0 and not self._done and self._is_victim(task):
            self._choose(task)
            self._strike()
        elif task is self._next:
            self._next = None
            self._strike()

    def after(self, task: asyncio.Task[Any]) -> None:
        if self._done or task.done() or not self._is_victim(task):
            return
        counted = task if self._victim and isinstance(self._victim, str) else None
        self._waited[counted] = self._waited.get(counted, 0) + 1
        if self._waited[counted] != self._nth:
            return
        self._choose(task)
        if self._late:
            self._next = task
        else:
            self._strike()

    def _choose(self, task: asyncio.Task[Any]) -> None:
        self._done = True
        chosen = [task] if self._victim else [other for other in self._tasks if self._is_victim(other)]
        # Looked at now: when what it waits for has come, its place is not to be seen any more.
        self._waited_at = {other: places(other) for other in chosen if not other.done()}

    def _is_victim(self, task: asyncio.Task[Any]) -> bool:
        name = task.get_name()
        if isinstance(self._victim, str):
            return name.startswith(self._victim) and name != "main"
        # Those without a name are parts of others, which nobody else can get hold of.
        return not name.startswith("Task-") and self._victim in places(task)

    def _strike(self) -> None:
        for task, waited_at in self._waited_at.items():
            if not task.done():
                self.struck.append(task)
                self.places |= waited_at
                task.cancel()
