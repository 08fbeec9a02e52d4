"""Bad events: each has its own error, which names what was found, and nothing else is touched.

Bad options of subscriptions, readers, buses and stores: tests/behaviour/test_bad_options.py; calls at the wrong moment,
from the wrong thread or loop: tests/behaviour/test_the_wrong_moment_thread_or_loop.py.
"""

import asyncio
import copy
import math
import pickle
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
import pytest

from asyncbus import (
    AsyncBusError,
    BatchTooLargeError,
    EventBus,
    InvalidOptionError,
    InvalidPatternError,
    InvalidTypeError,
    PayloadError,
    PayloadTooLargeError,
)
from tests.behaviour.ways import (
    HUGE,
    MAX_PAYLOAD,
    SECONDS,
    WAYS,
    HasNoRepr,
    NoOffset,
    Publish,
    untouched,
)

pytestmark = pytest.mark.timeout(20)


class Text(str):
    __slots__ = ()


# ---------------------------------------------------------------------------------------------------------- event types

TYPES: list[tuple[object, str]] = [
    (None, "NoneType"),
    (5, "int"),
    (b"a", "bytes"),
    (["a"], "list"),
    (HasNoRepr(), "HasNoRepr"),
    ("", "token 1 is empty"),
    (".", "token 1 is empty"),
    ("a.", "token 2 is empty"),
    (".a", "token 1 is empty"),
    ("a..b", "token 2 is empty"),
    ("a b", "'a b'"),
    ("a.b c.d", "token 2, 'b c'"),
    ("a\n", r"'a\n'"),
    ("a\x00b", r"'a\x00b'"),
    ("a.*", "token 2, '*'"),
    ("a/b", "'a/b'"),
    ("naïve", "'naïve'"),
    ("а.b", "token 1"),  # the first letter is Cyrillic  # noqa: RUF001
    ("a\u200b", "token 1"),
    ("\ud800", "token 1"),
    ("a.b'; DROP TABLE events; --", "token 2"),
    ("x" * 256, "256 characters, at most 255"),
    ("x." * 32_000, "64000 characters"),
]


@pytest.mark.fault(20)
@pytest.mark.asyncio
@pytest.mark.parametrize(("type", "named"), TYPES, ids=[f"{number}" for number in range(len(TYPES))])
@pytest.mark.parametrize("way", WAYS)
async def test_a_bad_event_type_is_named(way: Publish, type: Any, named: str, bus: EventBus) -> None:
    with pytest.raises(InvalidTypeError) as caught:
        await way(bus, type)
    assert named in str(caught.value)
    assert caught.value.found == type
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 400
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("type", ["a", "A-Z_0-9", "0", "-", "_.-", "x" * 255, ".".join("x" * 128), Text("text")])
async def test_a_good_event_type_is_taken(type: str, bus: EventBus) -> None:
    await bus.publish(type)
    (event,) = await bus.query(type)
    assert event.type == type
    assert event.type.__class__ is str


# ------------------------------------------------------------------------------------------------------------- patterns

PATTERNS: list[tuple[object, str]] = [
    (None, "None"),
    (5, "5"),
    (b"a.*", "b'a.*'"),
    ([], "[]"),
    ([5], "int"),
    (["a", None], "NoneType"),
    (["a", "b..c"], "token 2 is empty"),
    (object, "object"),
    (HasNoRepr(), "HasNoRepr"),
    ("", "empty"),
    ("**", "character 1"),
    ("a.**", "character 3"),
    ("*.b", "character 1"),
    ("a.*.b", "character 3"),
    ("a*b", "character 2"),
    ("a..b", "token 2 is empty"),
    ("a..*", "token 2 is empty"),
    (".*", "token 1 is empty"),
    (".a", "token 1 is empty"),
    ("a.", "token 2 is empty"),
    ("a b", "'a b'"),
    ("a.?", "token 2, '?'"),
    ("a.%", "token 2, '%'"),
    ("order[1].*", "token 1, 'order[1]'"),
    ("a.>", "token 2, '>'"),
    ("а.*", "token 1"),  # the first letter is Cyrillic  # noqa: RUF001
    ("a.＊", "token 2"),  # a full-width asterisk  # noqa: RUF001
    ("a\n*", r"'a\n'"),
    ("x" * 257, "257 characters"),
]


@pytest.mark.fault(22)
@pytest.mark.asyncio
@pytest.mark.parametrize(("pattern", "named"), PATTERNS, ids=[f"{number}" for number in range(len(PATTERNS))])
async def test_a_bad_pattern_is_named(pattern: Any, named: str, bus: EventBus) -> None:
    def on(pattern: str) -> None:
        bus.on(pattern)(lambda event: None)

    for use in (bus.subscribe, on, bus.replay, bus.recent, bus.wait_for):
        with pytest.raises(InvalidPatternError) as caught:
            use(pattern)
        assert named in str(caught.value)
        assert isinstance(caught.value, ValueError)
    with pytest.raises(InvalidPatternError):
        await bus.query(pattern)
    with pytest.raises(InvalidPatternError):
        EventBus().subscribe(pattern)
    await untouched(bus)


# ------------------------------------------------------------------------------------------------------------- payloads


@dataclass
class Node:
    value: Any = None
    next: Any = None


class Reading(msgspec.Struct):
    values: Any


class Raises:
    def __init__(self) -> None:
        self.__attrs_attrs__ = ()


def cycle() -> Any:
    data: dict[str, Any] = {}
    data["self"] = data
    return data


PAYLOADS: list[tuple[str, Any, str, str]] = [
    ("an object", object(), "$", "object"),
    ("an object inside", {"stages": [1, {"ms": object()}]}, "$.stages[1].ms", "object"),
    ("a function", print, "$", "builtin_function_or_method"),
    ("a class", {"kind": int}, "$.kind", "type"),
    ("an exception", ValueError("x"), "$", "ValueError"),
    ("a module", [1, math], "$[1]", "module"),
    ("a complex number", [1j], "$[0]", "complex"),
    ("a generator", (number for number in (1, 2)), "$", "generator"),
    ("in a dataclass", Node(1, Node(object())), "$.next.value", "object"),
    ("in a struct", Reading([1, object()]), "$.values[1]", "object"),
    ("a subclass of str", Text("text"), "$", "Text"),
    ("a key that is a tuple", {(1, 2): 3}, "$", "keys"),
    ("a key that is None", {"a": {None: 1}}, "$.a", "keys"),
    ("NaN", math.nan, "$", "nan"),
    ("infinity", math.inf, "$", "inf"),
    ("minus infinity inside", {"a": [0.5, -math.inf]}, "$.a[1]", "-inf"),
    ("NaN beside None", {"a": None, "b": {"c": math.nan}}, "$.b.c", "nan"),
    ("NaN in a dataclass", Node(math.nan), "$.value", "nan"),
    ("NaN in a struct", Reading((1.0, math.nan)), "$.values[1]", "nan"),
    ("NaN in a set", {"a": {math.nan}}, "$.a[0]", "nan"),
    ("a lone surrogate", "\ud800", "$", "surrogate"),
    ("a lone surrogate inside", ["fine", "\udfff"], "$[1]", "surrogate"),
    ("a lone surrogate as key", {"a": {"\ud800": 1}}, "$.a", "surrogate"),
    ("a number nobody can read again", {"a": HUGE}, "$.a", "digits"),
    ("a cycle", cycle(), "$", "nested"),
]


@pytest.mark.fault(13)
@pytest.mark.fault(14)
@pytest.mark.fault(17)
@pytest.mark.fault(18)
@pytest.mark.asyncio
@pytest.mark.parametrize(("data", "path", "named"), [row[1:] for row in PAYLOADS], ids=[row[0] for row in PAYLOADS])
@pytest.mark.parametrize("way", WAYS)
async def test_a_payload_that_cannot_be_encoded_is_refused_with_its_path(
    way: Publish, data: Any, path: str, named: str, bus: EventBus
) -> None:
    with pytest.raises(PayloadError) as caught:
        await way(bus, "a", data)
    assert caught.value.path == path
    assert named in str(caught.value)
    assert isinstance(caught.value, ValueError)
    await untouched(bus)


@pytest.mark.fault(16)
@pytest.mark.asyncio
async def test_a_payload_nested_too_deeply_is_refused(bus: EventBus) -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(PayloadError, match="nested"):
        await bus.publish("a", deep)
    while deep is not None:  # letting go of it at once would need as deep a stack
        (deep,) = deep
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_what_claims_to_be_encoded_already_but_is_no_text_is_refused(way: Publish, bus: EventBus) -> None:
    with pytest.raises(PayloadError):
        await way(bus, "a", {"inner": msgspec.Raw(b'"\xff"')})
    await untouched(bus)


@pytest.mark.fault(21)
@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("data", "size"),
    [(b"x" * 1001, 1001), ("x" * 999, 1001), ("é" * 500, 1002), ([0] * 1000, 2001), (b"x" * 10**7, 10**7)],
    ids=["bytes", "text", "non-ASCII", "list", "huge"],
)
async def test_a_payload_that_is_too_large_is_refused_with_its_size(
    way: Publish, data: Any, size: int, bus: EventBus
) -> None:
    with pytest.raises(PayloadTooLargeError, match=f"{size} bytes.*{MAX_PAYLOAD}") as caught:
        await way(bus, "a", data)
    assert (caught.value.size, caught.value.limit) == (size, MAX_PAYLOAD)
    await untouched(bus)


# ------------------------------------------------------------------------------ ids, keys, metadata, times, of an event

EVENT_OPTIONS: list[tuple[str, Any, type[AsyncBusError], str]] = [
    *(
        (option, value, InvalidOptionError, named)
        for option in ("id", "key")
        for value, named in (
            ("", "''"),
            (5, "5"),
            (b"x", "b'x'"),
            (["x"], "['x']"),
            ("x" * 256, "xxx"),
            ("a\n", r"a\n"),
            ("a\x00", r"a\x00"),
            ("\ud800", r"\ud800"),
            ("\u202e", r"\u202e"),
            (HasNoRepr(), "HasNoRepr"),
        )
    ),
    ("metadata", "text", InvalidOptionError, "'text'"),
    ("metadata", [("a", 1)], InvalidOptionError, "[('a', 1)]"),
    ("metadata", {1: 2}, InvalidOptionError, "{1: 2}"),
    ("metadata", {"a": object()}, PayloadError, "metadata.a"),
    ("metadata", {"a": {"b": math.nan}}, PayloadError, "metadata.a.b"),
    ("metadata", {"a": "x" * 1001}, PayloadTooLargeError, "1009 bytes"),
    ("time", "2024-05-01", InvalidOptionError, "'2024-05-01'"),
    ("time", 5, InvalidOptionError, "5"),
    ("time", date(2024, 5, 1), InvalidOptionError, "datetime.date(2024, 5, 1)"),
    ("time", datetime(2024, 5, 1), InvalidOptionError, "datetime.datetime(2024, 5, 1, 0, 0)"),  # noqa: DTZ001
    ("time", datetime(2024, 5, 1, tzinfo=NoOffset()), InvalidOptionError, "NoOffset"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("option", "value", "error", "named"),
    EVENT_OPTIONS,
    ids=[f"{row[0]}-{number}" for number, row in enumerate(EVENT_OPTIONS)],
)
@pytest.mark.parametrize("way", WAYS)
async def test_a_bad_option_of_an_event_is_named(  # noqa: PLR0917  # a row of a table
    way: Publish, option: str, value: Any, error: type[AsyncBusError], named: str, bus: EventBus
) -> None:
    with pytest.raises(error) as caught:
        await way(bus, "a", None, **{option: value})
    assert named in str(caught.value)
    if isinstance(caught.value, InvalidOptionError):
        assert caught.value.option == option
        assert caught.value.found is value
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", SECONDS, ids=[f"{number}" for number in range(len(SECONDS))])
async def test_a_bad_timeout_is_refused_everywhere(timeout: Any, bus: EventBus) -> None:
    with pytest.raises(InvalidOptionError, match="timeout"):
        await bus.publish("a", timeout=timeout)
    with pytest.raises(InvalidOptionError, match="timeout"):
        await asyncio.to_thread(bus.publish_from_thread, "a", timeout=timeout)
    with pytest.raises(InvalidOptionError, match="timeout"):
        bus.wait_for("a", timeout=timeout)
    with pytest.raises(InvalidOptionError, match="timeout"):
        await bus.drain(timeout)
    with pytest.raises(InvalidOptionError, match="close_timeout"):
        EventBus(close_timeout=timeout)
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("ack", [None, True, "", "STORED", "all", ["stored"], b"stored"])
async def test_a_bad_ack_is_named(ack: Any, bus: EventBus) -> None:
    with pytest.raises(InvalidOptionError, match="stored") as caught:
        await bus.publish("a", ack=ack)
    assert (caught.value.option, caught.value.found) == ("ack", ack)
    await untouched(bus)


@pytest.mark.fault(12)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "events",
    [
        None,
        5,
        "ab",
        ["ab"],
        {"a": 1},
        [5],
        [None],
        [()],
        [("a",)],
        [("a", 1, 2)],
        [(5, 1)],
        [{"type": "a", "data": 1}],
        [("a", 1), ("b", 2), "c"],
    ],
    ids=str,
)
async def test_a_group_of_anything_else_than_events_is_refused(events: Any, bus: EventBus) -> None:
    with pytest.raises((InvalidOptionError, InvalidTypeError)):
        await bus.publish_many(events)
    await untouched(bus)


@pytest.mark.asyncio
async def test_a_group_without_end_is_refused_in_time(bus: EventBus) -> None:
    asked = 0

    def endless() -> Any:
        nonlocal asked
        while asked < 100_000:
            asked += 1
            yield "a", asked

    with pytest.raises(BatchTooLargeError):
        await bus.publish_many(endless())
    assert asked < 1000, "the inbox holds 10"
    await untouched(bus)


@pytest.mark.asyncio
async def test_the_errors_of_bad_input_can_be_copied_and_pickled(bus: EventBus) -> None:
    for call in (
        lambda: bus.publish_nowait("a b"),
        lambda: bus.publish_nowait("a", object()),
        lambda: bus.publish_nowait("a", b"x" * 2000),
        lambda: bus.subscribe("**"),
        lambda: bus.subscribe("a", capacity=0),
        lambda: bus.subscribe("a", start=100),
        lambda: bus.subscribe("a", 5),  # type: ignore[call-overload]
    ):
        with pytest.raises(AsyncBusError) as caught:
            call()
        for twin in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301  # our own
            assert (type(twin), str(twin)) == (type(caught.value), str(caught.value))
            assert vars(twin) == vars(caught.value)
    await untouched(bus)
