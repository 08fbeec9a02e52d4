"""What type checkers say of typed events: `make check` has it read by mypy and by pyright, both strict.

It is never run. A line with an ignore comment is a mistake that both have to find: an ignore that is not needed is an
error itself.
"""

from dataclasses import dataclass
from typing import Any, assert_type

import asyncbus
from asyncbus import Consumer, Delivery, Event, EventBus, Subscription


class OptimizationEvent:
    """The base of a family."""


@asyncbus.event("optimization.stage_completed", version=2)
@dataclass
class StageCompleted(OptimizationEvent):
    stage: str
    ms: int


@asyncbus.event("optimization.cache_hit")
@dataclass
class CacheHit(OptimizationEvent):
    key: int


@asyncbus.upcast("optimization.stage_completed", from_version=1)
def name_the_stage(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"stage": data["name"]}


assert_type(StageCompleted("licm", 12), StageCompleted)  # the decorator leaves the class as it is


async def publishing(bus: EventBus) -> None:
    assert_type(await bus.publish(StageCompleted("licm", 12), key="vm-1", expected_sequence=0), asyncbus.Receipt)
    assert_type(await bus.publish(CacheHit(1), ack="accepted"), asyncbus.PendingReceipt)
    assert_type(bus.publish_nowait(CacheHit(1)), asyncbus.PendingReceipt)
    await bus.publish_many([StageCompleted("licm", 12), ("a.b", 1), asyncbus.NewEvent(CacheHit(1), key="k")])
    StageCompleted("licm", "12")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def one_class(bus: EventBus) -> None:
    subscription = bus.subscribe(StageCompleted)
    assert_type(subscription, Subscription[StageCompleted])
    async for event in subscription:
        assert_type(event, Event[StageCompleted])
        assert_type(event.data, StageCompleted)
        assert_type(event.data.ms, int)
        _ = event.data.seconds  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    assert_type((await bus.wait_for(StageCompleted)).data.stage, str)
    assert_type(await bus.query(StageCompleted, limit=1), list[Event[StageCompleted]])
    assert_type(bus.recent(StageCompleted), list[Event[StageCompleted]])
    async for replayed in bus.replay(StageCompleted, speed=10):
        assert_type(replayed.data, StageCompleted)


async def a_family(bus: EventBus) -> None:
    async for event in bus.subscribe(OptimizationEvent):
        assert_type(event.data, OptimizationEvent)
        if isinstance(event.data, CacheHit):
            assert_type(event.data.key, int)


def handlers(bus: EventBus) -> None:
    @bus.on(StageCompleted)
    async def right(event: Event[StageCompleted]) -> None:
        assert_type(event.data.stage, str)

    @bus.on(StageCompleted)
    def plain(event: Event[StageCompleted]) -> int:
        return event.data.ms

    assert_type(plain(bus.recent(StageCompleted)[0]), int)

    @bus.on(StageCompleted)
    def of_the_family(event: Event[OptimizationEvent]) -> None:
        """Whoever takes the base takes what derives from it."""

    @bus.on(StageCompleted | CacheHit)
    def of_a_union(event: Event[StageCompleted | CacheHit]) -> None:
        assert_type(event.data, StageCompleted | CacheHit)

    @bus.on("optimization.*")
    def untyped(event: Event) -> None:
        assert_type(event.data, Any)

    @bus.on(StageCompleted)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def wrong(event: Event[CacheHit]) -> None:
        """It takes another class."""

    bus.subscribe(StageCompleted, right)
    bus.subscribe(StageCompleted | CacheHit, of_a_union)
    bus.subscribe(CacheHit, right)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def consumers(bus: EventBus) -> None:
    consumer = bus.consume("one", StageCompleted)
    assert_type(consumer, Consumer[StageCompleted])
    async for delivery in consumer:
        assert_type(delivery, Delivery[StageCompleted])
        assert_type(delivery.event.data, StageCompleted)

    @bus.consumer("two", StageCompleted)
    async def right(event: Event[StageCompleted]) -> None:
        assert_type(event.data.ms, int)

    @bus.consumer("three", StageCompleted)
    async def with_delivery(event: Event[StageCompleted], delivery: Delivery[StageCompleted]) -> None:
        await delivery.publish(CacheHit(event.data.ms))

    @bus.consumer("four", "optimization.*")
    async def untyped(event: Event, delivery: Delivery) -> None:
        assert_type(event.data, Any)

    @bus.consumer("five", StageCompleted)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async def wrong(event: Event[CacheHit]) -> None:
        """It takes another class."""

    bus.consume("six", CacheHit, right)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
