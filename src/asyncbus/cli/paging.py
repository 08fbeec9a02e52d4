"""Goes through what a query finds, page by page, so that memory stays as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

from asyncbus.bus import EventBus
from asyncbus.errors import StoreCorruptError
from asyncbus.events import Event

_PAGE: Final = 4096


async def pages(
    bus: EventBus,
    pattern: Any,
    *,
    start: int | datetime | None = None,
    stop: int | datetime | None = None,
    limit: int | None = None,
    newest_first: bool = False,
    **conditions: Any,
) -> AsyncIterator[Sequence[Event]]:
    """The events that `EventBus.query` finds with the same arguments, up to the head as it is now."""
    if stop is None:
        stop = await bus.latest_sequence() + 1
    found: Sequence[Event] = ()
    while limit is None or limit > 0:
        wanted = _PAGE if limit is None else min(_PAGE, limit)
        conditions |= {"start": start, "stop": stop, "limit": wanted, "newest_first": newest_first}
        try:
            found = await bus.query(pattern, **conditions)
        except StoreCorruptError as error:
            if error.sequence is not None:  # what comes before the damaged event is good
                end = {"start": error.sequence + 1} if newest_first else {"stop": error.sequence}
                yield await bus.query(pattern, **conditions | end)
            raise
        if found:
            yield found
        if len(found) < wanted:
            return
        if limit is not None:
            limit -= len(found)
        # What goes by the moment of recording at this end holds for all that follow.
        if newest_first:
            stop = found[-1].sequence
        else:
            start = found[-1].sequence + 1
