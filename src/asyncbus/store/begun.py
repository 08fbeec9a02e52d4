"""A coroutine that is begun now and awaited later, without a task: what eager tasks are from Python 3.12 on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """Runs a coroutine up to where it first waits, and to its end when that has come; await this for what it returns.

    It ends also where nobody comes for it, so that it holds nothing for longer than it takes.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._waiting_for: asyncio.Future[Any] | None = None
        self._error: BaseException | None = None
        self._go_on()

    def _go_on(self, error: BaseException | None = None) -> None:
        """Run it to where it waits next, or to its end."""
        try:
            self._waiting_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration as end:
            self._waiting_for, self._value = None, end.value
        except BaseException as raised:  # noqa: BLE001  # for who awaits it; an error of what nobody comes for is nobody's
            self._waiting_for, self._error = None, raised
        else:
            self._waiting_for.add_done_callback(self._go_on_after)

    def _go_on_after(self, waited: asyncio.Future[Any]) -> None:
        if self._waiting_for is waited:
            self._go_on()

    def __await__(self) -> Generator[Any, None, T]:
        try:
            while (waiting := self._waiting_for) is not None:
                try:
                    # What it raises the coroutine gets, here as there.
                    with suppress(Exception):
                        if not waiting.done():
                            yield waiting
                except asyncio.CancelledError as error:
                    if self._waiting_for is not waiting:  # it is over; who awaits it is cancelled all the same
                        raise
                    self._go_on(error)
                else:
                    self._go_on_after(waiting)
            if self._error is not None:
                raise self._error
            value: T = self._value
            return value
        finally:
            self._coroutine.close()
            self._error = None  # nothing is to keep the frames of what has failed
