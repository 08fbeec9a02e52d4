"""The short run of a tool, as every test of this folder asks for it, and what a tool finds where a promise is broken."""

import os
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from tests.reliability.trials import Figures, Report, Tool, Violation, run

SEED = 1

ShortRun = Callable[[Tool], Report]
Finding = Callable[[Callable[[int, Path], Figures]], str]


@pytest.fixture(scope="session", autouse=True)
def _multiprocessing_has_its_own() -> None:
    """Have what it keeps for the whole session before a test is asked what it has left behind."""
    resource_tracker.ensure_running()


@pytest.fixture
def short_run() -> ShortRun:
    """Run a tool's short run; where it cannot run the test is skipped and says why, but in CI it fails."""

    def run_it(tool: Tool) -> Report:
        obstacle = tool.obstacle()
        if obstacle is not None:
            (pytest.fail if "CI" in os.environ else pytest.skip)(obstacle)
        report = run(tool, seed=SEED, units=tool.short)
        assert report.figures[tool.unit] >= tool.short
        return report

    return run_it


@pytest.fixture
def finding(tmp_path: Path) -> Finding:
    """Run a trial of something broken with one seed after the other, until it finds that; what it finds."""

    def find(trial: Callable[[int, Path], Figures]) -> str:
        for seed in range(SEED, SEED + 20):
            folder = tmp_path / str(seed)
            folder.mkdir()
            try:
                trial(seed, folder)
            except Violation as violation:
                return str(violation)
        pytest.fail("nothing was found in 20 trials")

    return find
