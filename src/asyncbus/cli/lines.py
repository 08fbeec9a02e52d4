"""Reads events from lines of NDJSON; what is wrong is told with the number of its line."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from asyncbus.cli.refusing import RefusedError


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


_read_row = msgspec.json.Decoder(EventRow).decode
"""An event from a line of NDJSON; raises `msgspec.DecodeError`."""


def event_rows(lines: Iterable[bytes], begin: int = 1) -> Iterator[tuple[int, EventRow]]:
    """The events of some lines, each with its number, which begins at `begin`; empty lines are none.

    Raises:
        RefusedError: a line is no event.
    """
    for number, line in enumerate(lines, begin):
        if line.strip():
            try:
                yield number, _read_row(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise in_line(number, error) from error


def in_line(number: int, error: Exception) -> RefusedError:
    """The error of one line."""
    return RefusedError(f"line {number}: {error}", status=2)
