"""Which events may be stored, by what they expect of their keys."""

import pytest

from asyncbus.batch import Submission
from asyncbus.expecting import judge
from tests.fakes import submission


def keyed(key: str | None = "k", expected: int | None = None, id: str | None = None) -> Submission:
    return submission("a", key=key, expected_sequence=expected, id=id)


def judged(
    *units: list[Submission], last: dict[str, int] | None = None, ids: tuple[str, ...] = (), head: int = 10
) -> tuple[list[int], list[tuple[int, int]]]:
    """Places of what may be stored, and expected and found of what may not."""
    places = {id(event): place for place, event in enumerate(event for unit in units for event in unit)}
    allowed, refused = judge(units, last or {}, ids, head)
    return [places[id(event)] for event in allowed], [(error.expected, error.found) for _, error in refused]


def test_what_expects_the_last_event_of_its_key_may_be_stored() -> None:
    assert judged([keyed(expected=7)], last={"k": 7}) == ([0], [])
    assert judged([keyed(expected=0)]) == ([0], [])
    assert judged([keyed()], last={"k": 7}) == ([0], [])
    assert judged([keyed(key=None)]) == ([0], [])


@pytest.mark.parametrize(("expected", "last", "found"), [(0, 7, 7), (6, 7, 7), (8, 7, 7), (3, None, 0)])
def test_what_expects_another_one_may_not(expected: int, last: int | None, found: int) -> None:
    known = {} if last is None else {"k": last}
    assert judged([keyed(expected=expected)], last=known) == ([], [(expected, found)])


def test_a_unit_sees_those_before_it_and_not_what_was_refused() -> None:
    units = [[keyed(expected=0)], [keyed(expected=0)], [keyed(expected=11)], [keyed()], [keyed(expected=13)]]
    assert judged(*units) == ([0, 2, 3, 4], [(0, 11)])


def test_events_of_other_keys_and_without_one_take_sequences_too() -> None:
    units = [[keyed("l")], [keyed(None)], [keyed("k", 0)], [keyed("k", 13)], [keyed("l", 11)]]
    assert judged(*units) == ([0, 1, 2, 3, 4], [])


def test_a_group_is_one_unit_and_compares_with_what_was_before_it() -> None:
    assert judged([keyed(expected=0), keyed(expected=0)], [keyed(expected=12)]) == ([0, 1, 2], [])
    assert judged([keyed("l", 0), keyed("k", 5)], [keyed("l", 0)]) == ([2], [(5, 0)])


def test_what_is_stored_already_takes_no_sequence_and_expects_nothing() -> None:
    units = [
        [keyed(expected=3, id="x")],
        [keyed(expected=0)],
        [keyed(expected=11, id="y")],
        [keyed(expected=2, id="y")],
    ]
    assert judged(*units, ids=("x",)) == ([0, 1, 2, 3], [])
