"""Versions: stored with the event, made newer by upcasts when it is read, and never rewritten."""

from dataclasses import dataclass
from typing import Any

import pytest

import asyncbus
from asyncbus import (
    BrokenUpcastsError,
    Event,
    EventDefinitionError,
    InvalidOptionError,
    NewerVersionError,
    PayloadError,
)
from tests.behaviour.shapes import KINDS, TYPE, AsDataclass, AsStruct, declared
from tests.behaviour.stage import Log, take, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


def upcasts(*versions: int) -> None:
    """Each adds a letter to the name of the stage; the first gives it its name."""

    def first(data: dict[str, Any]) -> dict[str, Any]:
        return {"stage": data.pop("name"), **data}

    def next_one(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"stage": data["stage"] + "+"}

    for version in versions:
        asyncbus.upcast(TYPE, from_version=version)(first if version == 1 else next_one)


@pytest.mark.parametrize("kind", KINDS)
async def test_upcasts_chain_whether_it_comes_live_or_by_replay_and_what_is_stored_stays(kind: Any, log: Log) -> None:
    cls = declared(kind, version=4)
    upcasts(1, 2, 3)
    async with log.bus() as bus:
        live = bus.subscribe(cls)
        stored: list[tuple[dict[str, Any], int]] = [
            ({"name": "a", "ms": 1}, 1),
            ({"stage": "b", "ms": 2}, 2),
            ({"stage": "c", "ms": 3}, 3),
            ({"stage": "d", "ms": 4}, 4),
        ]
        for data, version in stored:
            await bus.publish(TYPE, data, version=version)
        expected = [cls(stage=stage, ms=ms) for stage, ms in (("a++", 1), ("b++", 2), ("c+", 3), ("d", 4))]
        assert [event.data for event in await take(live, 4)] == expected
        assert [event.data async for event in bus.replay(cls)] == expected
        assert [event.data async for event in bus.replay("optimization.*")] == expected
        assert [event.version for event in await bus.query(cls)] == [1, 2, 3, 4]
    with asyncbus.catalog().isolated(empty=True):  # a program that knows no class sees what is stored
        async with log.bus() as bus:
            assert [(event.data, event.version) for event in await bus.query()] == stored


async def test_an_event_without_a_version_counts_as_the_first_one_that_has_an_upcast(log: Log) -> None:
    cls = declared(AsDataclass, version=3)
    upcasts(1, 2)
    async with log.bus() as bus:
        await bus.publish(TYPE, {"name": "a"})
        (event,) = await bus.query(cls)
        assert event.data == cls("a+")
        assert event.version is None


async def test_without_upcasts_it_counts_as_one_of_the_class(log: Log) -> None:
    cls = declared(AsDataclass, version=3)
    async with log.bus() as bus:
        await bus.publish(TYPE, {"stage": "a"})
        assert [event.data for event in await bus.query(cls)] == [cls("a")]


async def test_each_class_gets_its_own_version_and_a_pattern_the_newest(log: Log) -> None:
    old, new = declared(AsDataclass, version=2), declared(AsStruct, version=3)
    upcasts(1, 2)
    async with log.bus() as bus:
        await bus.publish(TYPE, {"name": "a"}, version=1)
        await bus.publish(old("b"))
        assert [event.data for event in await bus.query(old)] == [old("a"), old("b")]
        assert [event.data for event in await bus.query(new)] == [new("a+"), new("b+")]
        assert [event.data for event in await bus.query("*")] == [new("a+"), new("b+")]


@pytest.mark.parametrize(
    ("version", "versions", "missing"),
    [(3, [1], 2), (4, [1, 3], 2), (4, [1, 2], 3), (2, [1, 2], 2), (2, [2], 2), (1, [1], 1), (0, [1], 1)],
)
async def test_a_chain_that_is_broken_is_an_error_when_the_bus_opens(
    version: int, versions: list[int], missing: int, log: Log
) -> None:
    if version:
        declared(AsDataclass, version=version)
    upcasts(*versions)
    bus = log.bus()
    with pytest.raises(BrokenUpcastsError, match=TYPE) as broken:
        await bus.__aenter__()
    assert (broken.value.type, broken.value.missing, broken.value.newest) == (TYPE, missing, version)
    for repaired in range(1, version):
        if repaired not in versions and max(versions) < version:
            upcasts(repaired)
    if max(versions) < version:
        async with bus:  # nothing was opened, so it opens now
            await bus.publish("a")


async def test_a_version_that_no_upcast_leads_on_from_is_refused_when_it_is_read(log: Log) -> None:
    cls = declared(AsDataclass, version=3)
    upcasts(2)
    async with log.bus() as bus:
        await bus.publish(TYPE, {"name": "a"}, version=1)
        (event,) = await bus.query(cls)
        with pytest.raises(PayloadError, match="no upcast leads on from version 1 to 3"):
            _ = event.data


async def test_an_event_newer_than_the_program_is_refused_or_raw_as_the_subscription_says(log: Log) -> None:
    cls = declared(AsDataclass, version=2)
    newer = {"stage": "licm", "seconds": 0.012}
    async with log.bus() as bus:
        for pattern, when_newer, is_raw in (
            (cls, None, False),
            (cls, "refuse", False),
            (cls, "raw", True),
            ("*", None, True),
            ("*", "raw", True),
            ("*", "refuse", False),
        ):
            options: Any = {"start": "latest", "when_newer": when_newer}
            async with bus.subscribe(pattern, **options) as events:
                await bus.publish(TYPE, newer, version=3)
                (event,) = await take(events, 1)
            if is_raw:
                assert event.data == newer
                continue
            with pytest.raises(
                NewerVersionError, match="in version 3, and this program knows it up to version 2"
            ) as error:
                _ = event.data
            assert (error.value.type, error.value.found, error.value.known) == (TYPE, 3, 2)


async def test_a_consumer_parks_what_is_newer_and_hands_it_out_when_the_program_is(log: Log) -> None:
    cls = declared(AsDataclass, version=2)
    got: list[Any] = []

    def handle(event: Event) -> None:
        got.append(event.data)

    async with log.bus() as bus:
        bus.consume("one", cls, handle, retry=asyncbus.Retry(attempts=1))
        bus.consume("raw", cls, handle, when_newer="raw")
        await bus.publish(TYPE, {"stage": "a", "unit": "ms"}, version=3)
        await bus.wait_processed("one", 1)
        await bus.wait_processed("raw", 1)
        assert got == [{"stage": "a", "unit": "ms"}]
        assert [letter.event.sequence for letter in await bus.dead_letters("one")] == [1]

    got.clear()

    @asyncbus.event(TYPE, version=3)
    @dataclass
    class Newer:
        stage: str
        unit: str

    async with log.bus() as bus:
        bus.consume("one", TYPE, handle)
        await bus.retry_dead_letters("one")
        await until(lambda: got)
        assert got == [Newer("a", "ms")]


async def test_what_an_upcast_raises_is_the_failure_of_the_event_and_says_which_upcast(log: Log) -> None:
    cls = declared(AsDataclass, version=2)
    upcasts(1)
    async with log.bus() as bus:
        await bus.publish(TYPE, {"stage": "no name"}, version=1)
        await bus.publish(TYPE, {"name": 5}, version=1)
        raising, unfit = await bus.query(cls)
        with pytest.raises(PayloadError, match=r"from version 1 raised KeyError\('name'\)"):
            _ = raising.data
        with pytest.raises(PayloadError) as refused:
            _ = unfit.data
        assert refused.value.path == "$.stage"


async def test_an_upcast_is_declared_once_and_above_a_function() -> None:
    upcasts(1)
    with pytest.raises(EventDefinitionError, match="has an upcast from version 1 already"):
        upcasts(1)
    with pytest.raises(EventDefinitionError, match="stands above a function"):
        asyncbus.upcast(TYPE, from_version=2)(5)  # type: ignore[type-var]
    for wrong in (0, 1.5, "1", True):
        declare: Any = asyncbus.upcast(TYPE, from_version=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidOptionError):
            declare(lambda data: data)


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", True, 2**31])
async def test_a_version_is_a_number_from_1_on(version: Any, bus: asyncbus.EventBus) -> None:
    with pytest.raises(InvalidOptionError, match="version"):
        await bus.publish("a", version=version)
    with pytest.raises(InvalidOptionError, match="when_newer"):
        bus.subscribe("a", when_newer=version)
    assert await bus.latest_sequence() == 1
