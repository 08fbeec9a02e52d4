"""Prints rows to stdout, in the format asked for."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO, TypeAlias

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asyncbus.cli.arguments import Format
from asyncbus.events import Event, stored
from asyncbus.rows import EVENT, Row, event_row

Print: TypeAlias = Callable[[Iterable[Any]], None]
"""Prints some more, and sees to it that they are seen."""

_encode = msgspec.json.Encoder().encode


@contextmanager
def events(format: Format, out: TextIO | None = None, *, header: bool = True) -> Iterator[Print]:
    """Prints events as they come: what is printed is not kept.

    Args:
        format: of the lines.
        out: where to; None: stdout.
        header: begin with the names of the columns, where the format has them.
    """
    out = sys.stdout if out is None else out
    if format == "table":
        yield _EventLines(out).print
        return
    with _machine_readable(format, EVENT, out, header=header) as write:
        yield lambda found: write(event_row(event) for event in found)


@contextmanager
def stream(format: Format, columns: Sequence[str]) -> Iterator[Print]:
    """Prints rows as they come; as a table, with tabulators between the columns."""
    if format != "table":
        with _machine_readable(format, columns, sys.stdout) as write:
            yield write
        return
    print("\t".join(columns))

    def show(found: Iterable[Row]) -> None:
        for row in found:
            print("\t".join(shown(row.get(column)) for column in columns), flush=True)

    yield show


def rows(format: Format, columns: Sequence[str], found: Sequence[Row]) -> None:
    """Print some rows, of which there are few."""
    if format == "table":
        console = Console(file=sys.stdout, highlight=False)
        if not console.is_terminal:
            console.width = 10_000  # nothing is cut off that another program reads
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            is_number = any(isinstance(row.get(column), int | float) for row in found)
            table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
        for row in found:
            table.add_row(*(Text(shown(row.get(column))) for column in columns))
        console.print(table)
        return
    with _machine_readable(format, columns, sys.stdout) as write:
        write(found)


@contextmanager
def _machine_readable(
    format: Format, columns: Sequence[str], out: TextIO, *, header: bool = True
) -> Iterator[Callable[[Iterable[Row]], None]]:
    match format:
        case "csv":
            table = csv.DictWriter(out, columns, lineterminator="\n")
            if header:
                table.writeheader()

            def write(found: Iterable[Row]) -> None:
                table.writerows({name: _text(value) for name, value in row.items()} for row in found)
                out.flush()

            yield write
        case "json":
            before = "["

            def write(found: Iterable[Row]) -> None:
                nonlocal before
                for row in found:
                    out.write(f"{before}\n{_encode(row).decode()}")
                    before = ","
                out.flush()

            yield write
            out.write("[]\n" if before == "[" else "\n]\n")
        case _:

            def write(found: Iterable[Row]) -> None:
                out.writelines(f"{_encode(row).decode()}\n" for row in found)
                out.flush()

            yield write


def _text(value: object) -> object:
    """A value as CSV has it."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, list | dict):
        return _encode(value).decode()
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def shown(value: object) -> str:
    """A value as a table has it."""
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return "" if value is None else printable(str(_text(value)))


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}Z"


def printable(text: str) -> str:
    """With what would command the terminal escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class _EventLines:
    """A line for each event: sequence, time, type, key, data. On a terminal in colours, and no wider than that."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._console = Console(file=out, highlight=False)
        self._widths = [8, 24, 16, 0]

    def print(self, found: Iterable[Event]) -> None:
        """Print some more."""
        on_terminal = self._console.is_terminal
        for event in found:
            cells = self._cells(event)
            if on_terminal:
                line = Text.assemble(*zip(cells, ("dim", "dim", "cyan", "yellow", ""), strict=True))
                line.truncate(self._console.width, overflow="ellipsis")
                self._console.print(line, soft_wrap=True)
            else:
                self._out.write("".join(cells).rstrip() + "\n")
        self._out.flush()

    def _cells(self, event: Event) -> list[str]:
        """What is shown, each as wide as the widest so far."""
        data = stored(event).data
        cells = [str(event.sequence), _time(event.time), event.type, event.key or ""]
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        sequence, time, type, key = (
            f"{cell:>{width}}" if place == 0 else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(cells, self._widths, strict=True))
        )
        text = f"<{len(data):,} bytes>" if isinstance(data, bytes) else printable(" ".join(data.splitlines()))
        return [f"{sequence}  ", f"{time}  ", f"{type}  ", f"{key}  " if key else "", text]
