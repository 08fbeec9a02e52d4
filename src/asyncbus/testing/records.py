"""Makes the records that stores get, and compares what they give back."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from asyncbus.encoder import Encoder
from asyncbus.events import Record
from asyncbus.store.base import EventStore

MOMENT: Final = 1_700_000_000_000_000
"""In microseconds since 1970, where the time of test events begins."""

_SHORT: Final = 400

_Error = TypeVar("_Error", bound=BaseException)


def record(
    type: str,
    data: Any = None,
    *,
    id: str | None = None,
    key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    version: int | None = None,
    causation_id: int | None = None,
    correlation_id: str | None = None,
    time: int = MOMENT,
    recorded_at: int = MOMENT,
) -> Record:
    """An event as `EventStore.append` gets it: checked, encoded and checksummed, without a sequence yet.

    Args:
        type, data, id, key, metadata, version, causation_id, correlation_id: as for `EventBus.publish`.
        time: when it occurred, in microseconds since 1970 UTC.
        recorded_at: when it is recorded, the same; all records of one batch have the same, as the writer sets it, and
            it never decreases from one batch to the next.
    """
    submission = Encoder(2**31, lambda: time).submission(
        type,
        data,
        id,
        key,
        metadata,
        version=version,
        causation_id=causation_id,
        correlation_id=correlation_id,
    )
    submission.recorded_at = recorded_at
    return Record(**{name: getattr(submission, name) for name in Record.__struct_fields__})


def content(record: Record) -> tuple[Any, ...]:
    """What a store must give back as it got it: all but the checksum, into which a store may mix what it adds."""
    fields = {name: getattr(record, name) for name in Record.__struct_fields__}
    del fields["checksum"]
    return tuple(fields.values())


async def stored(store: EventStore, records: Sequence[Record]) -> list[Record]:
    """Append records that are all new; return what must be found, whatever became of the records themselves."""
    kept = [msgspec.structs.replace(record) for record in records]
    await store.append(records)
    for one, other in zip(kept, records, strict=True):
        one.sequence = other.sequence
    return kept


def same(found: object, expected: object, what: str) -> None:
    """Assert that two values are equal."""
    assert found == expected, f"{what}: expected {_short(expected)}, found {_short(found)}"  # noqa: S101  # a test's


def holds(condition: object, what: str) -> None:
    """Assert a condition; `what` says what was expected."""
    assert condition, what  # noqa: S101  # a test's


def same_events(found: Sequence[Record], expected: Sequence[Record], what: str) -> None:
    """Assert that a store gave back these events, in this order."""
    same([record.sequence for record in found], [record.sequence for record in expected], f"{what}: sequences")
    for one, other in zip(found, expected, strict=True):
        same(content(one), content(other), f"{what}: event {other.sequence}")
        same(one.data.__class__, other.data.__class__, f"{what}: event {other.sequence}: what holds its data")


async def raised(kind: type[_Error], call: Awaitable[object]) -> _Error:
    """Await something that must raise an error of this class, and return the error."""
    try:
        result = await call
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, but it returned {_short(result)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."
