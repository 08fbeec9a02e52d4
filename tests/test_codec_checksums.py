from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncbus.codec import first_damaged
from asyncbus.events import Record
from tests.fakes import submission


def stored(type: str = "page_table.page_fault", data: Any = None, sequence: int = 5, **options: Any) -> Record:
    """A record as it lies in a store, with what the store adds to its checksum."""
    record = submission(type, data, **options)
    record.sequence, record.recorded_at = sequence, 1_700_000_000_123_456
    record.checksum ^= record.recorded_at ^ sequence
    return record


RECORDS: dict[str, Callable[[], Record]] = {
    "text": lambda: stored(data={"address": 4096, "write": True}),
    "bytes": lambda: stored(data=b"\x00\xff page"),
    "all fields": lambda: stored(data=[1.5], id="id-1", key="vm-1", metadata={"trace": "t"}),
    "a key only": lambda: stored(key="vm-1"),
    "a time before 1970": lambda: stored(time=datetime(1969, 1, 1, tzinfo=UTC)),
    "a far sequence": lambda: stored(sequence=2**62),
}


def flipped(value: Any) -> Iterator[Any]:
    """All that differ from `value` in one bit of what is stored (of text: in one that keeps it text)."""
    if isinstance(value, int):
        yield from (value ^ (1 << bit) for bit in range(63))
        yield value - 2**63 if value >= 0 else value + 2**63
    else:
        raw = value if isinstance(value, bytes) else value.encode()
        for place, byte in enumerate(raw):
            for bit in range(8 if value.__class__ is bytes else 7):
                other = raw[:place] + bytes([byte ^ (1 << bit)]) + raw[place + 1 :]
                yield other if isinstance(value, bytes) else other.decode()


@pytest.mark.parametrize("make", RECORDS.values(), ids=RECORDS)
def test_a_record_read_back_as_it_was_stored_is_sound(make: Callable[[], Record]) -> None:
    assert first_damaged([make()]) is None


@pytest.mark.fault(44)
@pytest.mark.parametrize("data", [None, 5, 1.5])
def test_data_that_damage_has_made_something_else_than_text_or_bytes_are_found(data: Any) -> None:
    damaged = stored()
    damaged.data = data

    assert first_damaged([stored(), damaged]) is damaged


FIELDS = [
    (name, field)
    for name, make in RECORDS.items()
    for field in Record.__struct_fields__
    if getattr(make(), field) is not None
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_each_single_flipped_bit_is_found(name: str, field: str) -> None:
    record = RECORDS[name]()
    value = getattr(record, field)
    tried = 0
    for other in flipped(value):
        setattr(record, field, other)
        assert first_damaged([record]) is record, f"{value!r} became {other!r}"
        tried += 1
    assert tried >= 7


@pytest.mark.parametrize("field", ["id", "key", "metadata"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_field_that_was_lost_is_found(field: str, value: str | None) -> None:
    record = RECORDS["all fields"]()
    setattr(record, field, value)

    assert first_damaged([record]) is record


def test_fields_that_changed_places_are_found() -> None:
    record = RECORDS["all fields"]()
    record.id, record.key = record.key, record.id

    assert first_damaged([record]) is record


def test_text_is_not_taken_for_bytes_of_the_same_content() -> None:
    record = stored(data="x")
    record.data = record.data.encode()

    assert first_damaged([record]) is record


def test_the_first_of_several_damaged_ones_is_named() -> None:
    records = [stored(data=number, sequence=number) for number in range(1, 6)]
    records[2].data = records[4].data = "0"

    assert first_damaged(records) is records[2]
