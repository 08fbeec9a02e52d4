"""Tells a database that is busy for a while from one that is away."""

from __future__ import annotations

import sqlite3
from typing import Final

_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

# Of PostgreSQL, as its drivers give them: serialization failure, deadlock, no lock in time, statement timeout.
_STATES: Final = frozenset({"40001", "40P01", "55P03", "57014"})

_IN_USE: Final = "another operation is in progress"
"""What asyncpg says, and has no code for, where somebody else has the connection at that moment."""


def is_busy(error: Exception) -> bool:
    """Whether somebody else has what was wanted, or nobody answers, so that it can be had a while later."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return (
        isinstance(error, OSError)  # a timeout is one, a refused connection another
        or code & 0xFF in _CODES  # the rest of it says why
        or getattr(error, "sqlstate", None) in _STATES
        or _IN_USE in str(error)
    )
