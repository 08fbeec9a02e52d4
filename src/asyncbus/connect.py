"""From a URL to a bus: the only place that names back ends."""

from __future__ import annotations

import os
from typing import Final, Literal, TypedDict, Unpack

from asyncbus.bus import EventBus
from asyncbus.errors import InvalidOptionError
from asyncbus.options import check_path
from asyncbus.store.memory import MemoryStore
from asyncbus.store.sqlite import SQLiteStore

MEMORY: Final = ("", ":memory:", "memory://", "sqlite://", "sqlite:///:memory:")
"""URLs of a log in memory."""


class BusOptions(TypedDict, total=False):
    """The options of `EventBus`, which documents them."""

    inbox_capacity: int
    inbox_bytes: int
    recent_capacity: int
    max_payload: int
    close_timeout: float


def connect(
    url: str | os.PathLike[str] | None = None,
    *,
    synchronous: Literal["full", "normal"] | None = None,
    read_only: bool = False,
    any_filesystem: bool = False,
    max_events: int | None = None,
    **options: Unpack[BusOptions],
) -> EventBus:
    """A bus over the store that `url` names; open it with `async with`, where the store's errors come.

    Args:
        url: nothing or ":memory:": a `MemoryStore`; a path, `sqlite:///relative.db` or `sqlite:////absolute.db`: a
            `SQLiteStore`.
        synchronous: of a `SQLiteStore`; None: "full".
        read_only: of a `SQLiteStore`.
        any_filesystem: of a `SQLiteStore`.
        max_events: of a `MemoryStore`.
        options: of `EventBus`.

    Raises:
        InvalidOptionError: another kind of URL, an option that this store does not have, or one out of its range.
    """
    if url is None or url in MEMORY:
        if synchronous is not None or read_only or any_filesystem:
            raise InvalidOptionError("synchronous, read_only and any_filesystem", "left out for a log in memory", url)
        return EventBus(MemoryStore(max_events=max_events), **options)
    if max_events is not None:
        raise InvalidOptionError("max_events", "left out for a log in a file", max_events)
    store = SQLiteStore(
        _path(url),
        synchronous="full" if synchronous is None else synchronous,
        read_only=read_only,
        any_filesystem=any_filesystem,
    )
    return EventBus(store, **options)


def _path(url: str | os.PathLike[str]) -> str:
    path = check_path("url", url)
    if path.startswith("sqlite:///"):
        return path.removeprefix("sqlite:///")
    if "://" in path:
        raise InvalidOptionError("url", "a path, sqlite:///path or :memory:", url)
    return path
