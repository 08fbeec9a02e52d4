"""The command that writes a log to NDJSON or CSV, and goes on where it was cut off."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TextIO, TypeAlias

import msgspec

from asyncbus.cli import printing
from asyncbus.cli.arguments import Bound, Flag, Moment, pattern
from asyncbus.cli.opening import reading
from asyncbus.cli.paging import pages
from asyncbus.cli.progress import progress
from asyncbus.cli.refusing import RefusedError
from asyncbus.rows import EVENT

ExportFormat: TypeAlias = Literal["ndjson", "csv"]

_BLOCK: Final = 2**16


async def export(
    store: str,
    /,
    *patterns: str,
    output: Path | None = None,
    resume: Flag = False,
    where: str | None = None,
    key: str | None = None,
    since: Moment = None,
    until: Moment = None,
    start: Bound = None,
    stop: Bound = None,
    format: ExportFormat = "ndjson",
) -> None:
    """Write events to stdout or a file, a line each; `asyncbus import` reads NDJSON back.

    `asyncbus export events.db --output events.ndjson`; cut off, the same with --resume goes on after the last line.

    Args:
        store: the log; it may be in use.
        patterns: event types, or prefixes that end in *; none: all.
        output: a file, which must not be there yet.
        resume: it is there, and what it lacks is added.
        where: conditions: data.va > 4096 and metadata.user = "eve".
        key: only this key.
        since: occurred at this time or later.
        until: occurred before this time.
        start: the first sequence wanted, or the first recorded at this time or later.
        stop: the first sequence, or time of recording, not wanted any more.
        format: of the lines.
    """
    conditions: dict[str, Any] = {"where": where, "key": key, "since": since, "until": until}
    async with reading(store) as bus:
        with _opened(output, resume=resume, format=format) as (out, last):
            if last:
                start = max(start, last + 1) if isinstance(start, int) else last + 1
            head = await bus.latest_sequence()
            show = printing.events(format, out, header=not last)
            with progress("exported up to sequence", head) as tell, show as write:
                async for page in pages(bus, pattern(patterns), start=start, stop=stop, **conditions):
                    write(page)
                    tell(page[-1].sequence)


@contextmanager
def _opened(output: Path | None, *, resume: bool, format: ExportFormat) -> Iterator[tuple[TextIO, int]]:
    """Where to write, and the last sequence that is there already."""
    if output is None:
        if resume:
            raise RefusedError("--resume needs --output, the file to go on with", status=2)
        yield sys.stdout, 0
        return
    last = _cut_to_whole_lines(output, format) if resume and output.exists() else 0
    try:
        with output.open("a" if resume else "x", encoding="utf-8", newline="") as out:
            yield out, last
    except FileExistsError:
        raise RefusedError(f"{output} is there already; --resume goes on with it", status=2) from None


def _cut_to_whole_lines(output: Path, format: ExportFormat) -> int:
    """Take away a last line that was cut off; the sequence of the one before it."""
    with output.open("r+b") as file:
        end = _end_of_line_before(file, file.seek(0, 2))
        file.truncate(end)
        if end == 0:
            return 0
        begin = _end_of_line_before(file, end - 1)
        file.seek(begin)
        line = file.read(end - begin).decode()
    try:
        if format == "ndjson":
            return int(msgspec.json.decode(line)["sequence"])
        first = next(csv.reader([line]))
        return 0 if tuple(first) == EVENT else int(first[0])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, csv.Error):
        raise RefusedError(f"{output} does not end in an exported event of format {format}", status=2) from None


def _end_of_line_before(file: BinaryIO, place: int) -> int:
    """Where the last line that ends at or before `place` ends; 0: none does."""
    while place > 0:
        begin = max(place - _BLOCK, 0)
        file.seek(begin)
        found = file.read(place - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        place = begin
    return 0
