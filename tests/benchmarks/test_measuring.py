"""The benchmarks' own arithmetic: contestants in turn, spreads, and what meets a target."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.contained import TookTooLongError
from benchmarks.harness import Contestant, Question, Readings, Step, Target, UnavailableError, in_turn, measure, single
from benchmarks.verdicts import Spread, judge, paired_ratios, spread, within
from benchmarks.wording import number
from tests.benchmarks.answers import asked, counting


def raising(error: Exception) -> Callable[[], float]:
    def run() -> float:
        raise error

    return run


# --- measuring ---


def test_a_warm_up_round_is_not_counted() -> None:
    assert measure(asked(counting("ours")), repeats=3).values == {"ours": [1.0, 2.0, 3.0]}


def test_contestants_are_interleaved_and_each_round_starts_with_the_next_one() -> None:
    order: list[str] = []

    def noting(name: str) -> Contestant:
        def run() -> float:
            order.append(name)
            return 0.0

        return single(name, "", run)

    measure(asked(*map(noting, "abc")), repeats=3, warm_up=False)
    assert "".join(order) == "abc" + "bca" + "cab"


def test_no_contestants_have_no_turn() -> None:
    assert list(in_turn([], 3)) == []


def test_preparing_is_done_once_and_before_anything_is_measured() -> None:
    done: list[str] = []

    def run() -> float:
        done.append("run")
        return 0.0

    measure(Question("how fast?", [single("ours", "", run)], (), prepare=lambda: done.append("prepare")), repeats=1)
    assert done == ["prepare", "run", "run"]


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (UnavailableError("no such package"), "not available: no such package"),
        (TookTooLongError(25), "TookTooLongError: killed after 25 s, its hard limit"),
        (ValueError("broken"), "ValueError: broken"),
    ],
)
def test_a_contestant_that_fails_is_out_and_the_others_go_on(error: Exception, trouble: str) -> None:
    readings = measure(asked(single("ours", "", raising(error)), counting("limit")), repeats=2)
    assert readings.troubles == {"ours": trouble}
    assert readings.values == {"ours": [], "limit": [1.0, 2.0]}


def test_every_step_is_told_up_to_the_last() -> None:
    steps: list[Step] = []
    measure(asked(counting("a"), counting("b")), repeats=2, on_step=steps.append)
    assert [step.done for step in steps] == list(range(8))
    assert steps[-1] == Step(7, 7, "done")
    assert [step.doing for step in steps[1:4]] == ["warm-up: a", "warm-up: b", "round 1 of 2: b"]


# --- arithmetic ---


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert spread([5.0, 1.0, 3.0, 2.0]) == Spread(2.5, 1.0, 5.0)
    assert spread([]) is None


def test_ratios_are_paired_round_by_round() -> None:
    assert paired_ratios([2.0, 9.0, 4.0], [1.0, 3.0]) == [2.0, 3.0]
    assert paired_ratios([2.0], [0.0]) == []


@pytest.mark.parametrize(
    ("value", "at_least", "at_most", "expected"),
    [
        (0.6, 0.6, None, True),
        (0.59, 0.6, None, False),
        (1.1, None, 1.1, True),
        (1.2, None, 1.1, False),
        (2.0, 1.0, 3.0, True),
        (7.0, None, None, None),
    ],
)
def test_bounds_belong_to_what_they_bound(
    value: float, at_least: float | None, at_most: float | None, expected: bool | None
) -> None:
    assert within(value, at_least, at_most) is expected


def test_the_ratio_judged_is_that_of_the_medians() -> None:
    readings = Readings({"ours": [10.0, 70.0, 80.0], "limit": [100.0, 100.0, 200.0]})
    verdict = judge(Target("0.6 of the limit", "ours", "limit", at_least=0.6), readings)
    assert verdict.ratio == pytest.approx(0.7)
    assert verdict.paired == Spread(0.4, 0.1, 0.7)
    assert verdict.met is True


def test_a_value_of_its_own_is_judged_without_a_ratio() -> None:
    verdict = judge(Target("at most 10 ms", "first", at_most=10), Readings({"first": [9.0, 12.0, 11.0]}))
    assert (verdict.ratio, verdict.met) == (None, False)


def test_what_failed_is_not_met_even_if_its_first_rounds_were_fast() -> None:
    readings = Readings({"ours": [900.0], "limit": [100.0, 100.0]}, {"ours": "killed after 25 s"})
    verdict = judge(Target("0.5 of idle", "ours", "limit", at_least=0.5), readings)
    assert (verdict.met, verdict.why) == (False, "killed after 25 s")


def test_what_is_only_shown_is_neither_met_nor_missed() -> None:
    assert judge(Target("for orientation", "ours", "peer"), Readings({"ours": [1.0], "peer": [2.0]})).met is None


def test_nothing_measured_is_not_met() -> None:
    verdict = judge(Target("0.5 of idle", "ours", "limit", at_least=0.5), Readings({"ours": [], "limit": []}))
    assert (verdict.met, verdict.why) == (False, "nothing was measured")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(201_345.0, "201,000"), (1234.5, "1,230"), (12.345, "12.3"), (0.8149, "0.815"), (0.0, "0"), (-4.567, "-4.57")],
)
def test_numbers_show_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown
