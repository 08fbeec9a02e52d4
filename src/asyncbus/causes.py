"""The event being handled, from which what is published follows: a context variable, which tasks inherit."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from asyncbus.events import Record

HANDLED: Final[ContextVar[tuple[object, Record | None]]] = ContextVar("asyncbus event being handled")
"""The log of the event being handled, and the event: one of another log is no cause of what is published here."""

NOTHING: Final[tuple[object, Record | None]] = ("no log", None)
"""No event is being handled."""
