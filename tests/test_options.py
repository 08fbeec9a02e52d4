import math
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncbus.errors import InvalidHandlerError, InvalidOptionError
from asyncbus.options import (
    bound,
    check_ack,
    check_count,
    check_handler,
    check_priority,
    check_seconds,
    check_start,
    check_when_full,
)

SECOND = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  # naive is the point


@pytest.mark.parametrize(("value", "least"), [(1, 1), (8192, 1), (0, 0), (2**70, 1), (10, 10)])
def test_a_count_from_the_least_on_is_taken(value: int, least: int) -> None:
    assert check_count("capacity", value, least) == value


@pytest.mark.parametrize(
    ("value", "least"), [(0, 1), (-1, 1), (9, 10), (1.0, 1), ("1", 1), (None, 1), (True, 1), (False, 0)]
)
def test_any_other_count_is_refused_by_name(value: object, least: int) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        check_count("capacity", value, least)

    assert str(refused.value) == f"capacity must be an integer of at least {least}, not {value!r}"


@pytest.mark.parametrize("priority", [0, 1, -1, 2**70])
def test_any_integer_is_a_priority(priority: int) -> None:
    check_priority(priority)


@pytest.mark.parametrize("priority", [None, True, 1.0, "1", [1]])
def test_anything_else_is_no_priority(priority: object) -> None:
    with pytest.raises(InvalidOptionError, match="priority must be an integer"):
        check_priority(priority)


@pytest.mark.parametrize("value", [0, 0.0, 1, 0.5, 1e9])
def test_seconds_are_a_float(value: float) -> None:
    seconds = check_seconds("timeout", value)

    assert (seconds, seconds.__class__) == (value, float)


HUGE = pytest.param(10**400, id="larger than any float")


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf, HUGE, "1", None, True, 1j])
def test_anything_else_is_no_number_of_seconds(value: object) -> None:
    with pytest.raises(InvalidOptionError, match="timeout must be a number of at least 0"):
        check_seconds("timeout", value)


def test_a_speed_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="speed must be a number above 0"):
        check_seconds("speed", 0, zero=False)
    assert check_seconds("speed", 0.1, zero=False) == 0.1


@pytest.mark.parametrize("ack", ["stored", "accepted"])
def test_there_are_two_things_to_wait_for(ack: str) -> None:
    check_ack(ack)
    with pytest.raises(InvalidOptionError, match='ack must be "stored" or "accepted"'):
        check_ack(ack.upper())


@pytest.mark.parametrize("ack", [None, True, 1, ["stored"]])
def test_ack_is_one_of_two_words(ack: object) -> None:
    with pytest.raises(InvalidOptionError):
        check_ack(ack)


@pytest.mark.parametrize("when_full", ["catch_up", "block", "drop_oldest", "fail"])
def test_there_are_four_outcomes_of_a_full_queue(when_full: str) -> None:
    check_when_full(when_full)
    with pytest.raises(InvalidOptionError, match='"catch_up" or "block" or "drop_oldest" or "fail"'):
        check_when_full(f"{when_full}!")


def test_a_handler_is_what_can_be_called() -> None:
    check_handler(print)
    check_handler(lambda event: event)
    for found in ("print", None, 7):
        with pytest.raises(InvalidHandlerError) as refused:
            check_handler(found)
        assert refused.value.found == found


def generator(event: Any) -> Any:
    yield event


async def async_generator(event: Any) -> Any:
    yield event


@pytest.mark.parametrize("handler", [generator, async_generator])
def test_a_generator_is_no_handler_for_calling_it_does_nothing(handler: Any) -> None:
    with pytest.raises(InvalidHandlerError, match="no generator"):
        check_handler(handler)


@pytest.mark.parametrize("start", ["latest", "earliest", 1, 2**40, SECOND])
def test_a_start_has_four_forms(start: object) -> None:
    check_start(start)


@pytest.mark.parametrize("start", ["newest", "", "1", 0, -1, True, 1.5, None, NAIVE, b"latest", ["latest"]])
def test_any_other_start_is_refused_by_name(start: object) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        check_start(start)

    assert (refused.value.option, refused.value.found) == ("start", start)


@pytest.mark.parametrize(
    ("value", "parts"), [(None, (None, None)), (1, (1, None)), (2**40, (2**40, None)), (SECOND, (None, 1_000_000))]
)
def test_the_end_of_a_range_is_a_sequence_or_a_moment(value: Any, parts: tuple[int | None, int | None]) -> None:
    assert bound("stop", value) == parts


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "earliest", NAIVE])
def test_any_other_end_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        bound("stop", value)

    assert (refused.value.option, refused.value.found) == ("stop", value)
