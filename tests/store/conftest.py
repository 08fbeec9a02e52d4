"""Where the tests of a store have a log, and on which loops: `@pytest.mark.asyncio(loop_factories=["uvloop"])`."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where a copy of the log goes: a folder of its own."""
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.db"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    marker = item.get_closest_marker("asyncio")
    if marker is None or "uvloop" not in marker.kwargs.get("loop_factories", ()):
        return {"asyncio": asyncio.new_event_loop}
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this system")
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
