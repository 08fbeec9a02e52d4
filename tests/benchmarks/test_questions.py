"""Every question still runs: in a tiny size, and asserting no time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks import readme
from benchmarks.harness import Setting, Size, UnavailableError, measure
from benchmarks.peers import imported
from benchmarks.questions import NAMES, question
from benchmarks.verdicts import judge


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


def test_a_peer_that_is_not_installed_is_not_available() -> None:
    with pytest.raises(UnavailableError, match="No module named 'no_such_peer'"):
        imported("no_such_peer")
