"""The results of long runs, as they are kept for the docs: `results/`, one file a tool."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.reliability.trials import Figures, Report, Tool

RESULTS = Path(__file__).with_name("results")


class Result(msgspec.Struct, frozen=True):
    """A long run, as it is kept: what it counted, and where."""

    tool: str
    promise: str
    unit: str
    taken: date
    system: str
    python: str
    sqlite: str
    report: Report


def keep(tool: Tool, report: Report) -> None:
    """Keep what a long run of this machine has counted, in place of what was kept of the tool before."""
    result = Result(
        tool=tool.name,
        promise=tool.promise,
        unit=tool.unit,
        taken=datetime.now(UTC).date(),
        system=f"{platform.system()}, {os.cpu_count()} cores",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        report=report,
    )
    RESULTS.mkdir(exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(result), indent=1)
    _path(tool).write_bytes(text + b"\n")


def load(tool: Tool) -> Result | None:
    """What is kept of a tool; None: nothing yet."""
    path = _path(tool)
    return msgspec.json.decode(path.read_bytes(), type=Result, dec_hook=_figures) if path.exists() else None


def _figures(type: Any, found: Any) -> Figures:
    """Of the types of a result msgspec does not know `Counter`."""
    return Figures(found)


def _path(tool: Tool) -> Path:
    return RESULTS / f"{tool.name}.json"
