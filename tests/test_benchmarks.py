"""The benchmarks' own arithmetic, and that every question still runs: in a tiny size, and asserting no time."""

from __future__ import annotations

import math
import operator
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks import charts, readme
from benchmarks.chart import Bars, Column, Curves, Line, Panel, path_of
from benchmarks.contained import FailedError, TookTooLongError, contained, tell
from benchmarks.harness import (
    Contestant,
    Question,
    Readings,
    Setting,
    Size,
    Step,
    Target,
    UnavailableError,
    in_turn,
    measure,
    single,
)
from benchmarks.machine import Machine, this_machine
from benchmarks.peers import imported
from benchmarks.questions import NAMES, question
from benchmarks.results import Result, answer, load, no_answer, place, save
from benchmarks.verdicts import Spread, judge, paired_ratios, spread, within
from benchmarks.wording import in_lines, number

MACHINE = Machine("a processor", 2, 24.0, "Linux", "ext4", "CPython 3.11", "3.40.1", {"asyncbus": "0.1.0"}, 0.5)


def asked(*contestants: Contestant, targets: Sequence[Target] = ()) -> Question:
    return Question("how fast?", contestants, targets)


def counting(name: str) -> Contestant:
    numbers = count()
    return single(name, "events/s", lambda: float(next(numbers)))


def raising(error: Exception) -> Callable[[], float]:
    def run() -> float:
        raise error

    return run


def answered(readings: Readings, *targets: Target) -> Result:
    contestants = [Contestant({name: "events/s"}, lambda: (0.0,)) for name in readings.values]
    return answer(
        "speed",
        Question("how fast?", contestants, targets, notes="read on a desk\nand twice"),
        readings,
        size=Size.FULL,
        repeats=3,
        seconds=1.25,
        machine=MACHINE,
    )


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


# --- results ---


def test_a_result_comes_back_from_its_file_as_it_was_saved(tmp_path: Path) -> None:
    result = answered(
        Readings({"ours": [1.0, 2.0], "limit": [2.0, 4.0]}), Target("half", "ours", "limit", at_least=0.5)
    )
    save(result, tmp_path / "deeper" / "speed.json")
    assert load(tmp_path / "deeper" / "speed.json") == result


def test_short_runs_do_not_take_the_place_of_full_ones() -> None:
    assert place("speed", Size.FULL) != place("speed", Size.QUICK)


def test_a_question_that_was_killed_has_a_result_that_misses_every_target() -> None:
    question = asked(counting("ours"), targets=[Target("any", "ours", at_least=0.1)])
    result = no_answer("speed", question, "killed after 240 s", size=Size.FULL, repeats=5, machine=MACHINE)
    assert (result.verdicts[0].met, result.trouble, result.sound) == (False, "killed after 240 s", False)
    assert "NO ANSWER: killed after 240 s" in "\n".join(in_lines(result))


def test_a_miss_is_said_on_the_terminal_and_in_the_readme() -> None:
    readings = Readings({"ours": [1.0], "limit": [4.0]})
    result = answered(readings, Target("half of the limit", "ours", "limit", at_least=0.5))
    assert any("MISSED" in line and "half of the limit: 0.250" in line for line in in_lines(result))
    text = "\n".join(readme.tables([result]))
    assert "0 of 1 targets met." in text
    assert "| half of the limit | 1.00 events/s (1.00 to 1.00) | 0.250 (0.250 to 0.250) | MISSED |" in text


def test_the_readme_keeps_what_stands_around_the_figures() -> None:
    text = f"# Title\n\n{readme.BEGIN}\nold\n{readme.END}\nthe rest\n"
    result = answered(Readings({"ours": [1.0]}), Target("one", "ours", at_least=1))
    renewed = readme.renewed(text, readme.tables([result]))
    assert renewed.startswith(f"# Title\n\n{readme.BEGIN}\n")
    assert renewed.endswith(f"{readme.END}\nthe rest\n")
    assert "old" not in renewed
    assert "- and twice" in renewed
    assert readme.renewed(renewed, readme.tables([result])) == renewed


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the marks"):
        readme.renewed("# Title", [])


def test_the_documents_show_the_results_that_are_there() -> None:
    results = [load(path) for name in NAMES if (path := place(name, Size.FULL)).exists()]
    for document, lines in readme.documents(results).items():
        text = document.read_text("utf-8")
        assert readme.renewed(text, lines) == text, "run python -m benchmarks --readme"


def test_the_machine_is_described_without_a_host_or_a_path(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    described = msgspec.json.encode(machine).decode()
    assert machine.cores >= 1
    assert machine.packages.keys() >= {"aiosqlite", "anyio", "msgspec"}
    assert str(tmp_path) not in described
    assert socket.gethostname() not in described


# --- the picture ---


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    module: ModuleType = pytest.importorskip("benchmarks.picture", reason="matplotlib is in the group bench")
    module.drawn([replayed(3.0)])  # before any test: matplotlib keeps the fonts open that it has once read
    return module


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314 - drawn by us
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def replayed(ours: float, *troubles: str) -> Result:
    readings = Readings({"asyncbus replay, reading the data": [ours], "fetchall and decode": [4.0]})
    readings.troubles.update(zip(readings.values, troubles, strict=False))
    return answered(readings, Target("half", "asyncbus replay, reading the data", "fetchall and decode", at_least=0.5))


def test_the_picture_names_the_question_its_number_and_its_target(picture: ModuleType) -> None:
    shown = texts(picture.drawn([replayed(3.0)]))
    assert {"replay, data read", "against fetchall and decoding", "0.750", "≥ 0.5 asked"} <= set(shown)


def test_the_picture_shows_a_miss_in_words_and_in_another_colour(picture: ModuleType) -> None:
    met, missed = picture.drawn([replayed(3.0)]), picture.drawn([replayed(1.0)])
    assert "missed: ≥ 0.5 asked" in texts(missed)
    assert "target missed" in texts(missed)
    assert missed.count(picture.MISSED) > met.count(picture.MISSED)
    assert missed.count(picture.MET) < met.count(picture.MET)


def test_the_picture_shows_what_has_no_answer_as_a_miss(picture: ModuleType) -> None:
    (bar,) = picture.bars([replayed(3.0, "killed after 25 s")])
    assert (bar.shown, bar.spread, bar.met) == ("no answer", None, False)
    assert "no answer" in texts(picture.drawn([replayed(3.0, "killed after 25 s")]))


def test_a_value_of_its_own_is_drawn_as_a_share_of_its_bound(picture: ModuleType) -> None:
    result = answered(Readings({"first": [8.0, 12.0, 40.0]}), Target("at most 10", "first", at_most=10))
    (bar,) = picture.bars([result])
    assert (bar.spread, bar.target, bar.shown) == (Spread(1.2, 0.8, 4.0), 1.0, "12.0 events/s")


def test_the_picture_is_the_same_each_time_it_is_drawn(picture: ModuleType) -> None:
    assert picture.drawn([replayed(3.0)]) == picture.drawn([replayed(3.0)])


def test_a_picture_of_no_results_is_still_one(picture: ModuleType) -> None:
    assert "target met" in texts(picture.drawn([]))


def test_every_target_has_a_label_in_the_picture(picture: ModuleType, tmp_path: Path) -> None:
    targets = [target for name in NAMES for target in question(name, Setting(tmp_path)).targets]
    bounded = [target for target in targets if (target.at_least, target.at_most) != (None, None)]
    assert {(target.figure, target.against) for target in bounded} == picture.LABELS.keys()


def test_the_picture_shows_the_results_that_are_there(picture: ModuleType) -> None:
    results = [load(path) for name in NAMES if (path := place(name, Size.FULL)).exists()]
    shown = texts(picture.PICTURE.read_text(encoding="utf-8"))
    assert shown == texts(picture.drawn(results)), "run python -m benchmarks --readme"


# --- the charts ---

Drawing = Callable[[Bars | Curves, Sequence[Result]], str]


@pytest.fixture(scope="module")
def drawn(picture: ModuleType) -> Drawing:
    from benchmarks import bars, curves  # noqa: PLC0415 - they need matplotlib, as `picture` does

    def draw(chart: Bars | Curves, results: Sequence[Result]) -> str:
        return bars.drawn(chart, results) if isinstance(chart, Bars) else curves.drawn(chart, results)

    return draw


BARS = Bars(
    "speed",
    "How fast",
    ("asyncbus", "a peer", "absent"),
    [Column("speed", "in turn", "events/s", {"asyncbus": "ours", "a peer": "theirs", "absent": "none"})],
)
CURVES = Curves(
    "growth",
    "How it grows",
    [Panel("speed", "a log", "events", "ms", [Line("open", [(1, "one"), (10, "ten"), (100, "none")])])],
)


def test_a_chart_of_bars_shows_each_median_and_says_what_was_not_measured(
    drawn: Drawing,
) -> None:
    results = [answered(Readings({"ours": [7.0, 8.0, 9.0], "theirs": [2.0]}))]
    assert {"How fast", "asyncbus", "8.00", "2.00", "absent", "not measured"} <= set(texts(drawn(BARS, results)))


def test_a_chart_of_bars_names_its_limit(
    drawn: Drawing,
) -> None:
    column = msgspec.structs.replace(BARS.columns[0], limit=("by hand", "theirs"))
    chart = msgspec.structs.replace(BARS, columns=[column])
    shown = texts(drawn(chart, [answered(Readings({"ours": [8.0], "theirs": [2.0]}))]))
    assert any("by hand: 2.00" in text for text in shown)


def test_a_chart_of_curves_shows_the_sizes_that_were_measured(
    drawn: Drawing,
) -> None:
    shown = set(texts(drawn(CURVES, [answered(Readings({"one": [1.0, 2.0], "ten": [3.0, 4.0]}))])))
    assert {"a log, ms", "events", "1", "10"} <= shown
    assert "100" not in shown


def test_a_chart_is_the_same_each_time_it_is_drawn(
    drawn: Drawing,
) -> None:
    results = [answered(Readings({"ours": [8.0], "one": [1.0], "ten": [3.0]}))]
    for chart in (BARS, CURVES):
        assert drawn(chart, results) == drawn(chart, results)


def test_a_chart_is_shown_when_all_its_questions_were_asked(tmp_path: Path) -> None:
    unread = [
        no_answer(name, question(name, Setting(tmp_path)), "killed", size=Size.FULL, repeats=5, machine=MACHINE)
        for name in NAMES
    ]
    assert charts.shown(unread) == list(charts.CHARTS)
    assert charts.shown([result for result in unread if result.question != "growing_types"]) == [
        chart for chart in charts.CHARTS if chart.name != "growth"
    ]
    assert charts.shown([]) == []


def test_every_figure_of_a_chart_is_one_of_its_question(tmp_path: Path) -> None:
    asked = {
        (name, figure)
        for name in NAMES
        for contestant in question(name, Setting(tmp_path)).contestants
        for figure in contestant.units
    }
    assert {named for chart in charts.CHARTS for named in chart.named} <= asked


def test_the_charts_show_the_results_that_are_there(
    drawn: Drawing,
) -> None:
    results = [load(path) for name in NAMES if (path := place(name, Size.FULL)).exists()]
    for chart in charts.shown(results):
        kept = path_of(chart).read_text(encoding="utf-8")
        assert texts(kept) == texts(drawn(chart, results)), "run python -m benchmarks --readme"


# --- processes of their own ---


def test_a_contained_call_returns_what_the_function_returns() -> None:
    assert contained(operator.mul, 6, 7, limit=60) == 42


def test_a_contained_call_tells_on_the_way() -> None:
    told: list[object] = []
    contained(tell, {"done": 1}, limit=60, on_told=told.append)
    assert told == [{"done": 1}]


def test_a_contained_call_that_raises_is_reported_with_what_it_raised() -> None:
    with pytest.raises(FailedError, match="ValueError: invalid literal"):
        contained(int, "no number", limit=60)


def test_a_contained_call_that_hangs_is_killed() -> None:
    with pytest.raises(TookTooLongError, match=r"killed after 0\.5 s"):
        contained(time.sleep, 600, limit=0.5)


class SeenEnoughError(Exception):
    """What a call tells makes the one that contains it stop listening."""


def hold_open(fifo: str) -> None:
    """Start a process that keeps the fifo open, say so, and hang."""
    with open(fifo, "wb") as end:  # noqa: PTH123 - it is no file
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[end.fileno()])
    tell("started")
    time.sleep(600)


def test_what_a_killed_call_has_started_is_killed_with_it(tmp_path: Path) -> None:
    def stop(told: object) -> None:
        raise SeenEnoughError(told)

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(SeenEnoughError, match="started"):
            contained(hold_open, str(fifo), limit=60, on_told=stop)
        os.set_blocking(reading, True)
        assert os.read(reading, 1) == b""  # nobody has the other end any more
    finally:
        os.close(reading)


def test_a_peer_that_is_not_installed_is_not_available() -> None:
    with pytest.raises(UnavailableError, match="No module named 'no_such_peer'"):
        imported("no_such_peer")


# --- the questions ---


@pytest.mark.parametrize("name", NAMES)
def test_question_runs_and_every_figure_is_read(name: str, tmp_path: Path) -> None:
    tiny = question(name, Setting(tmp_path, Size.TINY))
    readings = measure(tiny, repeats=1, warm_up=False)
    absent = {figure for figure, trouble in readings.troubles.items() if trouble.startswith("not available")}
    assert readings.troubles.keys() == absent, readings.troubles
    assert all(len(values) == 1 for figure, values in readings.values.items() if figure not in absent)
    assert all(math.isfinite(value) for values in readings.values.values() for value in values)
    for target in tiny.targets:
        judge(target, readings)  # every figure it names exists


def test_every_question_names_its_figures_once_and_targets_only_those(tmp_path: Path) -> None:
    for name in NAMES:
        asked = question(name, Setting(tmp_path))
        figures = [figure for contestant in asked.contestants for figure in contestant.units]
        named = {name for target in asked.targets for name in (target.figure, target.against) if name is not None}
        assert len(figures) == len(set(figures))
        assert named <= set(figures)


def test_every_file_of_a_question_is_in_the_list() -> None:
    files = Path(readme.README).parent.glob("bench_*.py")
    assert sorted(file.stem.removeprefix("bench_") for file in files) == sorted(NAMES)
