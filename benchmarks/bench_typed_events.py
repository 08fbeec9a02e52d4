"""What a typed event costs from publish to handler, beside an untyped one; and what expected sequences cost others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter
from typing import Any

import msgspec

import asyncbus
from benchmarks.harness import Question, Setting, Target, single
from benchmarks.ours import opened
from benchmarks.workload import PATTERN, PAYLOADS, TYPE, Handled

UNTYPED = "untyped, a dict"
DATACLASS = "typed, a dataclass"
STRUCT = "typed, a msgspec Struct"
BESIDE = "untyped, where others expect sequences"


@dataclass
class AsDataclass:
    stage_name: str
    execution_time_ms: int
    memory_usage_mb: float
    success: bool


class AsStruct(msgspec.Struct):
    stage_name: str
    execution_time_ms: int
    memory_usage_mb: float
    success: bool


def question(setting: Setting) -> Question:
    events = setting.pick(full=200_000, quick=40_000, tiny=300)

    def untyped(*, beside_others: bool = False) -> float:
        published = [(TYPE, payload) for payload in islice(cycle(PAYLOADS), events)]
        return asyncio.run(microseconds_an_event(setting, PATTERN, published, _of_dict, beside_others=beside_others))

    def typed(cls: Any) -> float:
        with asyncbus.catalog().isolated(empty=True):
            asyncbus.event(TYPE)(cls)
            published = [(each, None) for each in islice(cycle([cls(**payload) for payload in PAYLOADS]), events)]
            return asyncio.run(microseconds_an_event(setting, cls, published, _of_instance))

    return Question(
        title="typed events, from publish to a handler that reads a field",
        contestants=(
            single(UNTYPED, "µs/event", untyped, "limit"),
            single(DATACLASS, "µs/event", lambda: typed(AsDataclass)),
            single(STRUCT, "µs/event", lambda: typed(AsStruct)),
            single(BESIDE, "µs/event", lambda: untyped(beside_others=True)),
        ),
        targets=(
            Target("at most 1.3 times the cost of an untyped event", DATACLASS, UNTYPED, at_most=1.3),
            Target("at most 1.3 times the cost of an untyped event", STRUCT, UNTYPED, at_most=1.3),
            Target("who expects nothing keeps 0.9 of the rate", BESIDE, UNTYPED, at_most=1 / 0.9),
        ),
        notes="SQLite, synchronous FULL. The instances are made before; an instance of a class of the same fields "
        "comes to the handler. The last row: one event with a key and an expected sequence was published before.",
    )


async def microseconds_an_event(
    setting: Setting,
    pattern: Any,
    published: Iterable[tuple[Any, Any]],
    read: Callable[[Any], object],
    *,
    beside_others: bool = False,
) -> float:
    """Publish to handled, for each event."""
    published = list(published)
    handled = Handled(len(published))

    async def handle(event: asyncbus.Event) -> None:
        read(event.data)
        handled.counted()

    async with opened(setting.fresh("typed")) as bus:
        if beside_others:
            await bus.publish("other", key="other", expected_sequence=0)
        bus.subscribe(pattern, handle)
        start = perf_counter()
        for type_, data in published:
            await bus.publish(type_, data, ack="accepted")
        await handled.all_handled.wait()
        return (perf_counter() - start) / len(published) * 1e6


def _of_dict(data: Any) -> object:
    return data["execution_time_ms"]


def _of_instance(data: Any) -> object:
    return data.execution_time_ms
