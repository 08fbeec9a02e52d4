from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import EventBus, MemoryStore, SQLiteStore, connect
from asyncbus.errors import InvalidOptionError, StoreNotFoundError


@pytest.mark.parametrize("url", [None, "", ":memory:", "memory://", "sqlite://", "sqlite:///:memory:"])
@pytest.mark.asyncio
async def test_a_log_in_memory_has_many_names(url: str | None) -> None:
    async with connect(url) as bus:
        assert (await bus.publish("a")).sequence == 1
        assert isinstance(bus._store, MemoryStore)


@pytest.mark.parametrize(
    "url",
    [
        "events.db",
        "sqlite:///events.db",
        Path("events.db"),
        "{folder}/events.db",
        "sqlite:///{folder}/events.db",
        "./events.db",
    ],
)
@pytest.mark.asyncio
async def test_a_log_in_a_file_has_many_names(url: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(url, str):
        url = url.format(folder=tmp_path)

    async with connect(url) as bus:
        await bus.publish("a")

    assert (tmp_path / "events.db").stat().st_size > 0
    async with connect(url, read_only=True) as bus:
        assert [event.type for event in bus.recent()] == []
        assert [event.type for event in await bus.query()] == ["a"]


def test_connecting_touches_nothing(tmp_path: Path) -> None:
    connect(tmp_path / "events.db")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_errors_of_the_store_come_when_the_bus_opens(tmp_path: Path) -> None:
    bus = connect(tmp_path / "missing" / "events.db")

    with pytest.raises(StoreNotFoundError):
        await bus.__aenter__()


def test_options_reach_what_they_are_for(tmp_path: Path) -> None:
    bus = connect(tmp_path / "events.db", synchronous="normal", read_only=True, inbox_capacity=7, recent_capacity=9)

    assert isinstance(bus._store, SQLiteStore)
    assert bus._store.features.read_only
    assert bus._store._synchronous == "normal"
    assert (bus._inbox.capacity, bus._history._capacity) == (7, 9)


@pytest.mark.asyncio
async def test_a_log_in_memory_may_be_bounded() -> None:
    async with connect(max_events=2) as bus:
        await bus.publish_many([("a", None)] * 5)

        assert [event.sequence for event in await bus.query()] == [4, 5]


def test_a_file_is_written_durably_unless_said_otherwise(tmp_path: Path) -> None:
    bus = connect(tmp_path / "events.db")

    assert isinstance(bus._store, SQLiteStore)
    assert bus._store._synchronous == "full"
    assert not bus._store.features.read_only


@pytest.mark.parametrize(
    ("url", "options", "option"),
    [
        ("mysql://localhost/events", {}, "url"),
        ("sqlite://events.db", {}, "url"),
        (7, {}, "url"),
        (b"events.db", {}, "url"),
        ([], {}, "url"),
        (None, {"read_only": True}, "synchronous, read_only and any_filesystem"),
        (":memory:", {"synchronous": "full"}, "synchronous, read_only and any_filesystem"),
        (None, {"max_events": 0}, "max_events"),
        ("events.db", {"max_events": 5}, "max_events"),
        ("events.db", {"synchronous": "off"}, "synchronous"),
        (None, {"inbox_capacity": 0}, "inbox_capacity"),
        (None, {"recent_capacity": -1}, "recent_capacity"),
        (None, {"max_payload": 0}, "max_payload"),
        (None, {"inbox_bytes": 1}, "inbox_bytes"),
        (None, {"close_timeout": -1}, "close_timeout"),
    ],
)
def test_what_cannot_be_connected_is_refused_at_the_call(url: Any, options: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        connect(url, **options)

    assert refused.value.option == option


def test_an_option_nobody_knows_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="capcity"):
        connect(None, capcity=7)  # type: ignore[call-arg]  # misspelt


def test_it_is_the_bus_itself() -> None:
    assert isinstance(asyncbus.connect(), EventBus)
