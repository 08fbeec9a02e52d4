"""What a subscriber gets equals `msgspec.to_builtins(x, str_keys=True)` of what was published, after JSON's types.

Whether it comes live, by catching up, by replay, by query, or after a restart.
"""

import base64
import enum
import json
import sys
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pytest

from asyncbus import Event, EventBus, NewEvent, PayloadError
from tests.behaviour.stage import Log, take

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


@dataclass
class Block:
    address: int
    hot: bool = False
    successors: list["Block"] = field(default_factory=list)


class Fault(msgspec.Struct):
    address: int
    when: datetime
    cause: "Cause"
    note: str | None = None


class Tagged(msgspec.Struct, tag="miss", rename="camel"):
    page_number: int


class Cause(enum.Enum):
    READ = "read"
    WRITE = "write"


class Level(enum.IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


Pair = namedtuple("Pair", "left right")  # noqa: PYI024  # the old form is published as well


NOW = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)

PAYLOADS: dict[str, Any] = {
    "None": None,
    "true": True,
    "false": False,
    "zero": 0,
    "negative": -1,
    "2**53 + 1": 2**53 + 1,
    "-2**63": -(2**63),
    "2**64 - 1": 2**64 - 1,
    "beyond 64 bits": 10**30,
    "float": 0.1,
    "negative zero": -0.0,
    "large float": sys.float_info.max,
    "small float": 5e-324,
    "empty string": "",
    "non-ASCII": "Zoë — 日本語 🦆 \u200d",
    "control characters": '\x00\x01\n\r\t\x7f"\\/',
    "the word null": "null",
    "HTML": "<script>alert('null')</script>",
    "empty list": [],
    "empty dict": {},
    "nested": {"a": [1, [2, [3, {"b": None}]], {"c": {"d": []}}]},
    "tuple": (1, "two", None),
    "set": {7},
    "frozenset": frozenset({7}),
    "integer keys": {1: "a", -2: "b"},
    "float keys": {1.5: "a"},
    "non-ASCII keys": {"naïve": 1, "键": 2, "": 3},
    "ordered dict": OrderedDict([("b", 1), ("a", 2)]),
    "dataclass": Block(4096, successors=[Block(8192, hot=True)]),
    "struct": Fault(4096, NOW, Cause.WRITE),
    "tagged and renamed struct": Tagged(7),
    "named tuples": [Point(1, 2), Pair("l", "r")],
    "enums": [Cause.READ, Level.ONE],
    "enum keys": {Cause.READ: 1},
    "UUID": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "UUID keys": {uuid.UUID(int=1): 1},
    "datetime": NOW,
    "datetime elsewhere": NOW.astimezone(timezone(timedelta(hours=5, minutes=30))),
    "naive datetime": NOW.replace(tzinfo=None),
    "date, time, timedelta": [date(2024, 2, 29), time(1, 2, 3), timedelta(days=1, milliseconds=5)],
    "decimal": [Decimal("1.10"), Decimal("-1E+5"), Decimal(0)],
    "bytes inside": {"raw": b"\x00\xff", "array": bytearray(b"ab")},
    "bytearray": bytearray(b"\x00\x01"),
    "empty bytes": b"",
    "bytes": bytes(range(256)),
    "bytes that are JSON": b'{"a": 1}',
    "long": "x" * 100_000,
    "many": list(range(10_000)),
}


def expected(payload: Any) -> Any:
    """The contract's sentence, told without the library's codec."""
    return (
        payload if isinstance(payload, bytes) else json.loads(json.dumps(msgspec.to_builtins(payload, str_keys=True)))
    )


def same(found: Any, wanted: Any) -> bool:
    return bool(found == wanted) and type(found) is type(wanted) and repr(found) == repr(wanted)


@pytest.mark.fault(15)
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_what_comes_live_equals_what_comes_later(payload: Any, log: Log) -> None:
    handled: list[Event] = []
    extras: dict[str, Any] = {"id": "id", "key": "key", "metadata": {"note": ["é", None, 1.5]}}
    async with log.bus() as bus:
        live = bus.subscribe("a")
        bus.subscribe("a", handled.append)
        await bus.publish("a", payload)
        await bus.publish_many([("a", payload)])
        await bus.publish("a", payload, **extras)
        await bus.drain()
        came_live = await take(live, 3)
        assert handled == bus.recent() == came_live
        assert await take(bus.subscribe("a", start="earliest"), 3) == came_live
        assert await bus.query() == came_live
    async with log.bus() as bus:
        assert [event async for event in bus.replay()] == came_live
        again = await take(bus.subscribe("a", start="earliest"), 3)
        assert again == await bus.query(key=None) == came_live
    for event in (*came_live, *again):
        assert same(event.data, expected(payload))
        assert event.time <= event.recorded_at
    assert (came_live[2].id, came_live[2].key, came_live[2].metadata) == tuple(extras.values())
    assert [(event.id, event.key, event.metadata) for event in came_live[:2]] == [(None, None, None)] * 2
    for live_event, later in zip(came_live, again, strict=True):
        assert hash(live_event) == hash(later)
        assert repr(live_event) == repr(later)
        for name in ("sequence", "type", "time", "recorded_at", "id", "key", "metadata"):
            assert getattr(live_event, name) == getattr(later, name)


async def test_events_that_differ_in_anything_are_not_equal(log: Log) -> None:
    first = {"data": 1, "id": None, "key": "k", "metadata": {"m": 1}, "time": NOW}
    others: list[dict[str, Any]] = [{"data": 2}, {"id": "i"}, {"key": None}, {"metadata": None}, {"time": None}]
    async with log.bus() as bus:
        await bus.publish_many([NewEvent("a", **(first | other)) for other in ({}, *others)])
        event, *rest = await bus.query()
        assert [event == other for other in rest] == [False] * len(others)
        assert event != "an event"


async def test_a_payload_is_taken_at_the_call(log: Log) -> None:
    async with log.bus() as bus:
        data = {"list": [1]}
        receipt = bus.publish_nowait("a", data, metadata=data)
        data["list"].append(2)
        await receipt
        (event,) = await bus.query()
        assert event.data == event.metadata == {"list": [1]}


async def test_base64_is_what_becomes_of_bytes_inside(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a", [b"\x00\xff"])
        (event,) = await bus.query()
        assert [base64.b64decode(text) for text in event.data] == [b"\x00\xff"]


async def test_the_time_of_an_event_is_kept_to_the_microsecond(log: Log) -> None:
    moments = [
        NOW,
        NOW.astimezone(timezone(timedelta(hours=-11))),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    async with log.bus() as bus:
        for moment in moments:
            await bus.publish("a", time=moment)
        events = await bus.query()
    async with log.bus() as bus:
        assert await bus.query() == events
    assert [event.time for event in events] == moments
    assert all(event.time.utcoffset() == timedelta(0) for event in events)


@pytest.mark.fault(16)
async def test_deep_nesting_is_refused_or_comes_back(log: Log) -> None:
    async with log.bus() as bus:
        for depth in (100, 300, 100_000):
            data: Any = "deep"
            for _ in range(depth):
                data = [data]
            try:
                await bus.publish("a", data)
            except PayloadError:
                assert depth > 300
                continue
            (event,) = await bus.query(limit=1, newest_first=True)
            found = event.data
            for _ in range(depth):
                (found,) = found
            assert found == "deep"
            del event, found
        while isinstance(data, list):  # taken apart here: letting go of it would need as deep a stack
            data = data[0]


@pytest.mark.parametrize("encoded", [b"{", b"NaN", b"1e999", b'"\xff"', b"", b"[1,]", b'{"a":1}{}'])
async def test_what_claims_to_be_encoded_already_harms_nobody(encoded: bytes, log: Log) -> None:
    """`msgspec.Raw` is written as it is: what is wrong in it fails at the publisher, or at whoever reads the data."""
    handled: list[Any] = []
    async with log.bus() as bus:
        bus.subscribe("*", lambda event: handled.append(event.data))
        for data in (msgspec.Raw(encoded), {"inner": msgspec.Raw(encoded)}):
            try:
                await bus.publish("wrong", data)
            except PayloadError:
                continue
            for event in (*bus.recent("wrong"), *await bus.query("wrong")):
                with pytest.raises(PayloadError, match="cannot be decoded"):
                    _ = event.data
        await bus.publish("right", "next")
        await bus.drain()
        assert handled == ["next"]
    async with log.bus() as bus:
        right = [event async for event in bus.replay() if event.type == "right"]
        assert [event.data for event in right] == ["next"]


async def test_no_payload_is_none(log: Log) -> None:
    async with log.bus() as bus:
        await bus.publish("a")
        await bus.publish("a", None)
        assert [event.data for event in await bus.query()] == [None, None]


async def test_a_payload_may_be_as_large_as_the_limit() -> None:
    async with EventBus(max_payload=100) as bus:
        pairs: list[tuple[Any, Any]] = [(b"x" * 100, b"x" * 101), ("x" * 98, "x" * 99), ("é" * 49, "é" * 49 + "x")]
        for fits, does_not in pairs:
            await bus.publish("a", fits)
            with pytest.raises(PayloadError, match="101 bytes"):
                await bus.publish("a", does_not)
        assert len(await bus.query()) == 3
