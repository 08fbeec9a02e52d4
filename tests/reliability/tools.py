"""The tools by name, in the order of docs/explanation/reliability.md."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tests.reliability.trials import Tool

_MODULES = {
    "kill_loop": "kill_loop",
    "consumer_kills": "consumer_kills",
    "crash_states": "crash_states.tool",
    "failing_calls": "failing_calls.tool",
    "disk_full": "disk_full",
    "power_cuts": "power_cuts",
    "simulation": "simulation.tool",
    "model": "model.tool",
    "load": "load.tool",
}
"""Those that take several files have a folder."""

NAMES = tuple(_MODULES)


def tool(name: str) -> Tool:
    """The tool of that name."""
    return cast("Tool", import_module(f"tests.reliability.{_MODULES[name]}").TOOL)
