"""The short run of a tool, as every test of this folder asks for it."""

import os
from collections.abc import Callable

import pytest

from tests.reliability.trials import Report, Tool, run

SEED = 1

ShortRun = Callable[[Tool], Report]


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
