"""The arguments that commands share, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from cyclopts import Parameter, Token
from cyclopts.validators import Number

_AGO: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d|w)")
_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def moment(text: str) -> datetime:
    """The moment that `2026-11-24T12:30Z`, `2026-11-24` or `10m` (ago) means; without a zone it is local time.

    Raises:
        ValueError: it is none of these.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return datetime.now(UTC) - float(ago["number"]) * _UNITS[ago["unit"]]
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):  # OSError: the year is none of the system's
        raise ValueError(
            f"{text!r} is no time; write 2026-11-24T12:30Z, 2026-11-24, or how long ago: 10m, 1.5h, 2d"
        ) from None


def bound(text: str) -> int | datetime:
    """A sequence, or a moment."""
    return int(text) if text.isdecimal() else moment(text)


def start(text: str) -> int | datetime | str:
    """The same, or one of the ends of the log."""
    return text if text in {"earliest", "latest"} else bound(text)


def speed(text: str) -> float:
    """`10x` or `10`: how many times as fast as it happened."""
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        raise ValueError(f"{text!r} is no speed; write 1x, 10x or 0.5x") from None


def _moment(_: type, tokens: Sequence[Token]) -> datetime:
    return moment(tokens[0].value)


def _bound(_: type, tokens: Sequence[Token]) -> int | datetime:
    return bound(tokens[0].value)


def _start(_: type, tokens: Sequence[Token]) -> Any:
    return start(tokens[0].value)


def _speed(_: type, tokens: Sequence[Token]) -> float:
    return speed(tokens[0].value)


Moment: TypeAlias = Annotated[datetime | None, Parameter(converter=_moment, n_tokens=1, metavar="TIME")]
Bound: TypeAlias = Annotated[int | datetime | None, Parameter(converter=_bound, n_tokens=1, metavar="SEQUENCE|TIME")]
Start: TypeAlias = Annotated[Any, Parameter(converter=_start, n_tokens=1, metavar="earliest|latest|SEQUENCE|TIME")]
Speed: TypeAlias = Annotated[float | None, Parameter(converter=_speed, n_tokens=1, metavar="10x")]
Limit: TypeAlias = Annotated[int | None, Parameter(alias="-n", validator=Number(gte=0))]
Flag: TypeAlias = Annotated[bool, Parameter(negative="")]

Format: TypeAlias = Literal["table", "ndjson", "json", "csv"]
"""How data is printed."""


def pattern(patterns: Sequence[str]) -> Any:
    """What `subscribe` and the others are asked for: all, where nothing is said."""
    return list(patterns) if patterns else "*"
