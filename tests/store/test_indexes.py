"""An index of a log in memory knows what a look through all of it would find."""

from random import Random

import pytest

from asyncbus.events import Record
from asyncbus.store.indexes import Index
from tests.fakes import MOMENT


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_a_look_through_the_log_finds_while_that_grows_and_is_cut(seed: int) -> None:
    random = Random(seed)
    index: Index[str] = Index(lambda record: record.key)
    records: list[Record] = []
    offset = floor = 0
    for _ in range(60):
        for _ in range(random.randrange(5)):
            sequence = offset + len(records) + 1
            records.append(Record(sequence, MOMENT, MOMENT, "a", "1", 0, key=random.choice(("k", "l", None))))
        if random.random() < 0.3:
            floor = random.randint(floor, offset + len(records))
        if random.random() < 0.3:
            del records[: floor - offset]
            offset = floor
        if random.random() < 0.7:
            index.catch_up(records, offset, floor)
            for key in ("k", "l", "unknown"):
                expected = [record.sequence for record in records if record.sequence > floor and record.key == key]
                assert list(index.above(floor, key)) == expected


def test_it_forgets_what_was_removed() -> None:
    index: Index[str] = Index(lambda record: record.key)
    records = [Record(n, MOMENT, MOMENT, "a", "1", 0, key=f"{n}") for n in range(1, 101)]
    index.catch_up(records, 0, 0)
    index.catch_up(records[95:], 95, 95)

    assert len(index._sequences) == 5
