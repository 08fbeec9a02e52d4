"""All ways to publish, arguments that are wrong in every place, and the proof that a refused call touched nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

from asyncbus import EventBus, NewEvent

MAX_PAYLOAD = 1000
"""Of the fixture `bus`."""

HUGE = 10**5000
"""It cannot even be shown: its repr raises."""


class HasNoRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class NoOffset(tzinfo):
    """A time zone that does not know."""

    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return None

    def dst(self, _: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _: datetime | None) -> str:
        return "nowhere"


COUNTS: list[Any] = [0, -1, 1.5, 1.0, "1", None, True, float("inf"), [1], -HUGE]
"""What is no capacity and no limit."""

SECONDS: list[Any] = [
    -1,
    -0.001,
    float("nan"),
    float("inf"),
    float("-inf"),
    "1",
    True,
    b"1",
    timedelta(seconds=1),
    10**400,
    HUGE,
]
"""What is no time to wait, nor a speed."""


async def untouched(bus: EventBus) -> None:
    """Nothing was queued, stored, subscribed or burnt."""
    statistics = bus.statistics()
    assert (statistics.published, statistics.stored, statistics.withdrawn) == (1, 1, 0)
    assert (statistics.inbox_depth, statistics.waiting_publishers, statistics.subscriptions) == (0, 0, ())
    assert (await bus.publish("after")).sequence == 2


Publish = Callable[..., Awaitable[Any]]


async def publish(bus: EventBus, *arguments: Any, **options: Any) -> Any:
    return await bus.publish(*arguments, **options)


async def publish_accepted(bus: EventBus, *arguments: Any, **options: Any) -> Any:
    return await bus.publish(*arguments, ack="accepted", **options)


async def publish_within(bus: EventBus, *arguments: Any, **options: Any) -> Any:
    return await bus.publish(*arguments, timeout=60, **options)


async def publish_nowait(bus: EventBus, *arguments: Any, **options: Any) -> Any:
    return bus.publish_nowait(*arguments, **options)


async def publish_from_thread(bus: EventBus, *arguments: Any, **options: Any) -> Any:
    return await asyncio.to_thread(bus.publish_from_thread, *arguments, **options)


async def publish_many(bus: EventBus, *arguments: Any, **options: Any) -> Any:
    return await bus.publish_many([("fine", None), NewEvent(*arguments, **options), ("fine", None)])


WAYS: list[Publish] = [
    publish,
    publish_accepted,
    publish_within,
    publish_nowait,
    publish_from_thread,
    publish_many,
]
