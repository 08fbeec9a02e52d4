"""What a subscription takes: patterns, predicates, one of many; and the package's first example."""

import asyncio
from typing import Any

import pytest

import asyncbus
from asyncbus import Event, EventBus
from tests.behaviour.stage import Log, sequences, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


async def test_where_is_asked_after_the_pattern_and_each_gets_its_own(log: Log) -> None:
    asked: list[str] = []
    seen: dict[int, list[int]] = {0: [], 1: []}

    def parity(wanted: int) -> Any:
        def fits(event: Event) -> bool:
            asked.append(event.type)
            return bool(event.data % 2 == wanted)

        return fits

    async with log.bus() as bus:
        for wanted in (0, 1):
            bus.subscribe("a", lambda event, wanted=wanted: seen[wanted].append(event.data), where=parity(wanted))  # type: ignore[misc]
        await bus.publish_many([("a", number) for number in range(6)] + [("b", 7)])
        await bus.drain()
        assert seen == {0: [0, 2, 4], 1: [1, 3, 5]}
        assert asked == ["a"] * 12
        first, second = bus.statistics().subscriptions
        assert (first.delivered, second.delivered) == (3, 3)
        assert (first.position, second.position) == (7, 7)


async def test_patterns_take_what_they_say(log: Log) -> None:
    types = [
        "opt",
        "optimization",
        "optimization.cache_hit",
        "optimization.cache.l2.hit",
        "optimization_x",
        "Opt",
        "a-b",
    ]
    wanted: dict[Any, list[str]] = {
        "optimization.*": ["optimization.cache_hit", "optimization.cache.l2.hit"],
        "opt*": types[:5],
        "*": types,
        "opt": ["opt"],
        ("opt", "a*"): ["opt", "a-b"],
        ("opt*", "opt", "optimization.*"): types[:5],
    }
    got: dict[Any, list[str]] = {pattern: [] for pattern in wanted}
    async with log.bus() as bus:
        for pattern, found in got.items():
            bus.subscribe(pattern, lambda event, found=found: found.append(event.type))  # type: ignore[misc]
        await bus.publish_many([(type, None) for type in types])
        await bus.drain()
        assert got == wanted
        for pattern, found in wanted.items():
            assert [event.type for event in await bus.query(pattern)] == found
            assert [event.type async for event in bus.replay(pattern)] == found
            assert [event.type for event in bus.recent(pattern)] == found


async def test_a_thousand_subscriptions_come_and_go(log: Log) -> None:
    counts = [0] * 1000
    async with log.bus() as bus:

        def count(number: int) -> Any:
            def handle(event: Event) -> None:
                counts[number] += 1

            return handle

        many = [bus.subscribe(f"a.{number % 10}.*", count(number)) for number in range(1000)]
        await bus.publish("a.3.x")
        await bus.drain()
        assert counts == [int(number % 10 == 3) for number in range(1000)]
        await asyncio.gather(*(each.close() for each in many))
        assert bus.statistics().subscriptions == ()
        await bus.publish("a.3.x")
        await until(lambda: bus.statistics().head == 2)
        assert sum(counts) == 100


async def test_a_bus_without_a_store_keeps_events_in_memory() -> None:
    async with EventBus() as bus:
        assert (await bus.publish("a")).sequence == 1
        assert sequences(await bus.query()) == [1]


async def test_the_readme_of_the_package_works(log: Log) -> None:
    shown: list[tuple[int, str, Any]] = []
    async with asyncbus.connect(log.path if log.kind == "sqlite" else None) as bus:

        @bus.on("optimization.*")
        async def show(event: asyncbus.Event) -> None:
            shown.append((event.sequence, event.type, event.data))

        receipt = await bus.publish("optimization.stage_completed", {"stage": "licm", "ms": 12})
        assert receipt.sequence == 1
        async with bus.subscribe("optimization.*", start="earliest") as events:
            async for event in events:
                assert event.data == {"stage": "licm", "ms": 12}
                break
        await bus.drain()
    assert shown == [(1, "optimization.stage_completed", {"stage": "licm", "ms": 12})]
