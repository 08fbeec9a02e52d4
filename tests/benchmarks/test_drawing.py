"""What was measured is shown in a picture of all targets, and in charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks import charts
from benchmarks.chart import Bars, Column, Curves, Line, Panel, path_of
from benchmarks.harness import Readings, Setting, Size, Target
from benchmarks.questions import NAMES, question
from benchmarks.results import Result, load, no_answer, place
from benchmarks.verdicts import Spread
from tests.benchmarks.answers import MACHINE, answered

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


def test_a_chart_of_bars_shows_each_median_and_says_what_was_not_measured(drawn: Drawing) -> None:
    results = [answered(Readings({"ours": [7.0, 8.0, 9.0], "theirs": [2.0]}))]
    assert {"How fast", "asyncbus", "8.00", "2.00", "absent", "not measured"} <= set(texts(drawn(BARS, results)))


def test_a_chart_of_bars_names_its_limit(drawn: Drawing) -> None:
    column = msgspec.structs.replace(BARS.columns[0], limit=("by hand", "theirs"))
    chart = msgspec.structs.replace(BARS, columns=[column])
    shown = texts(drawn(chart, [answered(Readings({"ours": [8.0], "theirs": [2.0]}))]))
    assert any("by hand: 2.00" in text for text in shown)


def test_a_chart_of_curves_shows_the_sizes_that_were_measured(drawn: Drawing) -> None:
    shown = set(texts(drawn(CURVES, [answered(Readings({"one": [1.0, 2.0], "ten": [3.0, 4.0]}))])))
    assert {"a log, ms", "events", "1", "10"} <= shown
    assert "100" not in shown


def test_a_chart_is_the_same_each_time_it_is_drawn(drawn: Drawing) -> None:
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


def test_the_charts_show_the_results_that_are_there(drawn: Drawing) -> None:
    results = [load(path) for name in NAMES if (path := place(name, Size.FULL)).exists()]
    for chart in charts.shown(results):
        kept = path_of(chart).read_text(encoding="utf-8")
        assert texts(kept) == texts(drawn(chart, results)), "run python -m benchmarks --readme"
