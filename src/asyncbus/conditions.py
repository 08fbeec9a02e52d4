"""Conditions on what an event says, as text: `data.va > 4096 and metadata.user = "eve"`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias, cast

from msgspec import Struct

from asyncbus.errors import InvalidOptionError
from asyncbus.events import Event, Record, json_decode, stored
from asyncbus.options import check_handler

Where: TypeAlias = Callable[[Event], object] | str
"""A predicate, or conditions as text."""

Kind: TypeAlias = Literal["number", "string", "boolean", "null"]
"""What JSON calls the kind of a value; only values of one kind are compared."""

_EXPECTED: Final = "a predicate, or conditions as in 'data.va > 4096 and data.kind = \"read\"'"

_SPACE: Final = re.compile(r"\s*")
_FIELD: Final = re.compile(r"data|metadata")
# What a path may name is what SQLite can be asked for as well: no quotes, and nothing that JSON writes escaped.
_STEP: Final = re.compile(r'\.(?P<name>[\w-]+)|\[(?P<index>\d{1,9})\]|\["(?P<quoted>[^"\\\x00-\x1f]+)"\]')
_OPERATOR: Final = re.compile(r"==|!=|<=|>=|=|<|>")
_VALUE: Final = re.compile(r"""(?P<json>"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null)|'(?P<text>[^']*)'""")
_AND: Final = re.compile(r"and\b", re.IGNORECASE)

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED: Final = ("number", "string")

_MISSING: Final = object()


class Condition(Struct, frozen=True):
    """That the value at a path of an event's data or metadata compares with a given one.

    It holds only where there is a value. What is of another kind than the given value is different from it, and neither
    below nor above. Strings compare by code points.

    Attributes:
        field: what it looks into: "data" or "metadata".
        path: names of members and places in arrays, from the outside in; none: the whole.
        operator: =, !=, <, <=, > or >=.
        value: a number, a string, a boolean or None; only the first two have an order.
    """

    field: Literal["data", "metadata"]
    path: tuple[str | int, ...]
    operator: str
    value: float | str | bool | None

    @property
    def kind(self) -> Kind:
        """What the given value is."""
        return cast("Kind", _kind(self.value))

    def holds(self, record: Record) -> bool:
        """Whether it does for a record: not where that has bytes, or nothing at the path."""
        text = getattr(record, self.field)
        if not isinstance(text, str):
            return False
        found = json_decode(text)
        for step in self.path:
            found = _within(found, step)
        if found is _MISSING:
            return False
        if _kind(found) != self.kind:
            return self.operator == "!="
        return _COMPARE[self.operator](found, self.value)


def conditions(where: str) -> tuple[Condition, ...]:
    """The conditions of a text, all of which must hold.

    Each is a path, an operator and a value, and `and` joins them. A path begins with `data` or `metadata` and goes on
    with `.name`, `["any name"]` or `[0]`; operators are `=`, `!=`, `<`, `<=`, `>`, `>=`; values are numbers, strings in
    either kind of quotes, `true`, `false` and `null`.

    Raises:
        InvalidOptionError: it is something else, and where.
    """
    return tuple(_Reader(where).read())


def predicate(where: Where | None) -> Callable[[Event], object] | None:
    """What to ask of each event; None: nothing.

    Raises:
        InvalidHandlerError, InvalidOptionError: `where` is neither a predicate nor conditions.
    """
    if isinstance(where, str):
        all_of = conditions(where)
        return lambda event: all(condition.holds(stored(event)) for condition in all_of)
    if where is not None:
        check_handler(where)
    return where


class _Reader:
    """Reads conditions from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def read(self) -> Iterator[Condition]:
        yield self._condition()
        while self._rest:
            self._take(_AND, "`and`, or the end")
            yield self._condition()

    @property
    def _rest(self) -> bool:
        self._place = cast("re.Match[str]", _SPACE.match(self._text, self._place)).end()
        return self._place < len(self._text)

    def _condition(self) -> Condition:
        field = self._take(_FIELD, "`data` or `metadata`")[0]
        path: list[str | int] = []
        while step := _STEP.match(self._text, self._place):
            self._place = step.end()
            path.append(int(step["index"]) if step["index"] else step["name"] or step["quoted"])
        sign = self._take(_OPERATOR, 'a path (.name, [0], ["any name"]) and an operator (= != < <= > >=)')[0]
        sign = "=" if sign == "==" else sign
        found = self._take(_VALUE, "a number, a quoted string, true, false or null")
        try:
            value = found["text"] if found["json"] is None else json_decode(found["json"])
        except ValueError:
            raise self._refused(found.start(), "a value as JSON writes it") from None
        if sign not in {"=", "!="} and _kind(value) not in _ORDERED:
            raise self._refused(found.start(), "a number or a string, which alone have an order")
        if value.__class__ is int and not -(2**63) <= value < 2**63:
            value = float(value)  # as JSON's readers elsewhere have it, SQLite among them
        return Condition(cast('Literal["data", "metadata"]', field), tuple(path), sign, value)

    def _take(self, wanted: re.Pattern[str], expected: str) -> re.Match[str]:
        found = wanted.match(self._text, self._place) if self._rest else None
        if found is None:
            raise self._refused(self._place, expected)
        self._place = found.end()
        return found

    def _refused(self, place: int, expected: str) -> InvalidOptionError:
        shown = self._text[place : place + 20].strip() or "the end"
        return InvalidOptionError("where", f"{_EXPECTED} (at character {place + 1}, {shown!r}: {expected})", self._text)


def _within(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
    return value[step] if isinstance(value, list) and step < len(value) else _MISSING


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "other"
