"""The table of the tools says what their long runs have counted, and of no run more than it was made for."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.reliability import kept, page
from tests.reliability.model.tool import TOOL
from tests.reliability.trials import Figures, Found, Report

BROKEN = Found(8, "lost [1]")


@pytest.fixture(autouse=True)
def _results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path / "results")


def row() -> str:
    """What the table says of the tool that was run."""
    return next(line for line in page.tools_table().splitlines() if line.startswith(f"| `{TOOL.name}` |"))


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Report(7, figures=Figures(steps=2000, stored=4)), "| 2,000 steps, 4 stored: **0 violations** ("),
        (Report(7, violations=[BROKEN]), "| nothing counted: **1 violation** ("),
        (Report(7, violations=[BROKEN, BROKEN]), "| nothing counted: **2 violations** ("),
    ],
)
def test_a_row_says_what_was_counted_and_how_often_the_promise_was_broken(report: Report, said: str) -> None:
    kept.keep(TOOL, report)
    assert said in row()


def test_a_result_is_not_shown_under_a_promise_it_was_not_run_for() -> None:
    kept.keep(replace(TOOL, promise="Whatever is done to a bus, it takes no longer than a plain dict"), Report(7))
    assert row().endswith("| not run yet |")
