"""The root of all errors, which can be copied and pickled."""

from __future__ import annotations

from typing import Any, Self, TypeVar

_Error = TypeVar("_Error", bound="AsyncBusError")


class AsyncBusError(Exception):
    """The root of all errors of asyncbus; the facts are attributes of each."""

    def __copy__(self) -> Self:
        # One failed batch fails many publishers: each raises a copy, so that tracebacks do not pile up on one object.
        twin = _rebuild(type(self), self.args, self.__dict__)
        twin.__cause__ = self.__cause__
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[_Error], args: tuple[Any, ...], facts: dict[str, Any]) -> _Error:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error
