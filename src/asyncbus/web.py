"""asyncbus behind Starlette or FastAPI: a bus that lives as long as the application, and its events in a browser.

::

    import asyncbus
    from asyncbus.web import lifespan, sse_response
    from fastapi import FastAPI, Header

    bus = asyncbus.connect("events.db")
    app = FastAPI(lifespan=lifespan(bus))

    @app.get("/events")
    async def events(last_event_id: str | None = Header(None)):
        return sse_response(bus, "optimization.*", last_event_id)

In the browser, `new EventSource("/events").onmessage = message => show(JSON.parse(message.data))` gets every event
once, through whatever cuts the connection.

It needs the extra `web`: sse-starlette, and with it Starlette.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from asyncbus.bus import EventBus
from asyncbus.conditions import Where
from asyncbus.errors import EventsLostError
from asyncbus.events import LAST_SEQUENCE
from asyncbus.rows import event_row

__all__ = ["lifespan", "sse_response"]

_encode = msgspec.json.Encoder().encode

_GONE: Final = "gone"
"""The name of the message that says that events were removed before this client got them."""


def lifespan(bus: EventBus) -> Callable[[Any], AbstractAsyncContextManager[Mapping[str, EventBus]]]:
    """What opens a bus as an application starts, and closes it as that ends: `FastAPI(lifespan=lifespan(bus))`.

    Requests find the bus as `request.state.bus` as well.

    Args:
        bus: one that was not opened yet.
    """

    @asynccontextmanager
    async def live(_: Any) -> AsyncIterator[Mapping[str, EventBus]]:
        async with bus:
            yield {"bus": bus}

    return live


def sse_response(
    bus: EventBus,
    pattern: Any = "*",
    last_event_id: str | int | None = None,
    *,
    where: Where | None = None,
    retry: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> EventSourceResponse:
    """A response of server-sent events: what the client has missed, and then what comes, each event once, in order.

    Each message has the event's sequence as its id, and as data an object of JSON: `sequence`, `time`, `recorded_at`,
    `type`, `data` (bytes: `data_base64`), and `id`, `key`, `metadata`, `version`, `causation_id`, `correlation_id`
    where the event has them. A client that is cut off comes back with the id of its last message. One that is slow is
    behind, and makes nobody wait. The response ends with the server, or with the bus. Where events that the client was
    owed were removed meanwhile, a message named `gone` tells `first` and `last` of them, and it goes on after them.

    Args:
        bus: an open one.
        pattern: which events, as for `EventBus.subscribe`.
        last_event_id: the header `Last-Event-ID` of the request; None: begin with what comes; "0": with all there is.
        where: a predicate or conditions, as for `EventBus.subscribe`.
        retry: milliseconds that the client waits before it comes back; None: as it likes.
        headers: more headers of the response.

    Raises:
        HTTPException: `last_event_id` is none of this log: status 400.
        InvalidPatternError, InvalidOptionError, InvalidHandlerError, BusClosedError
    """
    # At the call: what is published from here on is sent, however long it is before the response begins.
    subscription = bus.subscribe(pattern, where=where)
    head = subscription.position
    subscription.end()
    start = head + 1 if last_event_id is None else _following(last_event_id, head)
    return EventSourceResponse(_messages(bus, pattern, where, start, retry), headers=headers)


def _following(last_event_id: str | int, head: int) -> int:
    """The sequence after the last one that the client has got."""
    text = str(last_event_id)
    if text.isdecimal() and text.isascii() and len(text) <= len(str(LAST_SEQUENCE)) and int(text) <= head:
        return int(text) + 1
    raise HTTPException(400, "Last-Event-ID must be the sequence of an event of this log, or 0")


async def _messages(
    bus: EventBus, pattern: Any, where: Where | None, start: int, retry: int | None
) -> AsyncIterator[ServerSentEvent]:
    while True:
        try:
            async with bus.subscribe(pattern, start=start, where=where) as events:
                async for event in events:
                    yield ServerSentEvent(_encode(event_row(event)).decode(), id=str(event.sequence), retry=retry)
        except EventsLostError as lost:
            start = lost.last + 1
            removed = {"first": lost.first, "last": lost.last}
            yield ServerSentEvent(_encode(removed).decode(), event=_GONE, id=str(lost.last))
        else:  # the bus is closed
            return
