from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.errors import InvalidOptionError, InvalidPatternError
from asyncbus.events import Record, from_microseconds
from asyncbus.filters import EventFilter
from asyncbus.patterns import Pattern


def record(
    sequence: int = 5, recorded_at: int = 50, time: int = 40, type: str = "a.b", key: str | None = "k"
) -> Record:
    return Record(sequence, recorded_at, time, type, "null", 0, key=key)


@pytest.mark.parametrize(
    ("conditions", "met"),
    [
        ({}, True),
        ({"pattern": Pattern.parse("a.*")}, True),
        ({"pattern": Pattern.parse("b.*")}, False),
        ({"start_sequence": 5}, True),
        ({"start_sequence": 6}, False),
        ({"stop_sequence": 6}, True),
        ({"stop_sequence": 5}, False),
        ({"start_recorded": 50}, True),
        ({"start_recorded": 51}, False),
        ({"stop_recorded": 51}, True),
        ({"stop_recorded": 50}, False),
        ({"since": 40}, True),
        ({"since": 41}, False),
        ({"until": 41}, True),
        ({"until": 40}, False),
        ({"key": "k"}, True),
        ({"key": "other"}, False),
        ({"limit": 1}, True),
        ({"newest_first": True}, True),
        ({"start_sequence": 5, "stop_sequence": 6, "since": 40, "until": 41, "key": "k"}, True),
        ({"start_sequence": 5, "stop_sequence": 6, "since": 40, "until": 41, "key": "x"}, False),
    ],
)
def test_a_range_takes_its_beginning_and_leaves_out_its_end(conditions: dict[str, Any], met: bool) -> None:
    assert EventFilter(**conditions).matches(record()) is met


def test_an_event_without_a_key_has_no_key_that_could_be_asked_for() -> None:
    assert EventFilter().matches(record(key=None))
    assert not EventFilter(key="k").matches(record(key=None))


BOUND = st.none() | st.integers(1, 6)


@given(st.tuples(BOUND, BOUND), st.tuples(BOUND, BOUND), st.integers(1, 6), st.integers(1, 6))
def test_all_conditions_must_hold(
    of_sequence: tuple[int | None, int | None], of_time: tuple[int | None, int | None], sequence: int, time: int
) -> None:
    start, stop = of_sequence
    since, until = of_time
    wanted = EventFilter(start_sequence=start, stop_sequence=stop, since=since, until=until)
    inside = sequence in range(start or 0, stop or 9) and time in range(since or 0, until or 9)

    assert wanted.matches(record(sequence=sequence, time=time)) == inside


def test_the_arguments_of_a_query_become_a_filter() -> None:
    second = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)

    assert EventFilter.build(
        ["a", "b.*"], start=3, stop=second, since=second, until=second, key="k", limit=None
    ) == EventFilter(
        pattern=Pattern.parse(["a", "b.*"]),
        start_sequence=3,
        stop_recorded=1_000_000,
        since=1_000_000,
        until=1_000_000,
        key="k",
        limit=None,
    )
    assert EventFilter.build(start=second, stop=7, newest_first=True) == EventFilter(
        start_recorded=1_000_000, stop_sequence=7, newest_first=True
    )


def test_nothing_asked_for_is_everything_up_to_the_usual_limit() -> None:
    assert EventFilter.build() == EventFilter(pattern=Pattern.parse("*"), limit=1000)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # hypothesis takes the zone apart
def test_a_moment_is_the_first_that_is_taken(moment: datetime) -> None:
    wanted = EventFilter.build(since=moment)
    at = (moment - from_microseconds(0)) // timedelta(microseconds=1)

    assert wanted.matches(record(time=at))
    assert not wanted.matches(record(time=at - 1))


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"start": 0}, "start"),
        ({"start": -1}, "start"),
        ({"start": True}, "start"),
        ({"start": "earliest"}, "start"),
        ({"start": datetime(2026, 1, 1)}, "start"),  # noqa: DTZ001  # naive is the point
        ({"stop": 0}, "stop"),
        ({"stop": 1.5}, "stop"),
        ({"since": 7}, "since"),
        ({"since": datetime(2026, 1, 1)}, "since"),  # noqa: DTZ001  # naive is the point
        ({"until": "today"}, "until"),
        ({"key": ""}, "key"),
        ({"key": 7}, "key"),
        ({"limit": 0}, "limit"),
        ({"limit": 1.0}, "limit"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        EventFilter.build(**arguments)

    assert refused.value.option == option


def test_a_wrong_pattern_is_a_pattern_error() -> None:
    with pytest.raises(InvalidPatternError):
        EventFilter.build("a..b")


def test_a_filter_is_a_value() -> None:
    wanted = EventFilter(key="k")

    with pytest.raises(AttributeError):
        wanted.key = "other"  # type: ignore[misc]  # it is frozen
