"""Lets a test of a store ask for the loop it runs on: `@pytest.mark.asyncio(loop_factories=["uvloop"])`."""

import asyncio
from collections.abc import Callable, Mapping

import pytest


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    marker = item.get_closest_marker("asyncio")
    if marker is None or "uvloop" not in marker.kwargs.get("loop_factories", ()):
        return {"asyncio": asyncio.new_event_loop}
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this system")
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
