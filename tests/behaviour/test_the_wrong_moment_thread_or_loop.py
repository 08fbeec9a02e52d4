"""Calls before the bus is opened, after it was closed, from another thread, and on another loop: told at once."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import (
    BusClosedError,
    EventBus,
    MemoryStore,
    PendingReceipt,
    StoreError,
    WrongEventLoopError,
    WrongThreadError,
)
from asyncbus.testing import FaultyStore, Held
from tests.behaviour.ways import (
    WAYS,
    Publish,
    publish,
    publish_accepted,
    publish_many,
    publish_nowait,
    publish_within,
    untouched,
)

pytestmark = pytest.mark.timeout(20)


@pytest.mark.fault(8)
@pytest.mark.asyncio
@pytest.mark.parametrize("moment", ["not opened", "closed", "failed to open"])
@pytest.mark.parametrize("way", WAYS)
async def test_publishing_on_a_bus_that_is_not_open_is_an_error_at_once(
    way: Publish, moment: str, tmp_path: Path
) -> None:
    bus = asyncbus.connect(tmp_path / "missing" / "events.db" if moment == "failed to open" else None)
    if moment == "closed":
        async with bus:
            await bus.publish("a")
    elif moment == "failed to open":
        with pytest.raises(StoreError):
            await bus.__aenter__()
    with pytest.raises(BusClosedError, match="closed" if moment == "closed" else "not open"):
        await way(bus, "a", {"n": 1})
    assert bus.statistics().published == (1 if moment == "closed" else 0)


@pytest.mark.asyncio
async def test_subscribing_to_a_closed_bus_is_an_error_at_once() -> None:
    async with EventBus() as bus:
        pass
    for subscribe in (bus.subscribe, bus.wait_for, lambda pattern: bus.on(pattern)(print)):
        with pytest.raises(BusClosedError):
            subscribe("a")
    assert bus.statistics().subscriptions == ()


@pytest.mark.asyncio
async def test_iterating_before_the_bus_is_opened_is_an_error() -> None:
    bus = EventBus()
    events = bus.subscribe("a")
    with pytest.raises(BusClosedError, match="not open"):
        await anext(events)
    async with bus:
        await bus.publish("a")
        assert (await anext(events)).sequence == 1


def run_elsewhere(work: Callable[[], Any]) -> BaseException | None:
    """Run it on a thread of its own, and give what it raised."""
    raised: list[BaseException | None] = [None]

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # it is what is asked for
            raised[0] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0]


@pytest.mark.fault(9)
@pytest.mark.asyncio
@pytest.mark.parametrize("way", [publish, publish_accepted, publish_within, publish_nowait, publish_many])
async def test_publishing_from_another_thread_names_the_way_to_do_it(way: Publish, bus: EventBus) -> None:
    error = await asyncio.to_thread(run_elsewhere, lambda: asyncio.run(way(bus, "a")))  # type: ignore[arg-type]
    assert isinstance(error, WrongEventLoopError)
    assert "publish_from_thread" in str(error)
    await untouched(bus)


@pytest.mark.fault(9)
@pytest.mark.asyncio
@pytest.mark.parametrize("call", ["flush", "drain", "clear", "subscribe", "on", "wait_for"])
async def test_other_calls_from_another_thread_are_refused_too(call: str, bus: EventBus) -> None:
    async def run() -> None:
        match call:
            case "subscribe":
                bus.subscribe("a")
            case "on":
                bus.on("a")(print)
            case "wait_for":
                await bus.wait_for("a")
            case _:
                await getattr(bus, call)()

    error = await asyncio.to_thread(run_elsewhere, lambda: asyncio.run(run()))
    assert isinstance(error, WrongEventLoopError)
    await untouched(bus)


@pytest.mark.fault(78)
@pytest.mark.parametrize("way", [publish, publish_within, publish_many])
def test_publishing_from_another_loop_is_an_error_and_stores_nothing(way: Publish) -> None:
    bus = EventBus()
    with asyncio.Runner() as mine, asyncio.Runner() as other:
        mine.run(bus.__aenter__())
        mine.run(bus.publish("before"))
        with pytest.raises(WrongEventLoopError):
            other.run(way(bus, "a"))  # type: ignore[arg-type]
        mine.run(untouched(bus))
        mine.run(bus.close())


async def _next(bus: EventBus) -> object:
    return await anext(bus.subscribe("a"))


@pytest.mark.fault(78)
@pytest.mark.fault(32)
@pytest.mark.parametrize(
    "ask",
    [
        EventBus.query,
        EventBus.latest_sequence,
        EventBus.flush,
        EventBus.drain,
        EventBus.clear,
        EventBus.close,
        lambda bus: bus.publish("a"),
        lambda bus: bus.publish_many([("a", 1)]),
        lambda bus: bus.wait_for("a"),
        _next,
    ],
    ids=["query", "latest_sequence", "flush", "drain", "clear", "close", "publish", "publish_many", "wait_for", "next"],
)
def test_on_another_loop_nothing_is_waited_for_also_where_a_commit_is_in_flight(
    ask: Callable[[EventBus], Awaitable[object]],
) -> None:
    store = FaultyStore(MemoryStore())
    bus = EventBus(store)

    async def begin() -> tuple[Held, PendingReceipt]:
        await bus.__aenter__()
        held = store.hang("append")
        pending = await bus.publish("before", ack="accepted")
        await held.reached.wait()
        return held, pending

    async def elsewhere() -> None:
        async with asyncio.timeout(20):
            await ask(bus)

    async def end(held: Held, pending: PendingReceipt) -> int:
        held.release()
        sequence = (await pending).sequence
        await bus.close()
        return sequence

    with asyncio.Runner() as mine, asyncio.Runner() as other:
        held, pending = mine.run(begin())
        with pytest.raises(WrongEventLoopError):
            other.run(elsewhere())
        assert mine.run(end(held, pending)) == 1


@pytest.mark.fault(78)
@pytest.mark.parametrize("way", WAYS)
def test_publishing_after_its_loop_has_gone_is_an_error(way: Publish) -> None:
    bus = EventBus()
    asyncio.run(bus.__aenter__())
    with pytest.raises((BusClosedError, WrongEventLoopError)):
        asyncio.run(way(bus, "a"))  # type: ignore[arg-type]
    del bus
    with pytest.warns(ResourceWarning, match="was never closed"):  # nobody can do it any more
        gc.collect()


@pytest.mark.asyncio
async def test_publish_from_thread_on_the_loops_own_thread_is_refused(bus: EventBus) -> None:
    with pytest.raises(WrongThreadError, match="publish_nowait"):
        bus.publish_from_thread("a")
    await untouched(bus)
