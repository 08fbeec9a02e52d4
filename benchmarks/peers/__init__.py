"""The peers: other libraries, and one server, each used as its own documentation advises.

None of them is needed to run the benchmarks: one that is not installed is not available, and said to be so. They are
imported when they are measured, by name, because some ship no types and one reads its settings at its import.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from benchmarks.harness import UnavailableError

DEADLINE = 60.0
"""Seconds that a peer is given for one run."""


def imported(name: str) -> ModuleType:
    """The module of that name.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UnavailableError(str(error)) from error
