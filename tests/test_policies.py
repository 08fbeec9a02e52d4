import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbus.errors import HandlerTimeoutError, InvalidOptionError
from asyncbus.policies import Retry

PLAIN = Retry(jitter=False)


@pytest.mark.parametrize(
    ("retry", "attempt", "delay"),
    [
        (PLAIN, 1, 0.0),
        (PLAIN, 2, 0.1),
        (PLAIN, 3, 0.2),
        (PLAIN, 5, 0.8),
        (PLAIN, 10, 25.6),
        (PLAIN, 11, 30.0),
        (PLAIN, 5_000, 30.0),
        (PLAIN, 10**400, 30.0),
        (Retry(backoff=0, jitter=False), 2, 0.0),
        (Retry(backoff=0, jitter=False), 5_000, 0.0),
        (Retry(factor=1, jitter=False), 9, 0.1),
        (Retry(backoff=1, factor=3, jitter=False), 4, 9.0),
        (Retry(backoff=60, jitter=False), 2, 30.0),
        (Retry(maximum=0, jitter=False), 3, 0.0),
    ],
)
def test_the_delay_grows_from_attempt_to_attempt_up_to_its_maximum(retry: Retry, attempt: int, delay: float) -> None:
    found = retry.delay_before(attempt)

    assert found == pytest.approx(delay)
    assert found.__class__ is float


@pytest.mark.parametrize(("random", "delay"), [(0.0, 0.05), (0.5, 0.075), (1.0, 0.1)])
def test_jitter_takes_up_to_a_half_of_the_delay(random: float, delay: float) -> None:
    assert Retry().delay_before(2, random) == pytest.approx(delay)


def test_without_jitter_chance_is_not_asked() -> None:
    assert PLAIN.delay_before(2, 0.0) == PLAIN.delay_before(2, 0.9) == 0.1


SECONDS = st.floats(0, 1e9) | st.integers(0, 10**9)
RETRIES = st.builds(
    Retry,
    backoff=SECONDS,
    maximum=SECONDS,
    factor=st.floats(1, 1e9) | st.integers(1, 10**9),
    jitter=st.booleans(),
)
ATTEMPTS = st.integers(1, 100) | st.integers(1, 10**400)


@given(RETRIES, ATTEMPTS, st.floats(0, 1, exclude_max=True))
def test_no_delay_is_negative_or_above_the_maximum(retry: Retry, attempt: int, random: float) -> None:
    assert 0 <= retry.delay_before(attempt, random) <= retry.maximum


@given(RETRIES, st.integers(1, 2_000), st.floats(0, 1, exclude_max=True))
def test_no_later_attempt_comes_sooner_by_the_same_chance(retry: Retry, attempt: int, random: float) -> None:
    assert retry.delay_before(attempt, random) <= retry.delay_before(attempt + 1, random)


@pytest.mark.parametrize(
    ("on", "error", "retried"),
    [
        ((Exception,), ValueError("x"), True),
        ((ConnectionError, TimeoutError), ConnectionResetError("x"), True),
        ((ConnectionError, TimeoutError), ValueError("x"), False),
        (ConnectionError, ConnectionResetError("x"), True),
        (TimeoutError, HandlerTimeoutError("projector", 7, 1.0), True),
        (ConnectionError, HandlerTimeoutError("projector", 7, 1.0), False),
        (ConnectionError, ExceptionGroup("x", [ConnectionResetError("y")]), False),
        ((), ValueError("x"), False),
        ((Exception,), KeyboardInterrupt(), False),
    ],
)
def test_only_the_exceptions_that_are_named_are_retried(on: Any, error: BaseException, retried: bool) -> None:
    assert Retry(on=on).retries(error) is retried


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("attempts", 0, "an integer of at least 1"),
        ("attempts", 2.0, "an integer of at least 1"),
        ("attempts", True, "an integer of at least 1"),
        ("backoff", -0.1, "a number of at least 0, at most 1e+09"),
        ("backoff", math.nan, "a number of at least 0, at most 1e+09"),
        ("backoff", "1", "a number of at least 0, at most 1e+09"),
        ("factor", 0.5, "a number of at least 1 and at most 1e+09"),
        ("factor", math.nan, "a number of at least 1 and at most 1e+09"),
        ("factor", math.inf, "a number of at least 1 and at most 1e+09"),
        ("factor", 10**400, "a number of at least 1 and at most 1e+09"),
        ("factor", True, "a number of at least 1 and at most 1e+09"),
        ("factor", "2", "a number of at least 1 and at most 1e+09"),
        ("maximum", -1, "a number of at least 0, at most 1e+09"),
        ("maximum", math.inf, "a number of at least 0, at most 1e+09"),
        ("jitter", 1, "True or False"),
        ("on", ValueError("x"), "an exception class, or a tuple of them"),
        ("on", BaseException, "an exception class, or a tuple of them"),
        ("on", [ValueError], "an exception class, or a tuple of them"),
        ("on", (ValueError, "KeyError"), "an exception class, or a tuple of them"),
        ("on", None, "an exception class, or a tuple of them"),
    ],
)
def test_what_makes_no_policy_is_refused_by_name(option: str, value: Any, expected: str) -> None:
    with pytest.raises(InvalidOptionError, match="must be") as refused:
        Retry(**{option: value})

    assert (refused.value.option, refused.value.expected) == (option, expected)


def test_a_policy_is_a_value() -> None:
    assert Retry(attempts=3) == Retry(attempts=3) != Retry(attempts=4)
    assert len({Retry(), Retry(), Retry(jitter=False)}) == 2
    with pytest.raises(AttributeError):
        PLAIN.attempts = 9  # type: ignore[misc]  # that it cannot be set is the point
