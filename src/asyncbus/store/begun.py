"""A coroutine that is begun now and awaited later, without a task: what eager tasks are from Python 3.12 on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """Runs a coroutine up to where it first waits; whoever awaits this goes on with it, and dropping it closes it."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._waiting_for: asyncio.Future[Any] | None = None
        self._error: BaseException | None = None
        self._go_on()
        if self._waiting_for is not None:
            # An error of what nobody comes for is nobody's.
            self._waiting_for.add_done_callback(_look_at)

    def _go_on(self, error: BaseException | None = None) -> None:
        """Run it to where it waits next, or to its end."""
        try:
            self._waiting_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration as end:
            self._waiting_for, self._value = None, end.value
        except BaseException as raised:  # noqa: BLE001  # for who awaits it
            self._waiting_for, self._error = None, raised

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            while self._waiting_for is not None:
                try:
                    if not self._waiting_for.done():
                        yield self._waiting_for
                except BaseException as error:  # noqa: BLE001  # the coroutine's, as `yield from` would give it
                    self._go_on(error)
                else:
                    self._go_on()
            if self._error is not None:
                raise self._error
            value: T = self._value
            return value
        finally:
            self._coroutine.close()
            self._error = None  # nothing is to keep the frames of what has failed


def _look_at(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
