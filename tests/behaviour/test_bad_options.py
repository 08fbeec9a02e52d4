"""Bad options of subscriptions, readers, buses and stores: named at the call, with nothing else touched."""

import asyncio
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import (
    EventBus,
    InvalidHandlerError,
    InvalidOptionError,
    MemoryStore,
    SQLiteStore,
    StartBeyondHeadError,
    StoreError,
)
from tests.behaviour.ways import (
    COUNTS,
    HUGE,
    SECONDS,
    HasNoRepr,
    NoOffset,
    untouched,
)

pytestmark = pytest.mark.timeout(20)


# -------------------------------------------------------------------------------------------------------- subscriptions

SUBSCRIBE_OPTIONS: list[tuple[str, Any]] = [
    *(("capacity", value) for value in COUNTS),
    *(("when_full", value) for value in (None, "", "drop", "BLOCK", True, ["block"], b"block")),
    *(("priority", value) for value in (None, 1.5, "1", True, float("nan"), [1])),
    *(
        ("start", value)
        for value in (
            None,
            0,
            -1,
            True,
            1.0,
            float("nan"),
            "",
            "first",
            "LATEST",
            b"latest",
            ["latest"],
            "1",
            date(2024, 5, 1),
            datetime(2024, 5, 1),  # noqa: DTZ001
            datetime(2024, 5, 1, tzinfo=NoOffset()),
            -HUGE,
            HasNoRepr(),
        )
    ),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("option", "value"),
    SUBSCRIBE_OPTIONS,
    ids=[f"{option}-{number}" for number, (option, _) in enumerate(SUBSCRIBE_OPTIONS)],
)
@pytest.mark.parametrize("opened", [True, False])
async def test_a_bad_option_of_a_subscription_is_named(opened: bool, option: str, value: Any, bus: EventBus) -> None:
    asked: Any = bus if opened else EventBus()
    with pytest.raises(InvalidOptionError, match=option) as caught:
        asked.subscribe("a", **{option: value})
    assert caught.value.option == option
    assert caught.value.found is value
    with pytest.raises(InvalidOptionError, match=option):
        asked.on("a", **{option: value})(lambda event: None)
    if option == "start" and opened:
        with pytest.raises(InvalidOptionError, match=option):
            asked.wait_for("a", start=value)
        with pytest.raises(InvalidOptionError, match=option):
            asked.replay(start=value)
    assert asked.statistics().subscriptions == ()
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("start", [2**63, 10**30, HUGE], ids=["2**63", "10**30", "HUGE"])
async def test_a_start_that_no_log_can_have_is_an_error(start: int, bus: EventBus) -> None:
    for begin in (bus.subscribe, bus.replay, bus.wait_for):
        with pytest.raises((StartBeyondHeadError, InvalidOptionError)):
            begin("a", start=start)
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("start", [3, 4, 2**63 - 1])
async def test_a_start_beyond_the_next_event_is_an_error(start: int, bus: EventBus) -> None:
    for begin in (bus.subscribe, bus.replay, bus.wait_for):
        with pytest.raises(StartBeyondHeadError):
            begin("a", start=start)
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("handler", [5, "handler", object(), [print], asyncio.Event(), HasNoRepr()], ids=type)
async def test_a_handler_that_cannot_be_called_is_named(handler: Any, bus: EventBus) -> None:
    with pytest.raises(InvalidHandlerError, match="callable") as caught:
        bus.subscribe("a", handler)
    for register in (bus, EventBus()):
        with pytest.raises(InvalidHandlerError):
            register.on("a")(handler)
        with pytest.raises((InvalidHandlerError, InvalidOptionError)):  # a string would be conditions
            register.subscribe("a", where=handler)
    with pytest.raises((InvalidHandlerError, InvalidOptionError)):
        bus.wait_for("a", handler)
    assert caught.value.found is handler
    assert isinstance(caught.value, TypeError)
    await untouched(bus)


@pytest.mark.asyncio
async def test_a_handler_that_was_called_already_is_no_handler(bus: EventBus) -> None:
    async def handle(event: object) -> None:
        pass

    called = handle(None)
    with pytest.raises(InvalidHandlerError, match="coroutine"):
        bus.subscribe("a", called)  # type: ignore[call-overload]  # the parentheses too many
    called.close()
    await untouched(bus)


# -------------------------------------------------------------------------------------------------------------- reading

BOUNDS: list[Any] = [0, -1, True, 1.5, "5", "earliest", b"5", date(2024, 5, 1), datetime(2024, 5, 1), HUGE * -1]  # noqa: DTZ001
MOMENTS: list[Any] = [5, "2024", date(2024, 5, 1), datetime(2024, 5, 1), datetime(2024, 5, 1, tzinfo=NoOffset())]  # noqa: DTZ001

QUERY_OPTIONS: list[tuple[str, Any]] = [
    *(("start", value) for value in BOUNDS),
    *(("stop", value) for value in BOUNDS),
    *(("since", value) for value in MOMENTS),
    *(("until", value) for value in MOMENTS),
    *(("limit", value) for value in COUNTS if value is not None),
    *(("key", value) for value in ("", 5, b"k", "x" * 256)),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("option", "value"),
    QUERY_OPTIONS,
    ids=[f"{option}-{number}" for number, (option, _) in enumerate(QUERY_OPTIONS)],
)
async def test_a_bad_option_of_a_query_is_named(option: str, value: Any, bus: EventBus) -> None:
    with pytest.raises(InvalidOptionError, match=option) as caught:
        await bus.query(**{option: value})
    assert caught.value.option == option
    if option == "stop":
        with pytest.raises(InvalidOptionError, match=option):
            bus.replay(stop=value)
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("where", [5, HasNoRepr()], ids=["5", "object"])
async def test_a_predicate_of_a_query_that_cannot_be_called_is_named(where: Any, bus: EventBus) -> None:
    with pytest.raises(InvalidHandlerError):
        await bus.query(where=where)
    await untouched(bus)


@pytest.mark.asyncio
@pytest.mark.parametrize("speed", [0, 0.0, *SECONDS], ids=[f"{number}" for number in range(len(SECONDS) + 2)])
async def test_a_bad_speed_is_named_at_the_call(speed: Any, bus: EventBus) -> None:
    with pytest.raises(InvalidOptionError, match="speed"):
        bus.replay(speed=speed)
    await untouched(bus)


# ----------------------------------------------------------------------------------------------------- buses and stores

BUS_OPTIONS: list[tuple[str, Any]] = [
    *((option, value) for option in ("inbox_capacity", "recent_capacity", "max_payload") for value in COUNTS),
    *(("inbox_bytes", value) for value in (*COUNTS, 2**20 - 1)),
]


@pytest.mark.parametrize(
    ("option", "value"), BUS_OPTIONS, ids=[f"{option}-{number}" for number, (option, _) in enumerate(BUS_OPTIONS)]
)
def test_a_bad_option_of_a_bus_is_named(option: str, value: Any) -> None:
    for make in (EventBus, asyncbus.connect):
        with pytest.raises(InvalidOptionError, match=option) as caught:
            make(**{option: value})
        assert caught.value.option == option


@pytest.mark.parametrize("store", ["events.db", Path("events.db"), 5, MemoryStore], ids=str)
def test_what_is_no_store_is_named(store: Any) -> None:
    with pytest.raises(InvalidOptionError, match="store"):
        EventBus(store)


@pytest.mark.parametrize("value", [value for value in COUNTS if value is not None], ids=type)
def test_a_bad_bound_of_a_memory_store_is_named(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match="max_events"):
        MemoryStore(max_events=value)
    with pytest.raises(InvalidOptionError, match="max_events"):
        asyncbus.connect(max_events=value)


@pytest.mark.parametrize("synchronous", ["", "FULL", "off", 0, 1, True, False, ["full"], b"full"], ids=repr)
def test_a_bad_synchronous_is_named(synchronous: Any) -> None:
    with pytest.raises(InvalidOptionError, match="synchronous"):
        SQLiteStore("events.db", synchronous=synchronous)
    with pytest.raises(InvalidOptionError, match="synchronous"):
        asyncbus.connect("events.db", synchronous=synchronous)
    assert not Path("events.db").exists()


URLS: list[Any] = [
    5,
    b"events.db",
    ["events.db"],
    {"url": "events.db"},
    object(),
    "postgresql://localhost/events",
    "nats://localhost",
    "http://localhost/events.db",
    "sqlite:events.db://",
    "sqlite://host/events.db",
    "file:///events.db",
    "a\0b.db",
]


@pytest.mark.parametrize("url", URLS, ids=[f"{number}" for number in range(len(URLS))])
def test_a_bad_url_is_named(url: Any) -> None:
    with pytest.raises(InvalidOptionError, match="url") as caught:
        asyncbus.connect(url)
    assert caught.value.found is url


@pytest.mark.parametrize("path", [5, None, b"events.db", ["events.db"], "a\0b.db"], ids=repr)
def test_a_bad_path_of_a_store_is_named(path: Any) -> None:
    with pytest.raises(InvalidOptionError, match="path"):
        SQLiteStore(path)


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("events.db", {"max_events": 5}, "max_events"),
        (None, {"synchronous": "full"}, "synchronous"),
        (":memory:", {"read_only": True}, "read_only"),
    ],
)
def test_an_option_of_another_kind_of_store_is_named(url: Any, options: Any, named: str) -> None:
    with pytest.raises(InvalidOptionError, match=named):
        asyncbus.connect(url, **options)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["x" * 300 + ".db", "missing/events.db", "."])
async def test_a_path_where_no_log_can_be_is_an_error_of_the_store_when_it_opens(name: str, tmp_path: Path) -> None:
    bus = asyncbus.connect(f"{tmp_path}/{name}")
    with pytest.raises((StoreError, InvalidOptionError)):
        await bus.__aenter__()
    assert list(tmp_path.iterdir()) == []
