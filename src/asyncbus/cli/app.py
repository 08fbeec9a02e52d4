"""What is behind `asyncbus`: the commands, where the store comes from, and what an end by an error looks like."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from cyclopts import App, CycloptsError
from rich.console import Console

from asyncbus.cli import administering, demo, exporting, importing, keeping, looking, publishing
from asyncbus.cli.refusing import RefusedError
from asyncbus.errors import AsyncBusError, InvalidOptionError, InvalidPatternError, InvalidTypeError, PayloadError
from asyncbus.store.inspection import in_one_line

STORE: Final = "ASYNCBUS_STORE"
"""The environment variable that names the store where a command line does not."""

_EXIT_STATUS: Final = """
**Store**: the path of a SQLite file, or a URL. It may be left out where the environment variable `ASYNCBUS_STORE` has
it: then a first argument that is no file, has no slash and does not end in .db is no store.

**Times**: `2026-11-24T12:30Z`, `2026-11-24` (without a zone it is local time), or how long ago: `10m`, `1.5h`, `2d`.

**Exit status**: 0 done; 1 the answer is no (damage was found, there is no such thing, or it must be asked of the
running application); 2 the command line is wrong; 3 the store, or a file, cannot be used; 130 ended by Ctrl-C; 141
nobody reads the output any more.
"""

_SPOKEN: Final = frozenset({1, 2, 3})
"""Ends that are explained; Ctrl-C and a broken pipe are what the user wanted."""

app: Final = App(
    name="asyncbus",
    help="The asyncio event bus that remembers: look into its logs, and keep them.",
    help_epilogue=_EXIT_STATUS,
    help_format="markdown",
    version=lambda: version("asyncbus"),
    version_flags=["--version"],
)
for command in (
    *(demo.demo, looking.tail, looking.query, looking.replay, publishing.publish, looking.stats, looking.types),
    *(exporting.export, keeping.verify, keeping.backup),
):
    app.command(command)
app.command(importing.import_, name="import")
app.command(administering.consumers)
app.command(administering.dead_letters)
app.register_install_completion_command()


def run(arguments: Sequence[str]) -> int:
    """Do what a command line says; return the exit status."""
    logging.getLogger("asyncbus").setLevel(logging.CRITICAL)  # what goes wrong is said once, by the error
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a log may hold what the terminal cannot show
    try:
        status = _execute(list(arguments))
        sys.stdout.flush()
    except (CycloptsError, AsyncBusError, RefusedError, OSError, KeyboardInterrupt) as error:
        return _end(error)
    return status


def _execute(arguments: list[str]) -> int:
    command, bound = _parsed(arguments)
    outcome = command(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(outcome):
        outcome = asyncio.run(outcome)
    return outcome if isinstance(outcome, int) else 0


def _parsed(arguments: list[str]) -> tuple[Any, inspect.BoundArguments]:
    """The command and its arguments; the store from the environment, where the command line has none."""
    default = os.environ.get(STORE)
    path, _, rest = app.parse_commands(arguments)
    if default:
        try:
            command, bound = _parse(arguments)
            if "store" not in bound.arguments or is_store(bound.arguments["store"]):
                return command, bound
        except CycloptsError:  # the store may be what it lacks
            pass
        begin = len(arguments) - len(rest)
        if "store" in _parameters([*path]):
            return _parse([*arguments[:begin], default, *rest])
    return _parse(arguments)


def _parse(arguments: list[str]) -> tuple[Any, inspect.BoundArguments]:
    command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False, console=Console())
    return command, bound


def _parameters(path: list[str]) -> Sequence[str]:
    """The names of what a command takes."""
    found = app
    for name in path:
        found = found[name]
    return tuple(inspect.signature(found.default_command).parameters) if found.default_command else ()


def is_store(text: str) -> bool:
    """Whether an argument looks like a store, where it could be something else."""
    path = Path(text)
    return "/" in text or os.sep in text or path.suffix in {".db", ".sqlite", ".sqlite3"} or path.exists()


def _end(error: BaseException) -> int:
    """Say in one line why it ends; return the exit status."""
    status = _status(error)
    if status in _SPOKEN:
        print("asyncbus:", in_one_line(_said(error)), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # what is left in the buffer would fail once more as Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _said(error: BaseException) -> str:
    if not isinstance(error, OSError) or isinstance(error, AsyncBusError):
        return str(error)
    if error.filename is None:
        return f"what was found cannot be written: {error.strerror}"
    return f"{error.filename}: {error.strerror}"


def _status(error: BaseException) -> int:
    match error:
        case RefusedError():
            return error.status
        case CycloptsError() | InvalidOptionError() | InvalidPatternError() | InvalidTypeError() | PayloadError():
            return 2
        case BrokenPipeError():
            return 141
        case KeyboardInterrupt():
            return 130
    return 3
