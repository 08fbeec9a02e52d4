"""Those of a simulated scene who read: by iterating, by handlers, by replays, queries and waiting for one event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, cast

from asyncbus import AsyncBusError, Event, Subscription
from asyncbus.events import to_microseconds
from tests.reliability.simulation.publishers import publish_somehow
from tests.reliability.simulation.world import Reader, World


async def iterate(world: World, name: str) -> None:
    """Subscribe, and take events until it ends, or go away at some time; reading goes on where a wait is given up."""
    await world.opened.wait()
    await world.pause()
    reader = world.subscribe(name)
    if reader is None or reader.subscription is None:
        return
    stay = world.random.random() < 0.7
    try:
        async with reader.subscription as events:
            while True:
                world.delivered(reader, await _next(world, events))
                await world.pause()
                if not stay and world.random.random() < 0.2:
                    reader.left = True
                    break
        reader.closed = True
    except StopAsyncIteration:
        reader.ended = reader.closed = True
    except AsyncBusError as error:
        reader.ended, reader.error = True, error
    except asyncio.CancelledError:
        reader.left = True
        raise


async def _next(world: World, events: Subscription) -> Event:
    """The next event; now and then the wait for it is cancelled, and begun again: that is to lose nothing."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(world.random.choice((None, None, 0.00005, 0.0005))):
                return await anext(events)


async def handle(world: World, name: str) -> None:
    """Subscribe a handler."""
    await world.opened.wait()
    await world.pause()
    make = _plain if world.random.random() < 0.2 else _handler
    reader = world.subscribe(name, lambda reader: make(world, reader))
    if reader is not None and reader.subscription is not None and world.random.random() < 0.2:
        async with reader.subscription:
            await world.pause()
            reader.left = True
        reader.closed = True


def _plain(world: World, reader: Reader) -> Callable[[Event], None]:
    def handler(event: Event) -> None:
        world.delivered(reader, event)
        if world.random.random() < 0.3:
            world.loop.pass_time(0.006)  # longer than a handler may keep the loop

    return handler


def _handler(world: World, reader: Reader) -> Callable[[Event], Awaitable[None]]:
    kind = world.random.choice(
        ("patient", "patient", "failing", "publishing", "closing", "leaving", "neighbour", "stuck", "stuck")
    )

    async def handler(event: Event) -> None:
        world.delivered(reader, event)
        try:
            await world.pause()
            if world.random.random() < 0.3:
                await _do(kind, world, reader, event)
        except asyncio.CancelledError:
            reader.left = True
            raise

    return handler


async def _do(kind: str, world: World, reader: Reader, event: Event) -> None:
    match kind:
        case "failing":
            raise ValueError("a handler that fails now and then")
        case "publishing":
            # Not for ever: each event would be answered by another.
            if len(world.attempts) < 40:
                await publish_somehow(world, reader.name, 10 * len(world.attempts), event.sequence)
        case "leaving":
            reader.left = True
            await cast("Any", reader.subscription).close()
        case "closing":
            world.closing = True
            await world.bus.close()
        case "neighbour":
            _end_neighbour(world, reader)
        case "stuck":
            reader.stuck = True
            await world.loop.create_future()


def _end_neighbour(world: World, reader: Reader) -> None:
    """End somebody else's subscription, without waiting: that one may be about to do the same to this one."""
    others = [other for other in world.readers if other is not reader and other.subscription is not None]
    if others:
        chosen = world.random.choice(others)
        cast("Any", chosen.subscription).end()
        chosen.left = chosen.closed = True


async def unsubscribe(world: World) -> None:
    """Close somebody's subscription; nothing may be delivered to it afterwards."""
    await world.opened.wait()
    for _ in range(6):
        await world.pause()
    chosen = [reader for reader in world.readers if reader.subscription is not None]
    if chosen:
        reader = world.random.choice(chosen)
        reader.left = True
        await cast("Any", reader.subscription).close()
        reader.closed = True


async def replay(world: World, name: str) -> None:
    """Go through the history once."""
    await world.opened.wait()
    await world.pause()
    head = world.bus.statistics().head
    since = None if world.removes else world.random.choice((None, world.moment()))
    try:
        events = world.bus.replay(
            "*", start="earliest" if since is None else since, speed=world.random.choice((None, 0.5, 2.0))
        )
    except AsyncBusError:
        return
    reader = Reader(name, "*", "catch_up", 0 if since else world.bus._history.floor, owed_up_to=head)
    reader.owed_since = 0 if since is None else to_microseconds("since", since)
    world.readers.append(reader)
    try:
        async with aclosing(cast("AsyncGenerator[Event]", events)) as history:
            async for event in history:
                world.delivered(reader, event)
                await world.pause()
            reader.ended = True
    except AsyncBusError as error:
        reader.error = error
    finally:
        reader.left = True


async def wait_for(world: World, name: str) -> None:
    """Wait for one event."""
    await world.opened.wait()
    await world.pause()
    reader = Reader(name, "a*", "catch_up", world.bus.statistics().head, left=True)
    with suppress(AsyncBusError, TimeoutError):
        waiting = world.bus.wait_for("a*", timeout=world.random.choice((0.0001, 0.001, None)))
        await world.pause()
        world.delivered(reader, await waiting)
        world.readers.append(reader)


async def query(world: World, name: str) -> None:
    """Ask for all there is."""
    await world.opened.wait()
    for _ in range(2):
        await world.pause()
        floor = world.ledger.floor
        acknowledged = world.acknowledged
        with suppress(AsyncBusError):
            where = world.random.choice((None, lambda event: True))
            found = [event.sequence for event in await world.bus.query(where=where, limit=None)]
            dense = found == list(range(found[0], found[-1] + 1)) if found else True
            world.expect(dense and world.ledger.rows.keys() >= set(found), f"{name} found {found}")
            missing = set(range(max(floor, world.ledger.floor) + 1, acknowledged + 1)) - set(found)
            world.expect(not missing, f"{name} did not find {missing}, which was acknowledged before")


async def look_back(world: World, name: str) -> None:
    """Ask what led to an event, what it led to, and how many there are."""
    await world.opened.wait()
    for _ in range(3):
        await world.pause()
        if not world.acknowledged:
            continue
        acknowledged = world.acknowledged
        following = [
            row.sequence for row in world.ledger.rows.values() if row.causation_id and row.sequence <= acknowledged
        ]
        sequence = world.random.choice(following or [world.random.randint(1, acknowledged)])
        with suppress(AsyncBusError):
            found = {event.sequence for event in await world.bus.history_of(sequence)}
            rows = world.ledger.rows
            world.expect(rows.keys() >= found, f"{name} found {found}")
            counted = sum(type.events for type in await world.bus.types())
            world.expect(counted <= len(rows), f"{name} counted {counted} of {len(rows)} events")
            if not world.removes:
                world.expect(counted >= acknowledged, f"{name} counted {counted}, {acknowledged} were acknowledged")
                family = _family(world, sequence)
                world.expect(
                    {each for each in family if each <= acknowledged} <= found <= family,
                    f"{name} found {found} as the history of {sequence}, which is {family}",
                )


def _family(world: World, sequence: int) -> set[int]:
    """What led to it, and all that it led to, as the ledger has it."""
    rows = world.ledger.rows
    family = {sequence}
    for row in rows.values():  # a cause comes before what it leads to
        if row.causation_id in family and row.sequence > sequence:
            family.add(row.sequence)
    cause = rows[sequence].causation_id
    while cause is not None:
        family.add(cause)
        cause = rows[cause].causation_id
    return family
