"""Futures that others may cancel between any two lines.

Ctrl-C runs `Task.cancel` on the main task, and with it on what that waits for, wherever the interpreter is. So nobody
who settles a future can ask before whether it is done, and rely on the answer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import InvalidStateError as ThreadInvalidStateError
from typing import TypeAlias, TypeVar

T = TypeVar("T")

AnyFuture: TypeAlias = asyncio.Future[T] | ThreadFuture[T]


def resolve(future: AnyFuture[T], result: T) -> None:
    """Set the result, unless it is done or cancelled already."""
    try:  # noqa: SIM105  # `suppress` takes three times as long, and a subscriber is woken like this
        future.set_result(result)
    except (asyncio.InvalidStateError, ThreadInvalidStateError):
        pass


def fail(future: AnyFuture[T], error: Exception) -> None:
    """Set the exception, unless it is done or cancelled already."""
    try:  # noqa: SIM105  # as above
        future.set_exception(error)
    except (asyncio.InvalidStateError, ThreadInvalidStateError):
        pass
