"""Every behaviour that does not ask for one kind of store is shown on both."""

from pathlib import Path

import pytest

from tests.behaviour.stage import Log


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    return Log(request.param, tmp_path)


@pytest.fixture
def file_log(tmp_path: Path) -> Log:
    return Log("sqlite", tmp_path)


@pytest.fixture
def memory_log(tmp_path: Path) -> Log:
    return Log("memory", tmp_path)
