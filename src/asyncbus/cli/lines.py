"""Reads events from lines of NDJSON; what is wrong is told with the number of its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from asyncbus.cli.refusing import RefusedError
from asyncbus.cli.rows import EventRow, read_row


def event_rows(lines: Iterable[bytes], begin: int = 1) -> Iterator[tuple[int, EventRow]]:
    """The events of some lines, each with its number, which begins at `begin`; empty lines are none.

    Raises:
        RefusedError: a line is no event.
    """
    for number, line in enumerate(lines, begin):
        if line.strip():
            try:
                yield number, read_row(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise in_line(number, error) from error


def in_line(number: int, error: Exception) -> RefusedError:
    """The error of one line."""
    return RefusedError(f"line {number}: {error}", status=2)
