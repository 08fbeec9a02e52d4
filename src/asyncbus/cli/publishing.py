"""The command that publishes: one event from arguments, or many from lines of NDJSON."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from msgspec import Raw

from asyncbus.bus import EventBus
from asyncbus.cli import printing
from asyncbus.cli.arguments import Format, Moment
from asyncbus.cli.lines import EventRow, event_rows, in_line
from asyncbus.cli.opening import writing
from asyncbus.cli.refusing import RefusedError
from asyncbus.errors import AsyncBusError
from asyncbus.events import NewEvent
from asyncbus.futures import resolve
from asyncbus.receipts import PendingReceipt
from asyncbus.rows import Row

_COLUMNS: Final = ("sequence", "duplicate")
_STDIN: Final = "-"
_STDIN_FILE: Final = 0
_BLOCK: Final = 2**16


async def publish(
    store: str,
    type: Annotated[str, Parameter(allow_leading_hyphen=True)] = _STDIN,
    data: str | None = None,
    /,
    *,
    key: str | None = None,
    id: str | None = None,
    metadata: str | None = None,
    time: Moment = None,
    expected_sequence: int | None = None,
    version: int | None = None,
    format: Format = "table",
) -> None:
    """Publish an event, or without a type those that stdin has as lines of NDJSON; print the sequences they got.

    `asyncbus publish events.db tlb.flush_all '{"vcpu": 1}' --key vm-1`

    A line is an object with `type` and, if wanted, `data` (or `data_base64`, for bytes), `key`, `id`, `metadata`,
    `time`, `expected_sequence`, `version`, `causation_id` and `correlation_id`.

    Args:
        store: the log, which is made where there is none; no application may hold it.
        type: the event type; - or none: the events are on stdin.
        data: JSON; what is none is a string.
        key: what orders and groups events.
        id: what makes it safe to publish the same again.
        metadata: a JSON object.
        time: when it occurred; else now.
        expected_sequence: it is stored only if the last event with its key has this sequence; 0: there is none.
        version: of the shape of its data.
        format: how the sequences are printed.
    """
    async with writing(store) as bus:
        if type == _STDIN:
            await _publish_lines(bus, format)
            return
        event = NewEvent(
            type,
            _json_or_text(data),
            id=id,
            key=key,
            metadata=_object(metadata),
            time=time,
            expected_sequence=expected_sequence,
            version=version,
        )
        [receipt] = await bus.publish_many([event])
    printing.rows(format, _COLUMNS, [{"sequence": receipt.sequence, "duplicate": receipt.duplicate}])


async def _publish_lines(bus: EventBus, format: Format) -> None:
    """Publish the lines of stdin as they come, and print what became of each as soon as that is known."""
    begin = 1
    with printing.stream(format, _COLUMNS) as show:
        async for lines in _lines_at_hand():
            pending: list[tuple[int, PendingReceipt]] = []
            try:
                for number, row in event_rows(lines, begin):
                    pending.append((number, await _accepted(bus, number, row)))
            finally:
                for number, receipt in pending:
                    show([await _stored(number, receipt)])
            begin += len(lines)


async def _lines_at_hand() -> AsyncIterator[list[bytes]]:
    """What stdin has, in whole lines."""
    rest = b""
    await _until_readable()
    while block := os.read(_STDIN_FILE, _BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        yield lines
        await _until_readable()
    yield [rest]


async def _until_readable() -> None:
    """Wait until stdin has something; a file has always, and where nobody can tell, whoever reads it waits."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(_STDIN_FILE, resolve, readable, None)
    except (OSError, NotImplementedError):
        return
    try:
        await readable
    finally:
        loop.remove_reader(_STDIN_FILE)


async def _accepted(bus: EventBus, number: int, row: EventRow) -> PendingReceipt:
    try:
        return await bus.publish(
            row.type,
            row.payload(),
            ack="accepted",
            id=row.id,
            key=row.key,
            expected_sequence=row.expected_sequence,
            metadata=row.metadata,
            time=row.time,
            version=row.version,
            causation_id=row.causation_id,
            correlation_id=row.correlation_id,
        )
    except (AsyncBusError, ValueError) as error:
        raise in_line(number, error) from error


async def _stored(number: int, receipt: PendingReceipt) -> Row:
    try:
        stored = await receipt
    except AsyncBusError as error:
        raise in_line(number, error) from error
    return {"sequence": stored.sequence, "duplicate": stored.duplicate}


def _json_or_text(data: str | None) -> Any:
    if data is None:
        return None
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data
    return Raw(data.encode())


def _object(metadata: str | None) -> dict[str, Any] | None:
    try:
        return None if metadata is None else msgspec.json.decode(metadata, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RefusedError(f"--metadata must be a JSON object: {error}", status=2) from error
