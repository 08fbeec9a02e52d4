"""Patterns, and the index from an event type to those who want it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

from msgspec import Struct

from asyncbus.errors import InvalidPatternError
from asyncbus.events import MAX_TYPE_LENGTH, TYPE, offending_token

TYPE_CACHE_LIMIT: Final = 16_384
"""Event types whose receivers are remembered; one more and the index forgets them all and learns anew."""

_PREFIX = re.compile(r"(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*", re.ASCII)


class Pattern(Struct, frozen=True):
    """A set of event types: exact ones, and all that begin with one of some prefixes.

    Terms that another term covers are left out, so the ranges of a pattern never overlap.
    """

    exact: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, pattern: object) -> Pattern:
        """Read `"a.b"`, `"a.*"`, `"a*"`, `"*"`, several of them in a list, or a `Pattern`.

        Raises:
            InvalidPatternError: with the offending part named.
        """
        if isinstance(pattern, Pattern):
            return pattern
        if isinstance(pattern, str):
            return cls._of([_checked(pattern)])
        if isinstance(pattern, Iterable) and not isinstance(pattern, bytes | bytearray | memoryview):
            terms = [_checked(term) for term in pattern]
            if terms:
                return cls._of(terms)
        raise InvalidPatternError(pattern, "expected a string or several strings")

    @classmethod
    def _of(cls, terms: list[str]) -> Pattern:
        wanted = {term[:-1] for term in terms if term.endswith("*")}
        prefixes = tuple(sorted(p for p in wanted if not any(p != q and p.startswith(q) for q in wanted)))
        exact = {term for term in terms if not term.endswith("*") and not term.startswith(prefixes)}
        return cls(tuple(sorted(exact)), prefixes)

    @property
    def matches_all(self) -> bool:
        """Whether it is `*`."""
        return self.prefixes == ("",)

    def matches(self, type: str) -> bool:
        """Whether an event of this type is wanted."""
        return type.startswith(self.prefixes) or type in self.exact

    def ranges(self) -> list[tuple[str, str]]:
        """Half-open ranges `low <= type < high` of all matching types, ascending and without overlap.

        Ranges instead of LIKE or GLOB: nothing to escape, and an index serves them.
        """
        return sorted(
            [(type, f"{type}\0") for type in self.exact] + [(prefix, _after(prefix)) for prefix in self.prefixes]
        )

    def __str__(self) -> str:
        return ", ".join([*self.exact, *(f"{prefix}*" for prefix in self.prefixes)])


def _checked(term: object) -> str:
    if not isinstance(term, str):
        raise InvalidPatternError(term, f"expected a string, found {term.__class__.__name__}")
    if len(term) > MAX_TYPE_LENGTH + term.endswith("*"):
        raise InvalidPatternError(term, f"{len(term)} characters, at most {MAX_TYPE_LENGTH} and a '*' allowed")
    if not term:
        raise InvalidPatternError(term, "it is empty; '*' takes all events")
    if "*" in term[:-1]:
        raise InvalidPatternError(term, f"'*' stands at character {term.index('*') + 1}, but only the end may have one")
    grammar, text = (_PREFIX, term[:-1]) if term.endswith("*") else (TYPE, term)
    if grammar.fullmatch(text) is None:
        raise InvalidPatternError(term, offending_token(text))
    return str.__str__(term)


def _after(prefix: str) -> str:
    """The least string above all that begin with `prefix`; all types are ASCII, so DEL lies above all of them."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\x7f"


class Ranked(Protocol):
    """What the index holds: anything with a rank, by which receivers are ordered."""

    @property
    def rank(self) -> tuple[int, int]:
        """Lower ones come first."""
        ...


R = TypeVar("R", bound=Ranked)


class PatternIndex(Generic[R]):
    """Event type → its receivers, in the order of their ranks.

    A type is looked up once: by one dictionary look-up, and one for each length that a registered prefix has (at most
    255), whatever the number of receivers; then the answer is remembered until the receivers change. Types with the
    same receivers get the very same tuple, so that callers may compare with `is`.
    """

    def __init__(self) -> None:
        self._exact: dict[str, dict[R, None]] = {}
        self._prefixes: dict[str, dict[R, None]] = {}
        self._lengths: dict[int, int] = {}
        self._found: dict[str, tuple[R, ...]] = {}
        # Each answer once, and how many types have it.
        self._interned: dict[tuple[R, ...], tuple[R, ...]] = {}
        self._uses: dict[tuple[R, ...], int] = {}

    def add(self, pattern: Pattern, receiver: R) -> None:
        """Let `receiver` have the events of `pattern` from now on."""
        for type in pattern.exact:
            self._exact.setdefault(type, {})[receiver] = None
        for prefix in pattern.prefixes:
            self._prefixes.setdefault(prefix, {})[receiver] = None
            self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
        self._forget(pattern)

    def remove(self, pattern: Pattern, receiver: R) -> None:
        """Undo `add`."""
        for type in pattern.exact:
            _discard(self._exact, type, receiver)
        for prefix in pattern.prefixes:
            _discard(self._prefixes, prefix, receiver)
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]
        self._forget(pattern)

    def receivers(self, type: str) -> tuple[R, ...]:
        """Those who want events of `type`, lowest rank first."""
        found = self._found.get(type)
        return found if found is not None else self._learn(type)

    def _learn(self, type: str) -> tuple[R, ...]:
        if len(self._found) >= TYPE_CACHE_LIMIT:
            self._forget_all()
        wanted: dict[R, None] = dict(self._exact.get(type, ()))
        for length in self._lengths:
            if length <= len(type):
                wanted.update(self._prefixes.get(type[:length], {}))
        receivers = tuple(sorted(wanted, key=lambda receiver: receiver.rank))
        self._found[type] = receivers = self._interned.setdefault(receivers, receivers)
        self._uses[receivers] = self._uses.get(receivers, 0) + 1
        return receivers

    def _forget(self, pattern: Pattern) -> None:
        if pattern.prefixes:
            self._forget_all()
        for type in pattern.exact:
            receivers = self._found.pop(type, None)
            if receivers is not None:
                self._uses[receivers] -= 1
                if not self._uses[receivers]:
                    del self._uses[receivers], self._interned[receivers]

    def _forget_all(self) -> None:
        self._found.clear()
        self._interned.clear()
        self._uses.clear()


def _discard(table: dict[str, dict[Any, None]], name: str, receiver: object) -> None:
    del table[name][receiver]
    if not table[name]:
        del table[name]
