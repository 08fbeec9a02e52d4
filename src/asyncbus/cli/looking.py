"""Commands that look: tail, query, replay, stats, types."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from asyncbus.bus import EventBus
from asyncbus.cli import printing
from asyncbus.cli.arguments import Bound, Flag, Format, Limit, Moment, Speed, Start, pattern
from asyncbus.cli.opening import reading
from asyncbus.cli.paging import pages
from asyncbus.conditions import predicate
from asyncbus.connect import connect
from asyncbus.errors import EventsLostError
from asyncbus.events import Event
from asyncbus.rows import as_published

_RECENT = 10


async def tail(
    store: str,
    /,
    *patterns: str,
    since: Moment = None,
    limit: Limit = None,
    key: str | None = None,
    where: str | None = None,
    follow: bool = True,
    format: Format = "table",
) -> None:
    """Show the last events, and then those that another process stores, as they come.

    It ends with Ctrl-C. `asyncbus tail events.db 'optimization.*' --since 10m -n 100`

    Args:
        store: the log.
        patterns: event types, or prefixes that end in *; none: all.
        since: of the last events those that occurred at this time or later.
        limit: at most so many of the last events; else 10, or with --since all.
        key: only events with this key.
        where: conditions: data.va > 4096 and metadata.user = "eve".
        follow: go on with what comes.
        format: how events are printed.
    """
    wanted = pattern(patterns)
    async with reading(store) as bus:
        live = bus.subscribe(wanted, where=where)
        head = live.position
        if limit is None and since is None:
            limit = _RECENT
        with printing.events(format) as show:
            conditions: dict[str, Any] = {"stop": head + 1, "since": since, "key": key, "where": where}
            if limit is None:
                async for found in pages(bus, wanted, **conditions):
                    show(found)
            elif limit > 0:
                show(reversed(await bus.query(wanted, limit=limit, newest_first=True, **conditions)))
            if follow:
                async for event in _following(bus, live, wanted, where):
                    if key is None or event.key == key:
                        show((event,))


async def _following(bus: EventBus, live: Any, wanted: Any, where: str | None) -> AsyncIterator[Event]:
    """What comes; over events that were removed before they could be shown it goes, and says so."""
    while True:
        try:
            async with live:
                async for event in live:
                    yield event
                return
        except EventsLostError as lost:
            print(f"asyncbus: events {lost.first} to {lost.last} were removed meanwhile", file=sys.stderr)
            live = bus.subscribe(wanted, where=where, start=lost.last + 1)


async def query(
    store: str,
    /,
    *patterns: str,
    where: str | None = None,
    key: str | None = None,
    since: Moment = None,
    until: Moment = None,
    start: Bound = None,
    stop: Bound = None,
    newest_first: Flag = False,
    limit: Limit = None,
    format: Format = "table",
) -> None:
    """Find events; all conditions must hold.

    `asyncbus query events.db 'tlb.*' --where 'data.va > 4096' --key vm-1 --newest-first --limit 50`

    Args:
        store: the log.
        patterns: event types, or prefixes that end in *; none: all.
        where: conditions: data.va > 4096 and metadata.user = "eve".
        key: exactly this key.
        since: occurred at this time or later.
        until: occurred before this time.
        start: the first sequence wanted, or the first recorded at this time or later.
        stop: the first sequence, or time of recording, not wanted any more.
        newest_first: the last ones first.
        limit: at most so many; else all.
        format: how events are printed.
    """
    async with reading(store) as bus:
        found = pages(
            bus,
            pattern(patterns),
            where=where,
            key=key,
            since=since,
            until=until,
            start=start,
            stop=stop,
            newest_first=newest_first,
            limit=limit,
        )
        with printing.events(format) as show:
            async for page in found:
                show(page)


async def replay(
    store: str,
    /,
    *patterns: str,
    start: Start = "earliest",
    stop: Bound = None,
    speed: Speed = None,
    where: str | None = None,
    into: str | None = None,
    format: Format = "table",
) -> None:
    """Go through history once, as fast as it happened or faster, to the screen or into another store.

    Into another store, events keep the time at which they occurred, and get a sequence of that store; so they keep no
    causation.

    Args:
        store: the log.
        patterns: event types, or prefixes that end in *; none: all.
        start: where to begin.
        stop: the first sequence, or time of recording, not wanted any more.
        speed: 1x keeps the spacing in which the events occurred, 10x is ten times as fast; else without waiting.
        where: conditions: data.va > 4096 and metadata.user = "eve".
        into: another store, which is made where there is none; nothing is printed then.
        format: how events are printed.
    """
    holds = predicate(where)
    async with reading(store) as bus:
        found = (
            event
            async for event in bus.replay(pattern(patterns), start=start, stop=stop, speed=speed)
            if holds is None or holds(event)
        )
        async with aclosing(found):
            if into is not None:
                await _publish_again(found, into)
                return
            with printing.events(format) as show:
                async for event in found:
                    show((event,))


async def _publish_again(found: AsyncIterator[Event], into: str) -> None:
    async with connect(into) as target:
        receipt = None
        async for event in found:
            receipt = await target.publish(
                event.type,
                as_published(event),
                id=event.id,
                key=event.key,
                metadata=event.metadata,
                time=event.time,
                version=event.version,
                correlation_id=event.correlation_id,
                ack="accepted",
            )
        if receipt is not None:
            await target.flush()


async def stats(store: str, /, *, format: Format = "table") -> None:
    """Say what a log holds in figures.

    Args:
        store: the log.
        format: how they are printed.
    """
    async with reading(store) as bus:
        types = await bus.types()
        consumers = await bus.consumers()
        row = {
            "store": store,
            "events": sum(type.events for type in types),
            "types": len(types),
            "first_sequence": min((type.first_sequence for type in types), default=None),
            "latest_sequence": await bus.latest_sequence(),
            "first_recorded_at": min((type.first_recorded_at for type in types), default=None),
            "last_recorded_at": max((type.last_recorded_at for type in types), default=None),
            "consumers": len(consumers),
            "dead_letters": sum(consumer.dead_letters for consumer in consumers),
            "bytes": _size(store),
        }
    if format == "table":
        rows = [{"figure": name, "value": printing.shown(value)} for name, value in row.items()]
        printing.rows(format, ("figure", "value"), rows)
    else:
        printing.rows(format, tuple(row), [row])


def _size(store: str) -> int:
    """What the file and its write-ahead log take on the disk."""
    path = store.removeprefix("sqlite:///")
    return sum(file.stat().st_size for file in (Path(path), Path(f"{path}-wal")) if file.exists())


async def types(store: str, /, *, format: Format = "table") -> None:
    """Say what a log holds of each event type.

    Args:
        store: the log.
        format: how they are printed.
    """
    columns: tuple[str, ...] = ("type", "events", "first_sequence", "last_sequence", "last_recorded_at")
    if format != "table":  # which is to fit a terminal
        columns += ("first_recorded_at",)
    async with reading(store) as bus:
        found = [{name: getattr(type, name) for name in columns} for type in await bus.types()]
    printing.rows(format, columns, found)
