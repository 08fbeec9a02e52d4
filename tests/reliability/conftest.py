"""What the tests of this folder ask for: the short run of a tool, and what a tool finds where a promise is broken."""

import os
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from tests.reliability.small_disks import Unobtainable
from tests.reliability.trials import Figures, Report, Tool, Violation, run

SEED = 1

PATIENCE = 600.0
"""Seconds after which a short run ends, though it has counted too little: what is broken counts nothing.

More than ten times what is needed, as for any limit of a test; and the test itself may take a little longer.
"""

Trial = Callable[[int, Path], Figures]
ShortRun = Callable[[Tool], Report]
Finding = Callable[[Tool, Trial], str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that ask for a short run take as long as that may."""
    for item in items:
        if "short_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(PATIENCE + 60), append=False)


@pytest.fixture(scope="session", autouse=True)
def _multiprocessing_has_its_own() -> None:
    """Have what it keeps for the whole session before a test is asked what it has left behind."""
    resource_tracker.ensure_running()


@pytest.fixture
def short_run() -> ShortRun:
    """Run a tool's short run, where it can run."""

    def run_it(tool: Tool) -> Report:
        _look_for_obstacles(tool)
        report = run(tool, seed=SEED, units=tool.short, seconds=PATIENCE)
        assert report.violations or report.figures[tool.unit] >= tool.short
        return report

    return run_it


@pytest.fixture
def finding(tmp_path: Path) -> Finding:
    """Run a trial of something broken, where its tool can run, with one seed after the other; what it finds."""

    def find(tool: Tool, trial: Trial) -> str:
        _look_for_obstacles(tool)
        for seed in range(SEED, SEED + 20):
            folder = tmp_path / str(seed)
            folder.mkdir()
            try:
                trial(seed, folder)
            except Violation as violation:
                return str(violation)
        pytest.fail("nothing was found in 20 trials")

    return find


def _look_for_obstacles(tool: Tool) -> None:
    """Skip the test of a tool that cannot run, and say why; but fail in CI, where what it takes is to be installed."""
    obstacle = tool.obstacle()
    if obstacle is not None:
        to_be_mended = "CI" in os.environ and not isinstance(obstacle, Unobtainable)
        (pytest.fail if to_be_mended else pytest.skip)(obstacle)
