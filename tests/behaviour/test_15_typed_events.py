"""Events with a shape: published as instances, received as instances, and strictly read."""

import asyncio
import math
from dataclasses import dataclass
from typing import Any, Union

import msgspec
import pytest

import asyncbus
from asyncbus import (
    Delivery,
    Event,
    EventBus,
    EventDefinitionError,
    InvalidOptionError,
    InvalidPatternError,
    InvalidTypeError,
    NewEvent,
    PayloadError,
)
from tests.behaviour.shapes import KINDS, TYPE, AsAttrs, AsDataclass, AsStruct, OptimizationEvent, declared
from tests.behaviour.stage import Log, take, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_published_as_an_instance_comes_as_an_equal_one_by_every_way(kind: Any, log: Log) -> None:
    cls = declared(kind)
    handled: list[Any] = []
    consumed: list[Any] = []
    async with log.bus() as bus:

        @bus.on(cls)
        def handle(event: Event) -> None:
            handled.append(event.data)

        @bus.consumer("one", cls)
        def consume(event: Event, delivery: Delivery) -> None:
            consumed.append(delivery.event.data)

        live = bus.subscribe(cls)
        first = bus.wait_for(cls)
        published = cls(stage="licm", ms=12)
        receipt = await bus.publish(published)
        assert receipt.sequence == 1
        replayed = [event async for event in bus.replay(cls)]
        for event in (*await take(live, 1), await first, *replayed, *await bus.query(cls), *bus.recent(cls)):
            assert event.data.__class__ is cls
            assert event.data == published
            assert (event.type, event.version) == (TYPE, 1)
        await until(lambda: handled and consumed)
        assert handled == consumed == [published]


async def test_every_way_of_publishing_takes_instances(log: Log) -> None:
    cls = declared(AsDataclass)
    async with log.bus() as bus:
        await bus.publish(cls("a"), key="k", metadata={"m": 1})
        await bus.publish_nowait(cls("b"), key="k")
        await (await asyncio.to_thread(bus.publish_from_thread, cls("c"), key="k"))
        await bus.publish_many([cls("d"), NewEvent(cls("e"), key="k"), (TYPE, {"stage": "f"})])
        found = await bus.query(cls)
        assert [event.data for event in found] == [cls(stage) for stage in "abcdef"]
        assert [event.key for event in found] == ["k", "k", "k", None, "k", None]
        assert found[0].metadata == {"m": 1}


async def test_by_a_pattern_what_was_typed_comes_as_an_instance_and_all_else_as_plain_data(log: Log) -> None:
    cls = declared(AsDataclass)
    async with log.bus() as bus:
        events = bus.subscribe("*")
        await bus.publish(cls("licm"))
        await bus.publish(TYPE, {"stage": "licm", "ms": 0})
        await bus.publish("unknown.type", {"stage": "licm"}, version=7)
        assert [event.data for event in await take(events, 3)] == [
            cls("licm"),
            {"stage": "licm", "ms": 0},
            {"stage": "licm"},
        ]


async def test_a_base_class_a_union_and_a_list_take_all_of_a_family(log: Log) -> None:
    one, two, other = declared(AsDataclass), declared(AsAttrs, "optimization.other"), declared(AsStruct, "tlb.flushed")
    async with log.bus() as bus:
        await bus.publish_many([one("a"), two("b"), other("c"), ("optimization.untyped", {})])

        async def of(pattern: Any) -> list[Any]:
            return [event.data for event in await bus.query(pattern)]

        assert await of(OptimizationEvent) == [one("a"), two("b")]
        assert await of(one | other) == await of(Union[one, other]) == [one("a"), other("c")]  # noqa: UP007  # as some write it
        assert await of([two, other]) == [two("b"), other("c")]
        assert await of([one, "optimization.untyped"]) == [one("a"), {}]


async def test_a_class_that_nobody_declared_is_neither_published_nor_subscribed_to(bus: EventBus) -> None:
    declared(AsDataclass)

    class Derived(AsDataclass):
        pass

    for stranger in (AsAttrs("a"), Derived("a"), object(), 5):
        with pytest.raises(InvalidTypeError, match="declared with @asyncbus"):
            await bus.publish(stranger)
    for pattern in (AsAttrs, Derived, int, object, AsAttrs | Derived):
        with pytest.raises(InvalidPatternError):
            bus.subscribe(pattern)
    assert await bus.latest_sequence() == 1


async def test_beside_an_instance_there_is_no_data_and_no_version(bus: EventBus) -> None:
    cls = declared(AsDataclass)
    with pytest.raises(InvalidOptionError, match="data and version"):
        await bus.publish(cls("a"), {"stage": "b"})
    with pytest.raises(InvalidOptionError, match="data and version"):
        await bus.publish(cls("a"), version=2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"stage": "licm", "ms": "12"}, "$.ms"),
        ({"stage": 5, "ms": 12}, "$.stage"),
        ({"stage": "licm", "ms": 1.5}, "$.ms"),
        ({"ms": 12}, "$"),
        (None, "$"),
        (b"{}", "$"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_path_of_the_field(
    kind: Any, data: Any, path: str, memory_log: Log
) -> None:
    cls = declared(kind)
    async with memory_log.bus() as bus:
        await bus.publish(TYPE, data)
        (event,) = await bus.query(cls)
        with pytest.raises(PayloadError, match=kind.__name__) as refused:
            _ = event.data
        assert refused.value.path in {path, "$.stage"} if path == "$" else refused.value.path == path
        assert f"<payload at {refused.value.path}" in repr(event)


async def test_the_path_leads_into_what_is_nested(memory_log: Log) -> None:
    @asyncbus.event("nested.event")
    @dataclass
    class Nested:
        stages: list[AsDataclass]

    async with memory_log.bus() as bus:
        await bus.publish("nested.event", {"stages": [{"stage": "a"}, {"stage": "b", "ms": None}]})
        (event,) = await bus.query(Nested)
        with pytest.raises(PayloadError) as refused:
            _ = event.data
        assert refused.value.path == "$.stages[1].ms"


async def test_what_does_not_fit_is_the_failure_of_one_event(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    cls = declared(AsDataclass)
    handled: list[Any] = []
    async with log.bus() as bus:
        bus.consume("one", cls, lambda event: handled.append(event.data), retry=asyncbus.Retry(attempts=1))
        await bus.publish(TYPE, {"stage": 5})
        await bus.publish(cls("licm"))
        await until(lambda: handled)
        assert handled == [cls("licm")]
        await bus.wait_processed("one", 2)
        [letter] = await bus.dead_letters("one")
        assert "$.stage" in letter.error
    assert "parks event 1" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
async def test_a_value_that_json_cannot_hold_is_refused_at_the_publish(kind: Any, bus: EventBus) -> None:
    cls = declared(kind)
    refused: Any = cls(stage="licm")
    refused.ms = math.nan
    with pytest.raises(PayloadError):
        await bus.publish(refused)
    assert await bus.latest_sequence() == 1


async def test_two_classes_under_one_type_and_version_are_an_error() -> None:
    declared(AsDataclass)
    with pytest.raises(EventDefinitionError, match=r"in version 1 already, .*AsDataclass"):
        declared(AsStruct)
    with pytest.raises(EventDefinitionError, match=r"declared as optimization\.stage_completed already"):
        declared(AsDataclass, "other.type")
    declared(AsStruct, version=2)
    assert [(shape.type, shape.version, shape.cls) for shape in asyncbus.catalog()] == [
        (TYPE, 1, AsDataclass),
        (TYPE, 2, AsStruct),
    ]


async def test_a_class_that_cannot_be_an_event_is_refused_where_it_is_declared() -> None:
    with pytest.raises(EventDefinitionError, match="no dataclass, msgspec Struct, attrs class or pydantic model"):
        asyncbus.event("a.b")(type("Plain", (), {}))
    with pytest.raises(EventDefinitionError, match="stands above a class"):
        asyncbus.event("a.b")(declared)  # type: ignore[type-var]
    with pytest.raises(InvalidTypeError):
        asyncbus.event("a..b")(AsDataclass)
    with pytest.raises(InvalidOptionError):
        asyncbus.event("a.b", version=0)(AsDataclass)

    class Impossible(msgspec.Struct):
        field: int | AsStruct | AsDataclass

    with pytest.raises(EventDefinitionError, match="cannot be an event"):
        asyncbus.event("a.b")(Impossible)
    assert len(asyncbus.catalog()) == 0


async def test_the_catalog_gives_the_schema_of_each_and_one_document_of_all() -> None:
    cls = declared(AsDataclass)
    schema = asyncbus.catalog().schema(cls)
    assert schema == asyncbus.catalog().schema(TYPE) == asyncbus.catalog().schema(TYPE, 1)
    assert schema["title"] == "AsDataclass"
    assert schema["properties"]["stage"] == {"type": "string"}
    assert schema["required"] == ["stage"]
    for unknown in (AsAttrs, "unknown.type"):
        with pytest.raises(InvalidTypeError):
            asyncbus.catalog().schema(unknown)
    document = asyncbus.catalog().asyncapi(title="vm", version="2.0")
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "vm", "version": "2.0"}
    assert list(document["channels"]) == [TYPE]
