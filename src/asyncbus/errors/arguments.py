"""What was given is not what is wanted: nothing has happened."""

from __future__ import annotations

from typing import Final

from asyncbus.errors.base import AsyncBusError

_SHORT: Final = 80


class InvalidTypeError(AsyncBusError, ValueError):
    """An event type is not dot-separated tokens of `A-Z a-z 0-9 _ -`, at most 255 characters."""

    def __init__(self, found: object, reason: str) -> None:
        self.found = found
        self.reason = reason
        super().__init__(f"invalid event type {_short(found)}: {reason}")


class InvalidPatternError(AsyncBusError, ValueError):
    """A pattern is neither an exact event type nor a prefix that ends in `*`."""

    def __init__(self, found: object, reason: str) -> None:
        self.found = found
        self.reason = reason
        super().__init__(f"invalid pattern {_short(found)}: {reason}")


class InvalidOptionError(AsyncBusError, ValueError):
    """An argument is outside what it may be."""

    def __init__(self, option: str, expected: str, found: object) -> None:
        self.option = option
        self.expected = expected
        self.found = found
        super().__init__(f"{option} must be {expected}, not {_short(found)}")


class EventDefinitionError(AsyncBusError, TypeError):
    """A class cannot be declared as an event, or an upcast not registered; nothing was."""


class BrokenUpcastsError(AsyncBusError):
    """Upcasts of an event type do not lead to the newest version of its class, step by step.

    `type` is the event type, `missing` the version from which no step leads on, `newest` that of the class (0: no
    class was declared).
    """

    def __init__(self, type: str, missing: int, newest: int) -> None:
        self.type = type
        self.missing = missing
        self.newest = newest
        if newest:
            what = f"no upcast leads on from version {missing} to version {newest} of its class"
        else:
            what = "there are upcasts, but no class is declared"
        super().__init__(
            f"the upcasts of {type} are broken: {what}; import the module that has it before the bus opens"
        )


class InvalidHandlerError(AsyncBusError, TypeError):
    """A handler is nothing that can be called with one event, or a generator, which would not run."""

    def __init__(self, found: object) -> None:
        self.found = found
        super().__init__(
            "a handler or predicate must be callable with one event (a consumer's handler also with an event and its"
            f" delivery), and no generator; found {_short(found)}"
        )


class PayloadError(AsyncBusError, ValueError):
    """The data of an event cannot be encoded, or what is stored cannot be decoded.

    `path` leads to the offending part, `$` being the whole: `$.stages[2].ms`.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"payload at {path}: {reason}")


class NewerVersionError(PayloadError):
    """An event was stored in a newer version of its shape than this program has a class for.

    `type` and `found` tell of the event, `known` is the newest version of the class that was asked for.
    """

    def __init__(self, type: str, found: int, known: int) -> None:
        self.type = type
        self.found = found
        self.known = known
        super().__init__(
            "$",
            f"{type} is stored in version {found}, and this program knows it up to version {known}; upgrade the"
            ' program, or subscribe with when_newer="raw" to have its plain data',
        )


class PayloadTooLargeError(PayloadError):
    """The encoded data (or metadata, says `path`) are larger than the bus's `max_payload`; both in bytes."""

    def __init__(self, size: int, limit: int, path: str = "$") -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            path, f"{size} bytes encoded, at most {limit} allowed; raise max_payload or publish a reference"
        )


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # what is refused may refuse to be shown
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."
