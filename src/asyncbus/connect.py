"""From a URL to a bus: the only place that names back ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack

from asyncbus.bus import EventBus
from asyncbus.errors import InvalidOptionError
from asyncbus.options import check_path
from asyncbus.store.memory import MemoryStore
from asyncbus.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from asyncbus.store.base import EventStore

_MEMORY: Final = ("", ":memory:", "memory://", "sqlite://", "sqlite:///:memory:")


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
    max_events: int | None = None,
    **options: Unpack[BusOptions],
) -> EventBus:
    """A bus over the store that `url` names; open it with `async with`, where the store's errors come.

    Args:
        url: nothing or ":memory:": a `MemoryStore`; a path, `sqlite:///relative.db` or `sqlite:////absolute.db`: a
            `SQLiteStore`.
        synchronous: of a `SQLiteStore`; None: "full".
        read_only: of a `SQLiteStore`.
        max_events: of a `MemoryStore`.
        options: of `EventBus`.

    Raises:
        InvalidOptionError: another kind of URL, an option that this store does not have, or one out of its range.
    """
    return EventBus(_store(url, synchronous, max_events, read_only=read_only), **options)


def _store(
    url: str | os.PathLike[str] | None,
    synchronous: Literal["full", "normal"] | None,
    max_events: int | None,
    *,
    read_only: bool,
) -> EventStore:
    if url is None or url in _MEMORY:
        if synchronous is not None or read_only:
            raise InvalidOptionError("synchronous and read_only", "left out for a log in memory", url)
        return MemoryStore(max_events=max_events)
    path = check_path("url", url)
    if path.startswith("sqlite:///"):
        path = path.removeprefix("sqlite:///")
    elif "://" in path:
        raise InvalidOptionError("url", "a path, sqlite:///path or :memory:", url)
    if max_events is not None:
        raise InvalidOptionError("max_events", "left out for a log in a file", max_events)
    return SQLiteStore(path, synchronous="full" if synchronous is None else synchronous, read_only=read_only)
