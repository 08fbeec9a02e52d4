"""How the contract gets at a store: the two methods an author writes, and opening and closing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from unittest import SkipTest

from asyncbus.errors import StoreError
from asyncbus.filters import EventFilter
from asyncbus.patterns import Pattern
from asyncbus.store.base import EventStore
from asyncbus.testing.records import holds

_Error = TypeVar("_Error", bound=StoreError)

ALL: Final = Pattern.parse("*")
"""The pattern of all events."""


def everything(**conditions: Any) -> EventFilter:
    """What a query without a limit asks for."""
    return EventFilter(limit=None, **conditions)


class Logs:
    """The stores of one test."""

    def make_store(self, log: str) -> EventStore:
        """A store, not open yet, over the log of this name: to be written by the store's author.

        In one test the same name is the same log; one not named before in this test holds nothing. A durable store is
        a fresh object each time; one that keeps its events in the object returns that object again.
        """
        raise NotImplementedError

    def make_reader(self, log: str) -> EventStore | None:  # noqa: ARG002  # whoever overrides it needs the name
        """A read-only store, not open yet, over a log that another store writes; None if there is no such thing."""
        return None

    @asynccontextmanager
    async def opened(self, log: str = "log") -> AsyncIterator[EventStore]:
        """An open store over the log of this name."""
        store = self.make_store(log)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def reading(self, log: str = "log") -> AsyncIterator[EventStore]:
        """An open read-only store over the log of this name; skips the test where there are none."""
        reader = self.make_reader(log)
        if reader is None:
            raise SkipTest("this store has no read-only kind: make_reader() returns None")
        holds(reader.features.read_only, "expected of make_reader() a store whose features declare read_only")
        await reader.open()
        try:
            yield reader
        finally:
            await reader.close()

    def needs(self, promise: str, log: str = "log") -> None:
        """Skip the test of a promise that the store's features do not make."""
        if not getattr(self.make_store(log).features, promise):
            raise SkipTest(f"this store does not declare features.{promise}")

    async def refused(self, kind: type[_Error], log: str = "log") -> _Error:
        """Open another store over a log, which must fail with an error of this class; return the error."""
        store = self.make_store(log)
        try:
            await store.open()
        except kind as error:
            return error
        await store.close()
        raise AssertionError(f"expected {kind.__name__} when the log is opened, but it opened")
