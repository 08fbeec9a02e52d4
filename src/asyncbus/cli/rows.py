"""Events as rows: the members of a line of NDJSON, the columns of CSV, and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

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


class EventRow(Struct, forbid_unknown_fields=True):
    """An event as a line of NDJSON has it; only the type has to be there."""

    type: str
    data: Raw = Raw(b"null")
    data_base64: str | None = None
    sequence: int | None = None
    time: datetime | None = None
    recorded_at: datetime | None = None
    id: str | None = None
    key: str | None = None
    metadata: dict[str, Any] | None = None
    version: int | None = None
    causation_id: int | None = None
    correlation_id: str | None = None
    expected_sequence: int | None = None

    def payload(self) -> Raw | bytes:
        """What is to be published as its data.

        Raises:
            ValueError: `data_base64` is not base64.
        """
        if self.data_base64 is None:
            return self.data
        try:
            return base64.b64decode(self.data_base64, validate=True)
        except binascii.Error as error:
            raise ValueError(f"data_base64: {error}") from None


read_row = msgspec.json.Decoder(EventRow).decode
"""An event from a line of NDJSON; raises `msgspec.DecodeError`."""
