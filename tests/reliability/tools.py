"""The tools by name, in the order of docs/explanation/reliability.md."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tests.reliability.trials import Tool

NAMES = (
    "kill_loop",
    "crash_states",
    "failing_calls",
    "disk_full",
    "power_cuts",
    "simulation",
    "model",
    "load",
)


def tool(name: str) -> Tool:
    """The tool of that name."""
    return cast("Tool", import_module(f"tests.reliability.{name}").TOOL)
