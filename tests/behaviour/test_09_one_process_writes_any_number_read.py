"""Promise 9: one process writes a file, any number read it, see new events soon, and cost little."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import (
    EventBus,
    EventsLostError,
    InvalidOptionError,
    MemoryStore,
    PublishOutcomeUnknownError,
    StoreLockedError,
    StoreNotFoundError,
    StoreReadOnlyError,
)
from tests.behaviour.stage import Following, Log, payloads, sequences, take, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

HOLDER = """
import asyncio, sys, asyncbus

async def main():
    async with asyncbus.connect(sys.argv[1]):
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

# Follows until it has got so many events, and says what it saw; then what a second of waiting costs it.
FOLLOWER = """
import asyncio, json, sys, time, asyncbus

async def main():
    async with asyncbus.connect(sys.argv[1], read_only=True) as bus:
        seen = []
        async with bus.subscribe("*", start="earliest") as events:
            print("open", flush=True)
            async for event in events:
                seen.append((event.sequence, event.data))
                if len(seen) == int(sys.argv[2]):
                    break
        print(json.dumps(seen), flush=True)
        handled = []
        bus.subscribe("*", handled.append)
        before = time.process_time(), time.perf_counter()
        await asyncio.sleep(1)  # what is measured is what time costs
        used = (time.process_time() - before[0]) / (time.perf_counter() - before[1])
        print(json.dumps({"used": used, "handled": len(handled)}), flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def child(script: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


@pytest.mark.fault(53)
async def test_a_second_writing_process_is_told_who_holds_the_file(file_log: Log) -> None:
    async with child(HOLDER, file_log.path) as holder:
        assert await line_of(holder) == "open"
        for _ in range(2):
            with pytest.raises(StoreLockedError, match=f"process {holder.pid}") as caught:
                await file_log.bus().__aenter__()
            assert (caught.value.pid, caught.value.path) == (holder.pid, str(file_log.path))


@pytest.mark.fault(53)
async def test_a_holder_that_is_killed_holds_nothing(file_log: Log) -> None:
    async with child(HOLDER, file_log.path) as holder:
        assert await line_of(holder) == "open"
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        async with file_log.bus() as bus:
            assert (await bus.publish("a")).sequence == 1


async def test_a_second_writer_in_this_process_is_told_as_well(file_log: Log) -> None:
    async with file_log.bus() as first:
        with pytest.raises(StoreLockedError) as caught:
            await file_log.bus().__aenter__()
        assert caught.value.pid == os.getpid()
        assert (await first.publish("a")).sequence == 1
    async with file_log.bus() as second:
        assert (await second.publish("a")).sequence == 2


async def test_a_second_process_follows_sees_everything_once_and_costs_little(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish_many([("a", number) for number in range(500)])
        async with child(FOLLOWER, file_log.path, 1500) as follower:
            assert await line_of(follower) == "open"
            for number in range(500, 1000):
                await bus.publish("a", number)
            await bus.publish_many([("b", number) for number in range(1000, 1500)])
            assert json.loads(await line_of(follower)) == [[number + 1, number] for number in range(1500)]
            idle = json.loads(await line_of(follower))
    assert idle["handled"] == 0
    assert idle["used"] < 0.05, "the promise is 1 % of a core; the rest is for a machine that others use"


async def test_a_live_follower_gets_each_event_as_it_comes(file_log: Log) -> None:
    async with file_log.bus() as bus, asyncbus.connect(file_log.path, read_only=True) as follower:
        events = follower.subscribe("*")
        assert events.phase == "live"
        for number in range(10):
            await bus.publish("a", number)
            event = await anext(events)
            assert (event.sequence, event.data) == (number + 1, number)
            assert event == bus.recent()[-1]
        assert follower.recent() == bus.recent()
        assert await follower.latest_sequence() == 10


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 192])
async def test_a_follower_that_has_replayed_it_all_gets_the_next_event(file_log: Log, length: int) -> None:
    """Also where the last page was full, and another one was read ahead, in vain."""
    async with file_log.bus() as bus:
        await bus.publish_many([("a", None)] * length)
        async with asyncbus.connect(file_log.path, read_only=True) as follower:
            events = follower.subscribe("*", start="earliest")
            assert sequences(await take(events, length)) == list(range(1, length + 1))
            assert await follower.latest_sequence() == length
            await bus.publish("a")
            assert (await anext(events)).sequence == length + 1


async def test_a_follower_that_falls_behind_catches_up(file_log: Log) -> None:
    async with file_log.bus() as bus, asyncbus.connect(file_log.path, read_only=True) as follower:
        slow = follower.subscribe("*", capacity=3)
        for _ in range(5):
            await bus.publish_many([("a", None)] * 700)
        await until(lambda: slow.backlog == 3500)
        assert slow.phase == "catching_up"
        assert sequences(await take(slow, 3500)) == list(range(1, 3501))


async def test_a_follower_can_do_nothing_to_the_log(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish("a")
    before = file_log.path.read_bytes()
    async with asyncbus.connect(file_log.path, read_only=True) as follower:
        with pytest.raises(StoreReadOnlyError, match="read_only"):
            await follower.publish("a")
        with pytest.raises(StoreReadOnlyError):
            follower.publish_nowait("a")
        with pytest.raises(StoreReadOnlyError):
            await follower.publish_many([("a", None)])
        with pytest.raises(StoreReadOnlyError):
            await asyncio.to_thread(follower.publish_from_thread, "a")
        with pytest.raises(StoreReadOnlyError):
            await follower.clear()
        with pytest.raises(InvalidOptionError):
            follower.subscribe("*", when_full="block")
        assert sequences(await follower.query()) == [1]
    assert file_log.path.read_bytes() == before


async def test_there_is_nothing_to_read_where_nobody_wrote(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="read_only"):
        await asyncbus.connect(tmp_path / "missing.db", read_only=True).__aenter__()
    assert list(tmp_path.iterdir()) == []


async def test_a_follower_needs_no_writer(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish_many([("a", number) for number in range(5)])
    async with asyncbus.connect(file_log.path, read_only=True) as follower:
        assert payloads(await take(follower.subscribe("*", start="earliest"), 5)) == list(range(5))
        async with file_log.bus() as bus:
            waiting = asyncio.ensure_future(follower.wait_for("a"))
            await bus.publish("a", "new")
            assert (await waiting).data == "new"


async def test_drain_waits_for_the_handlers_of_a_follower(file_log: Log) -> None:
    seen: list[int] = []
    async with file_log.bus() as bus:
        await bus.publish_many([("a", None)] * 5)
        async with asyncbus.connect(file_log.path, read_only=True) as follower:
            follower.subscribe("*", lambda event: seen.append(event.sequence), start="earliest")
            await follower.drain()
            assert seen == [1, 2, 3, 4, 5]


async def test_anybody_may_read_the_file_with_sqlite(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish("page_table.page_fault", {"address": 4096, "who": "Zoë"}, key="vm-1", id="x")
        with closing(sqlite3.connect(f"file:{file_log.path}?mode=ro", uri=True)) as other:
            row = other.execute("SELECT sequence, type, data, key, id FROM events").fetchone()
            (address,) = other.execute("SELECT data ->> 'address' FROM events").fetchone()
        assert row == (1, "page_table.page_fault", '{"address":4096,"who":"Zoë"}', "vm-1", "x")
        assert address == 4096
        assert (await bus.publish("a")).sequence == 2


async def test_a_row_that_another_program_wrote_is_noticed(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish("a")
        with closing(sqlite3.connect(file_log.path)) as other, other:
            other.execute(
                "INSERT INTO events (recorded_at, time, type, data, checksum)"
                " SELECT recorded_at, time, type, data, checksum FROM events"
            )
        with pytest.raises(PublishOutcomeUnknownError, match="another program"):
            await bus.publish("b")
        assert bus.health().status == "failed"


@pytest.mark.parametrize("more", [0, 3])
async def test_a_live_follower_is_told_what_was_cleared_before_it_came_to_it(more: int) -> None:
    """It was owed it, so it may not pass over it in silence."""
    written = MemoryStore()
    following = Following(written)
    handled: list[Any] = []
    async with EventBus(written) as bus, EventBus(following) as follower:
        handling = follower.subscribe("*", handled.append)
        events = follower.subscribe("*")
        await bus.publish_many([("a", number) for number in range(3)])
        following.look.set()
        assert payloads(await take(events, 3)) == [0, 1, 2]
        await bus.publish_many([("a", number) for number in range(3, 7)])
        await bus.clear()
        for number in range(more):
            await bus.publish("a", f"after {number}")
        following.look.set()
        with pytest.raises(EventsLostError) as caught:
            await anext(events)
        assert (caught.value.first, caught.value.last) == (4, 7)
        await until(lambda: handling.error)
        assert payloads(handled) == [0, 1, 2]
        assert payloads(await take(follower.subscribe("*", start="earliest"), more)) == (
            [f"after {number}" for number in range(more)]
        )
