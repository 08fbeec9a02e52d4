"""Checks of arguments, so that a wrong one fails at the call and is named."""

from __future__ import annotations

import inspect
import os
import sys
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

from asyncbus.errors import InvalidHandlerError, InvalidOptionError
from asyncbus.events import LAST_SEQUENCE, MAX_VERSION, to_microseconds

_LEAST: Final = sys.float_info.min
_LONGEST: Final = 1e9

Ack: TypeAlias = Literal["stored", "accepted"]
"""What `publish` waits for."""

WhenFull: TypeAlias = Literal["catch_up", "block", "drop_oldest", "fail"]
"""What happens when a live reader's queue is full."""

Start: TypeAlias = Literal["latest", "earliest"] | int | datetime
"""Where reading begins: a sequence is the first one wanted, a datetime the first one recorded at or after it."""


def check_count(option: str, value: object, least: int = 1, most: int | None = None) -> int:
    """Return `value` if it is an integer of at least `least` and, where that is given, at most `most`.

    Raises:
        InvalidOptionError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limit = "" if most is None else f" and at most {most}"
        raise InvalidOptionError(option, f"an integer of at least {least}{limit}", value)
    return value


def check_version(version: object) -> int:
    """Return `version` if it can be that of a shape, or raise `InvalidOptionError`."""
    if version.__class__ is int and 0 < version <= MAX_VERSION:
        return version
    return check_count("version", version, most=MAX_VERSION)


def check_seconds(option: str, value: object, *, zero: bool = True) -> float:
    """Return `value` if it is a number of seconds, not negative (and not 0 unless `zero`), and below 32 years.

    Raises:
        InvalidOptionError: it is not.
    """
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not (0 if zero else _LEAST) <= value <= _LONGEST
    ):
        raise InvalidOptionError(
            option, f"a number {'of at least' if zero else 'above'} 0, at most {_LONGEST:g}", value
        )
    return float(value)


def check_text(option: str, value: object) -> None:
    """Raise `InvalidOptionError` unless `value` is a string."""
    if not isinstance(value, str):
        raise InvalidOptionError(option, "a string", value)


def check_priority(priority: object) -> None:
    """Raise `InvalidOptionError` unless `priority` is an integer."""
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise InvalidOptionError("priority", "an integer", priority)


def check_path(option: str, value: object) -> str:
    """Return `value` as a string if it can be the path of a file.

    Raises:
        InvalidOptionError: it cannot.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidOptionError(option, "the path of a file", value)
    return path


def check_ack(ack: object) -> None:
    """Raise `InvalidOptionError` unless `ack` is "stored" or "accepted"."""
    if ack not in get_args(Ack):
        raise InvalidOptionError("ack", '"stored" or "accepted"', ack)


def check_when_full(when_full: object) -> None:
    """Raise `InvalidOptionError` unless `when_full` is one of the four outcomes."""
    if when_full not in get_args(WhenFull):
        raise InvalidOptionError("when_full", " or ".join(f'"{name}"' for name in get_args(WhenFull)), when_full)


def check_handler(handler: object) -> None:
    """Raise `InvalidHandlerError` unless `handler` can be called with an event and does something then."""
    if not callable(handler) or inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise InvalidHandlerError(handler)


def check_start(start: object) -> None:
    """Raise `InvalidOptionError` unless `start` has one of its four forms."""
    if not isinstance(start, str):
        if start is not None:
            bound("start", start)
            return
    elif start in {"latest", "earliest"}:
        return
    raise InvalidOptionError("start", '"latest", "earliest", a sequence or an aware datetime', start)


def bound(option: str, value: object) -> tuple[int | None, int | None]:
    """Split one end of a range into (sequence, None), (None, microseconds of recording) or (None, None).

    Raises:
        InvalidOptionError: it is neither a sequence from 1 on, nor an aware datetime, nor None.
    """
    if value is None:
        return None, None
    if isinstance(value, datetime):
        return None, to_microseconds(option, value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LAST_SEQUENCE:
        return value, None
    raise InvalidOptionError(option, "a sequence (1 or more) or an aware datetime", value)
