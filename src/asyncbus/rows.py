"""Events as rows for other programs: the members of an object of JSON, the columns of CSV."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from asyncbus.events import Event, stored

Row = Mapping[str, Any]

EVENT: Final = (
    *("sequence", "time", "recorded_at", "type", "data", "data_base64", "id", "key", "metadata"),
    *("version", "causation_id", "correlation_id"),
)
"""The members of an event, in order; of `data` and `data_base64`, which has bytes, it has one."""


def event_row(event: Event) -> dict[str, Any]:
    """All that is known of an event, data and metadata as they are stored; without what it has not."""
    record = stored(event)
    row = {
        "sequence": event.sequence,
        "time": event.time,
        "recorded_at": event.recorded_at,
        "type": event.type,
        **_data(record.data),
        "id": event.id,
        "key": event.key,
        "metadata": None if record.metadata is None else _json(record.metadata),
        "version": event.version,
        "causation_id": event.causation_id,
        "correlation_id": event.correlation_id,
    }
    return {name: value for name, value in row.items() if value is not None}


def _data(data: str | bytes) -> dict[str, Any]:
    if isinstance(data, bytes):
        return {"data_base64": base64.b64encode(data).decode()}
    return {"data": _json(data)}


def _json(text: str) -> Raw:
    """Stored JSON in one line: what was published as `msgspec.Raw` may have several."""
    if "\n" in text or "\r" in text:
        text = msgspec.json.format(text, indent=-1)
    return Raw(text.encode())


def as_published(event: Event) -> Raw | bytes:
    """The data of an event, to be published as it is stored."""
    data = stored(event).data
    return data if isinstance(data, bytes) else Raw(data.encode())
