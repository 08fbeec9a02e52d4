"""Opens a store to look into it, or to change it, and says in the words of a command line why it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncbus.bus import EventBus
from asyncbus.cli.refusing import RefusedError
from asyncbus.connect import MEMORY, connect
from asyncbus.errors import StoreLockedError, StoreNotFoundError


@asynccontextmanager
async def reading(store: str) -> AsyncIterator[EventBus]:
    """A bus that only reads, whoever writes meanwhile.

    Args:
        store: path or URL.

    Raises:
        RefusedError: there is no such log.
        StoreError: as it opens.
    """
    bus = connect(_checked(store), read_only=True)
    try:
        await bus.__aenter__()
    except StoreNotFoundError as error:
        raise RefusedError(f"{store} does not exist", status=3) from error
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def writing(store: str, *, must_exist: bool = False, **options: Any) -> AsyncIterator[EventBus]:
    """A bus that may write, which no application may hold meanwhile.

    Args:
        store: path or URL.
        must_exist: do not make it.
        options: of `connect`.

    Raises:
        RefusedError: an application holds it: who, and what to do; or there is no such log.
        StoreError: as it opens.
    """
    if must_exist:
        async with reading(store):
            pass
    bus = connect(_checked(store), **options)
    try:
        await bus.__aenter__()
    except StoreLockedError as error:
        holder = f"process {error.pid}" if error.pid else "another process"
        raise RefusedError(
            f"{holder} holds {store}, and only it can change it: have that application do it, or stop it first;"
            " tail, query, replay and export need not wait",
            status=3,
        ) from error
    try:
        yield bus
    finally:
        await bus.close()


def _checked(store: str) -> str:
    if store in MEMORY:
        raise RefusedError("a log in memory ends with its process; name a file", status=2)
    return store
