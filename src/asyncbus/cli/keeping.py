"""Commands that keep a log: verify, backup."""

from __future__ import annotations

from pathlib import Path

from asyncbus.cli import printing
from asyncbus.cli.arguments import Format
from asyncbus.cli.opening import reading
from asyncbus.cli.progress import progress
from asyncbus.store.verification import look_through


def verify(store: str, /, *, format: Format = "table") -> int:
    """Check a log: checksums, missing events, indexes, its end; a line for each thing that is wrong.

    It may be in use, and is not changed. Exit status 1: something was found.

    Args:
        store: the log.
        format: how what was found is printed; as a table, a line says so where nothing was.
    """
    with progress("verifying", None):
        found = look_through(store.removeprefix("sqlite:///"), is_alone=True)
    if format == "table":
        print(found)
    else:
        rows = [{"sequence": finding.sequence, "message": finding.message} for finding in found.findings]
        printing.rows(format, ("sequence", "message"), rows)
    return 0 if found.sound else 1


async def backup(store: str, path: Path, /) -> None:
    """Copy a log to a file that is not there yet, while it may be in use; the copy is whole, or there is none.

    Args:
        store: the log.
        path: where the copy is to be.
    """
    async with reading(store) as bus:
        with progress("copying", None):
            await bus.backup(path)
