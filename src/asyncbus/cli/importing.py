"""The command that makes a log of what was exported, and goes on where it was cut off."""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO

from asyncbus.bus import EventBus
from asyncbus.cli.arguments import Flag
from asyncbus.cli.lines import EventRow, event_rows, in_line
from asyncbus.cli.opening import writing
from asyncbus.cli.progress import progress
from asyncbus.cli.refusing import RefusedError
from asyncbus.clock import SystemClock
from asyncbus.errors import AsyncBusError
from asyncbus.events import Event, NewEvent, to_microseconds
from asyncbus.rows import as_published

_GROUP = 4096
"""Events of one commit."""

_Line = tuple[int, EventRow]


async def import_(store: str, file: Path | None = None, /, *, append: Flag = False) -> None:
    """Make a log of the NDJSON that `asyncbus export` has written.

    Each event keeps its time, when it was recorded, its id, key, metadata, version and causes, and gets its sequence
    anew, 1, 2, 3 …, which is the old one where the log was exported as a whole. Cut off, the same command goes on after
    the last event that is stored.

    Args:
        store: a log that is made, or the one of which an import was cut off; no application may hold it.
        file: the lines; else stdin.
        append: add the events to a log that has others; they are recorded now, and --append is not resumable.
    """
    with ExitStack() as files:
        lines: BinaryIO = sys.stdin.buffer
        size = None
        if file is not None:
            lines = files.enter_context(file.open("rb"))
            size = os.fstat(lines.fileno()).st_size
        clock = _ImportClock()
        async with writing(store, synchronous="normal", clock=clock) as bus:
            head = await bus.latest_sequence()
            importing = _Import(bus, clock, head if append else 0, keep_moments=not append)
            rows = importing.mapped(event_rows(lines))
            if head and not append:
                await _skip(rows, bus, head)
            tell = files.enter_context(progress("imported bytes of the file", size))
            for group in _groups(rows):
                await importing.publish(group)
                if lines.seekable():
                    tell(lines.tell())
        print(f"asyncbus: {importing.stored:,} events imported", file=sys.stderr)


class _ImportClock(SystemClock):
    """Says that it is the moment at which an imported event was recorded."""

    moment: int | None = None

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return super().now() if self.moment is None else self.moment


class _Import:
    """Publishes lines, and follows which sequence each got.

    Args:
        bus: into which.
        clock: of that bus.
        head: of the log into which the first line comes.
        keep_moments: record them as of when they were.
    """

    def __init__(self, bus: EventBus, clock: _ImportClock, head: int, *, keep_moments: bool) -> None:
        self._bus = bus
        self._clock = clock
        self._head = head
        self._keep_moments = keep_moments
        # The sequences that the lines had, ascending: the line at index i is the event `head + i + 1` now.
        self._sequences = array("q")
        self.stored = 0

    def mapped(self, rows: Iterable[_Line]) -> Iterator[_Line]:
        """The lines, with what led to them by its new sequence; what was not exported has led to nothing."""
        for number, row in rows:
            if row.sequence is not None:
                if self._sequences and row.sequence <= self._sequences[-1]:
                    before = self._sequences[-1]
                    raise in_line(number, ValueError(f"sequence {row.sequence} after {before}; they must ascend"))
                self._sequences.append(row.sequence)
            cause = row.causation_id
            if cause:
                place = bisect_left(self._sequences, cause)
                is_there = place < len(self._sequences) and self._sequences[place] == cause
                row.causation_id = self._head + place + 1 if is_there else None
            yield number, row

    async def publish(self, lines: list[_Line]) -> None:
        """Have a group stored, all or nothing."""
        recorded_at = lines[0][1].recorded_at
        if self._keep_moments and recorded_at is not None:
            self._clock.moment = to_microseconds("recorded_at", recorded_at)
        events = [_proposed(number, row) for number, row in lines]
        try:
            receipts = await self._bus.publish_many(events)
        except AsyncBusError as error:
            if len(lines) == 1:
                raise in_line(lines[0][0], error) from error
            for line in lines:  # so that the one that is refused is named
                await self.publish([line])
            return
        self.stored += sum(not receipt.duplicate for receipt in receipts)


def _proposed(number: int, row: EventRow) -> NewEvent:
    try:
        # 0: what is imported follows from nothing that is being handled.
        return NewEvent(
            row.type,
            row.payload(),
            id=row.id,
            key=row.key,
            metadata=row.metadata,
            time=row.time,
            version=row.version,
            causation_id=row.causation_id or 0,
            correlation_id=row.correlation_id,
        )
    except ValueError as error:
        raise in_line(number, error) from error


def _groups(rows: Iterable[_Line]) -> Iterator[list[_Line]]:
    """Lines that were recorded in one moment, some thousands at most."""
    for _, same_moment in groupby(rows, lambda line: line[1].recorded_at):
        group: list[_Line] = []
        for line in same_moment:
            group.append(line)
            if len(group) == _GROUP:
                yield group
                group = []
        if group:
            yield group


async def _skip(rows: Iterator[_Line], bus: EventBus, head: int) -> None:
    """Pass over the lines that are stored already, if they are those."""
    lines = list(deque(islice(rows, head), maxlen=1))
    events = await bus.query(start=head, limit=1)
    if not (lines and events and _is_same(lines[0][1], events[0])):
        raise RefusedError(
            "the log has other events than the first lines of the file: import into a new file, or add them with"
            " --append"
        )


def _is_same(row: EventRow, event: Event) -> bool:
    same_time = row.time is None or row.time == event.time
    content = row.type, bytes(row.payload()), row.id, row.key
    return same_time and content == (event.type, bytes(as_published(event)), event.id, event.key)
