"""A program that forks while its bus is open: `python -m tests.behaviour.forking PATH`; tells in JSON what came of it.

A process of its own, for the tests' own process has threads that a fork does not like.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import to_thread

import asyncbus
from asyncbus import EventBus, NewEvent, Pattern, PendingReceipt, SQLiteStore

HANGS = 20
"""Seconds after which a child that hangs is ended by the system."""

ALL = Pattern.parse("*")

Telling = dict[str, Any]


async def told(what: Callable[[], Awaitable[Any]]) -> str:
    try:
        return f"returned {await what()!r}"
    except Exception as error:  # noqa: BLE001  # that is what is told
        return type(error).__name__


async def in_the_child(bus: EventBus, pending: PendingReceipt, subscription: asyncbus.Subscription) -> Telling:
    """Try all that a user might."""

    async def publish_nowait() -> object:
        return bus.publish_nowait("a")

    async def publish_from_thread() -> object:
        return await to_thread.run_sync(bus.publish_from_thread, "a")

    async def subscribe() -> object:
        return await anext(bus.subscribe("*", start="earliest"))

    async def replay() -> object:
        return [event async for event in bus.replay()]

    tries: dict[str, Callable[[], Awaitable[Any]]] = {
        "publish": lambda: bus.publish("a"),
        "publish_nowait": publish_nowait,
        "publish_many": lambda: bus.publish_many([NewEvent("a")]),
        "publish_from_thread": publish_from_thread,
        "flush": bus.flush,
        "clear": bus.clear,
        "query": bus.query,
        "replay": replay,
        "subscribe": subscribe,
        "the subscription": lambda: anext(subscription),
        "the receipt": lambda: asyncio.wait_for(pending, None),
        "close": bus.close,
    }
    found: Telling = {name: await told(attempt) for name, attempt in tries.items()}
    found["health"] = [bus.health().status, type(bus.health().reason).__name__]
    return found


def fork(what: Callable[[], Telling]) -> Telling:
    """Run something in a child, on whatever loop is there; what it told, and how it ended."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        signal.alarm(HANGS)
        asyncio.events._set_running_loop(None)
        os.write(writing, json.dumps(what()).encode())
        os._exit(0)  # as a child of multiprocessing ends
    os.close(writing)
    with os.fdopen(reading) as lines:
        said = lines.read()
    _, status = os.waitpid(process, 0)
    return {"told": json.loads(said or "null"), "status": os.waitstatus_to_exitcode(status)}


async def idle(buses: list[EventBus], subscriptions: list[asyncbus.Subscription]) -> Telling:
    """What buses say to which nothing was happening."""
    return {
        "publish": [await told(lambda bus=bus: bus.publish("a")) for bus in buses],  # type: ignore[misc]  # bound now
        "query": [await told(bus.query) for bus in buses],
        "next": [await told(lambda one=one: anext(one)) for one in subscriptions],  # type: ignore[misc]  # as above
        "health": [bus.health().status for bus in buses],
    }


async def fork_beside_idle_buses(path: str) -> Telling:
    """Fork while the writers of several buses sleep."""
    buses = [asyncbus.connect(), asyncbus.connect(path), asyncbus.connect()]
    async with buses[0], buses[1], buses[2]:
        subscriptions = [bus.subscribe("*") for bus in buses]
        for bus in buses:
            await bus.publish("a")
            await bus.flush()
        for _ in range(100):  # turns, after which they sleep
            await asyncio.sleep(0)
        told_by_child = fork(lambda: asyncio.run(idle(buses, subscriptions)))
        seen = [(await anext(subscription)).sequence for subscription in subscriptions]
    return {**told_by_child, "seen": seen}


async def main(path: str) -> Telling:
    store = SQLiteStore(path)
    async with asyncbus.EventBus(store) as bus:
        subscription = bus.subscribe("*")
        await bus.publish("before")
        pending = await bus.publish("pending", ack="accepted")
        child = fork(lambda: asyncio.run(in_the_child(bus, pending, subscription)))
        reads = fork(lambda: {"read": asyncio.run(told(lambda: store.read(0, ALL, 10)))})
        try:
            async with asyncbus.connect(path):
                locked = "opened"
        except asyncbus.StoreLockedError:
            locked = "locked"
        await bus.publish("after")
        parent = {"locked": locked, "seen": [(await anext(subscription)).type for _ in range(3)]}
    return {"child": child, "store": reads, "parent": parent, "idle": await fork_beside_idle_buses(f"{path}-idle")}


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is the point
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
