"""What a reader gets as the data of an event: an instance of its class, by upcasts where it is older, or plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Final, Literal, NoReturn, TypeAlias, get_args

import msgspec

from asyncbus.catalog import CATALOG, Upcast
from asyncbus.errors import InvalidOptionError, NewerVersionError, PayloadError
from asyncbus.events import Event, Record, json_decode
from asyncbus.patterns import TYPE_CACHE_LIMIT, Pattern
from asyncbus.shapes import Shape

Wanted: TypeAlias = "str | Pattern | Iterable[str | type] | UnionType"
"""What type checkers take where no single class is asked for."""

WhenNewer: TypeAlias = Literal["raw", "refuse"]
"""What becomes of an event that is stored in a newer version than the program knows."""

Decode: TypeAlias = Callable[[Any], Any]

_PLAIN: Final = (json_decode, json_decode)


class Decoding:
    """Which decoder an event gets, by its type and the version it is stored in.

    Args:
        shapes: event type → the class that was asked for. Of other types, what has a version is an instance of the
            newest class that is declared, if any.
        when_newer: what becomes of events newer than that; None: refused where a class was asked for, else raw.
    """

    def __init__(self, shapes: Mapping[str, Shape], when_newer: WhenNewer | None = None) -> None:
        self._shapes = shapes
        self._when_newer = when_newer
        self.is_plain = not shapes
        self._known: dict[tuple[str, int | None], tuple[Decode, Decode]] = {}
        self._changes = CATALOG.changes

    def event(self, record: Record) -> Event[Any]:
        """The event of a record."""
        if record.version is None and self.is_plain:
            return Event(record)
        # One look-up an event (benchmarks/bench_typed_events.py).
        found = self._known.get((record.type, record.version)) if self._changes == CATALOG.changes else None
        decode, refuse = self._learn(record.type, record.version) if found is None else found
        return Event(record, decode if record.data.__class__ is str else refuse)

    def _learn(self, type: str, version: int | None) -> tuple[Decode, Decode]:
        if self._changes != CATALOG.changes or len(self._known) >= TYPE_CACHE_LIMIT:
            self._known.clear()
            self._changes = CATALOG.changes
        found = self._known[type, version] = self._find(type, version)
        return found

    def _find(self, type: str, version: int | None) -> tuple[Decode, Decode]:
        """What decodes text, and what decodes bytes."""
        shape = self._shapes.get(type)
        when_newer = self._when_newer or ("raw" if shape is None else "refuse")
        if shape is None:
            shape = None if version is None else CATALOG.newest(type)
        if shape is None:
            return _PLAIN
        upcasts = CATALOG.upcasts(type)
        stored = min(upcasts, default=shape.version) if version is None else version
        if stored > shape.version:
            if when_newer == "raw":
                return _PLAIN
            refuse = _refusing(type, stored, shape.version)
            return refuse, refuse
        if stored == shape.version:
            return shape.decode, shape.refuse
        return _upcasting(shape, stored, [upcasts.get(step) for step in range(stored, shape.version)]), shape.refuse


PLAIN = Decoding({})
"""For who asked for no class."""


def select(pattern: object, when_newer: WhenNewer | None = None) -> tuple[Pattern, Decoding]:
    """The pattern of what somebody asks for, and how it is decoded.

    Raises:
        InvalidPatternError, InvalidOptionError
    """
    wanted, shapes = CATALOG.wanted(pattern)
    if when_newer is None:
        return wanted, Decoding(shapes) if shapes else PLAIN
    if when_newer not in get_args(WhenNewer):
        raise InvalidOptionError("when_newer", " or ".join(f'"{name}"' for name in get_args(WhenNewer)), when_newer)
    return wanted, Decoding(shapes, when_newer)


def _refusing(type: str, stored: int, known: int) -> Decode:
    def refuse(_: object) -> NoReturn:
        """Of any event of that version."""
        raise NewerVersionError(type, stored, known)

    return refuse


def _upcasting(shape: Shape, stored: int, steps: list[Upcast | None]) -> Decode:
    def read(text: str) -> Any:
        """The instance, by one upcast after the other."""
        data = json_decode(text)
        for version, step in enumerate(steps, stored):
            if step is None:
                raise PayloadError(
                    "$",
                    f"{shape.type} is stored in version {stored}, and no upcast leads on from version {version} to"
                    f" {shape.version}, that of {shape.name}",
                )
            data = _stepped(shape.type, version, step, data)
        return shape.convert(data)

    return read


def _stepped(type: str, version: int, step: Upcast, data: dict[str, Any]) -> dict[str, Any]:
    try:
        return step(data)
    except (msgspec.DecodeError, RecursionError):
        raise
    except Exception as error:
        raise PayloadError("$", f"the upcast of {type} from version {version} raised {error!r}") from error
