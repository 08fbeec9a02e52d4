"""Which classes are the data of which event types, in which versions, and how older versions become newer ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, get_args, get_origin

from asyncbus.asyncapi import document
from asyncbus.errors import BrokenUpcastsError, EventDefinitionError, InvalidPatternError, InvalidTypeError
from asyncbus.events import MAX_VERSION, check_type
from asyncbus.options import check_count
from asyncbus.patterns import Pattern
from asyncbus.shapes import Shape

C = TypeVar("C", bound=type)
V = TypeVar("V")
Upcast: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Plain data of one version → plain data of the next. It must be pure: it is called whenever an old event is read."""
F = TypeVar("F", bound=Upcast)


class Catalog:
    """The event types that have a class. `asyncbus.catalog()` gives the one of this process."""

    def __init__(self) -> None:
        self._by_class: dict[type, Shape] = {}
        # Event type → version → shape, and event type → version from which → upcast.
        self._by_type: dict[str, dict[int, Shape]] = {}
        self._upcasts: dict[str, dict[int, Upcast]] = {}
        # How often it was changed, for those who remember what it said.
        self.changes = 0

    # ---------------------------------------------------------------------------------------------------- declaring

    def declare(self, type: str, version: int, cls: type) -> None:
        """Let `cls` be the data of `type` in `version`; `event` documents it."""
        check_type(type)
        check_count("version", version, most=MAX_VERSION)
        if not isinstance(cls, _class):
            raise EventDefinitionError(f"@asyncbus.event({type!r}) stands above a class, and found {cls!r:.80}")
        if cls in self._by_class:
            raise EventDefinitionError(f"{self._by_class[cls].name} is declared as {self._by_class[cls].type} already")
        shape = Shape(type, version, cls)
        declared = self._by_type.setdefault(type, {}).get(version)
        if declared is not None:
            if not _is_run_again(declared, shape):
                raise EventDefinitionError(
                    f"{type} has a class in version {version} already, {declared.name}; declare {shape.name} with"
                    f" another version= or another type"
                )
            del self._by_class[declared.cls]
        self._by_type[type][version] = self._by_class[cls] = shape
        self.changes += 1

    def declare_upcast(self, type: str, from_version: int, upcast: Upcast) -> None:
        """Let `upcast` lead from one version to the next; the decorator `upcast` documents it."""
        check_type(type)
        check_count("from_version", from_version, most=MAX_VERSION - 1)
        if not callable(upcast):
            raise EventDefinitionError(f"@asyncbus.upcast({type!r}) stands above a function, and found {upcast!r:.80}")
        known = self._upcasts.setdefault(type, {})
        if from_version in known:
            raise EventDefinitionError(f"{type} has an upcast from version {from_version} already")
        known[from_version] = upcast
        self.changes += 1

    def check(self) -> None:
        """See that the upcasts of each type lead, step by step, to the newest version of its class.

        Raises:
            BrokenUpcastsError: those of one do not.
        """
        for type, upcasts in self._upcasts.items():
            newest = max(self._by_type.get(type, {}), default=0)
            leads_to = min(upcasts)
            while leads_to in upcasts:
                leads_to += 1
            if leads_to != newest or max(upcasts) >= newest:
                raise BrokenUpcastsError(type, min(leads_to, newest) or min(upcasts), newest)

    @contextmanager
    def isolated(self, *, empty: bool = False) -> Iterator[None]:
        """Forget at the end what was declared within: for tests, each of which declares classes of its own.

        Args:
            empty: begin with nothing declared, whatever the modules that were imported before have declared.
        """
        before = dict(self._by_class), _copied(self._by_type), _copied(self._upcasts)
        if empty:
            self._by_class, self._by_type, self._upcasts = {}, {}, {}
            self.changes += 1
        try:
            yield
        finally:
            self._by_class, self._by_type, self._upcasts = before
            self.changes += 1

    # ------------------------------------------------------------------------------------------------------- asking

    def __iter__(self) -> Iterator[Shape]:
        """All that is declared, by event type and version."""
        return iter([shape for _, shapes in sorted(self._by_type.items()) for _, shape in sorted(shapes.items())])

    def __len__(self) -> int:
        return len(self._by_class)

    def schema(self, wanted: str | type, version: int | None = None) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of the data of an event type.

        Args:
            wanted, version: as for `shape`.

        Raises:
            InvalidTypeError: it has no class, or none in that version.
        """
        shape = self.shape(wanted, version)
        schema, components = shape.json_schema()
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": shape.cls.__name__}
        return head | schema | ({"$defs": components} if components else {})

    def asyncapi(self, *, title: str = "events", version: str = "1.0.0") -> dict[str, Any]:
        """All that is declared as an AsyncAPI 3 document, ready for `json.dumps`.

        Args:
            title, version: of the program that publishes these events.
        """
        return document(self, title, version)

    def shape(self, wanted: str | type, version: int | None = None) -> Shape:
        """What is declared of a class, or of an event type.

        Args:
            wanted: the event type, or its class.
            version: of the type; None: the newest.

        Raises:
            InvalidTypeError: it has no class, or none in that version.
        """
        if isinstance(wanted, str):
            shapes = self._by_type.get(wanted, {})
            shape = shapes.get(max(shapes, default=0) if version is None else version)
        else:
            shape = self._by_class.get(wanted)
        if shape is None:
            raise InvalidTypeError(
                wanted, "no class is declared for it" + ("" if version is None else " in this version")
            )
        return shape

    def shape_of(self, instance: object) -> Shape:
        """What is declared of the class of a typed event.

        Raises:
            InvalidTypeError: nothing is; a class that derives from a declared one counts by itself.
        """
        shape = self._by_class.get(instance.__class__)
        if shape is None:
            raise InvalidTypeError(
                instance,
                "expected a string, or an instance of a class declared with @asyncbus.event, found"
                f" {instance.__class__.__name__}",
            )
        return shape

    def newest(self, type: str) -> Shape | None:
        """The class of an event type, in its newest version; None: it has none."""
        shapes = self._by_type.get(type)
        return shapes[max(shapes)] if shapes else None

    def upcasts(self, type: str) -> dict[int, Upcast]:
        """The upcasts of an event type, by the version from which they lead on."""
        return self._upcasts.get(type, {})

    def wanted(self, pattern: object) -> tuple[Pattern, dict[str, Shape]]:
        """The pattern of what somebody asks for, and the class of each event type where classes were asked for.

        Args:
            pattern: as `Pattern.parse` takes it, or a class declared with `event`, a base class of such, a union of
                them, or several in a list.

        Raises:
            InvalidPatternError: it is none of these.
        """
        if isinstance(pattern, str | Pattern):
            return Pattern.parse(pattern), {}
        parts = list(pattern) if isinstance(pattern, Iterable) and not isinstance(pattern, _class) else [pattern]
        classes = [cls for part in parts for cls in _members(part)]
        if not classes:
            return Pattern.parse(pattern), {}
        shapes: dict[str, Shape] = {}
        for cls in classes:
            for shape in self._family(cls):
                known = shapes.get(shape.type)
                if known is None or known.version < shape.version:
                    shapes[shape.type] = shape
        names = [part for part in parts if not _members(part)]
        return Pattern.parse([*names, *shapes]), shapes

    def _family(self, cls: type) -> list[Shape]:
        found = [shape for declared, shape in self._by_class.items() if issubclass(declared, cls)]
        if not found or cls is object:
            raise InvalidPatternError(
                cls, "neither it nor a class that derives from it is declared with @asyncbus.event (import them first)"
            )
        return found


_class: Final = type

CATALOG: Final = Catalog()
"""What is declared in this process."""


def catalog() -> Catalog:
    """What is declared in this process: iterate it, or have it as JSON Schema and AsyncAPI."""
    return CATALOG


def event(type: str, *, version: int = 1) -> Callable[[C], C]:
    """Declare a class as the data of an event type; it stays the class it is.

    For a dataclass, a msgspec Struct, an attrs class or a pydantic model. Its instances can be published as they are,
    and who subscribes to the class, to a base class of it, or to a union gets events whose `data` are instances.

    Args:
        type: the event type.
        version: of the shape of the data, from 1 on; it is stored with each event. A class of a higher version is the
            newer shape of the same type.

    Raises:
        InvalidTypeError, InvalidOptionError: a wrong argument.
        EventDefinitionError: the class is none of these kinds, has fields that JSON cannot hold, or another class has
            this type and version.
    """

    def declare(cls: C) -> C:
        CATALOG.declare(type, version, cls)
        return cls

    return declare


def upcast(type: str, *, from_version: int) -> Callable[[F], F]:
    """Declare a function that makes plain data of one version into that of the next.

    Upcasts chain: from each version an event may be stored in, one leads on to the next, up to the newest class. What
    is stored is never rewritten. An event that was published without a version counts as one of the first version that
    has an upcast.

    Args:
        type: the event type.
        from_version: the version it takes; it gives `from_version + 1`.

    Raises:
        InvalidTypeError, InvalidOptionError: a wrong argument.
        EventDefinitionError: there is one already.
    """

    def declare(upcast: F) -> F:
        CATALOG.declare_upcast(type, from_version, upcast)
        return upcast

    return declare


def _copied(tables: dict[str, dict[int, V]]) -> dict[str, dict[int, V]]:
    return {type: dict(table) for type, table in tables.items()}


def _members(part: object) -> list[type]:
    """The classes of a class, or of a union of classes; none for anything else."""
    if isinstance(part, _class) and get_origin(part) is None:
        return [part]
    if isinstance(part, UnionType) or get_origin(part) is Union:
        return [cls for member in get_args(part) for cls in _members(member)]
    return []


def _is_run_again(declared: Shape, shape: Shape) -> bool:
    """Whether a cell of a notebook, or a line at the prompt, was run once more."""
    return declared.name == shape.name and shape.cls.__module__ == "__main__" and "<locals>" not in shape.name
