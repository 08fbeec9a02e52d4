"""The event being handled, from which what is published follows: a context variable, which tasks inherit."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TypeAlias

from asyncbus.events import Record

Handled: TypeAlias = ContextVar[Record | None]
"""The event of one log that is being handled. Each log has its own: an event of another is no cause of its events."""


def handled() -> Handled:
    """One for a log."""
    return ContextVar("asyncbus event being handled", default=None)
