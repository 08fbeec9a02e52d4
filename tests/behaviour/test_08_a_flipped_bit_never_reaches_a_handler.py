"""Promise 8: every event has a checksum, the bad one is named, and a lost tail is noticed."""

import gc
import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from asyncbus import Event, StoreCorruptError, StoreTruncatedError
from tests.behaviour.stage import Log, sequences, take, until

DAMAGED = 5


def damage(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = connection.execute(f"{sql} WHERE sequence = {DAMAGED}").rowcount
    assert changed == 1


async def write_ten_events(log: Log) -> None:
    async with log.bus() as bus:
        for number in range(1, 11):
            await bus.publish("a.b", {"number": number}, id=f"{number}", key="key", metadata={"who": "me"})


DAMAGES = {
    "a digit of the data": """UPDATE events SET data = '{"number":4}'""",
    "the data cut off": """UPDATE events SET data = '{"number":'""",
    "the data no text": "UPDATE events SET data = CAST(data AS BLOB)",
    "the data not UTF-8": "UPDATE events SET data = CAST(x'7B22FF' AS TEXT)",
    "a letter of the type": "UPDATE events SET type = 'a.c'",
    "the time": "UPDATE events SET time = time + 1",
    "a high bit of the time": "UPDATE events SET time = time + (1 << 40)",
    "the time of recording": "UPDATE events SET recorded_at = recorded_at + 4096",
    "the key": "UPDATE events SET key = 'kez'",
    "no key": "UPDATE events SET key = NULL",
    "the id": "UPDATE events SET id = 'another'",
    "the metadata": """UPDATE events SET metadata = '{"who":"mf"}'""",
    "the checksum": "UPDATE events SET checksum = checksum + 1",
}


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)
async def test_whatever_part_of_an_event_is_damaged_it_is_named_and_not_delivered(
    sql: str, file_log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    # An exception, and so a log record, holds the frames it came through, and those of the SQLite thread hold the file.
    caplog.set_level(logging.CRITICAL, "asyncbus")
    await write_ten_events(file_log)
    damage(file_log.path, sql)
    await meet_the_damage(file_log)
    gc.collect()


async def meet_the_damage(file_log: Log) -> None:
    handled: list[Event] = []
    async with file_log.bus() as bus:
        for reader in (bus.replay(), bus.subscribe("*", start="earliest")):
            assert sequences(await take(reader, DAMAGED - 1)) == list(range(1, DAMAGED))
            with pytest.raises(StoreCorruptError, match=f"event {DAMAGED} ") as caught:
                await anext(reader)
            assert caught.value.sequence == DAMAGED
        with pytest.raises(StoreCorruptError) as caught:
            await bus.query()
        assert caught.value.sequence == DAMAGED

        handling = bus.subscribe("a.*", handled.append, start="earliest")
        await until(lambda: handling.error is not None)
        assert isinstance(handling.error, StoreCorruptError)
        assert sequences(handled) == list(range(1, DAMAGED))
        # What is not damaged can be read, and the log goes on.
        assert sequences(await bus.query(start=DAMAGED + 1)) == list(range(DAMAGED + 1, 11))
        assert (await bus.publish("a.b")).sequence == 11


@pytest.mark.asyncio
async def test_a_handler_that_meets_damage_is_logged(file_log: Log, caplog: pytest.LogCaptureFixture) -> None:
    await write_ten_events(file_log)
    damage(file_log.path, DAMAGES["the time"])
    async with file_log.bus() as bus:
        handling = bus.subscribe("a.*", lambda event: None, start="earliest")
        await until(lambda: handling.error is not None)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"event {DAMAGED} " in record.getMessage()


@pytest.mark.asyncio
async def test_two_events_that_changed_places_are_noticed(file_log: Log) -> None:
    async with file_log.bus() as bus:
        await bus.publish_many([("a", number) for number in range(1, 11)])
    with closing(sqlite3.connect(file_log.path)) as connection, connection:
        for old, new in ((5, 100), (6, 5), (100, 6)):
            connection.execute("UPDATE events SET sequence = ? WHERE sequence = ?", (new, old))
    async with file_log.bus() as bus:
        with pytest.raises(StoreCorruptError) as caught:
            _ = [event async for event in bus.replay()]
        assert caught.value.sequence == 5


@pytest.mark.asyncio
async def test_a_row_that_is_missing_is_damage(file_log: Log) -> None:
    await write_ten_events(file_log)
    damage(file_log.path, "DELETE FROM events")
    async with file_log.bus() as bus:
        replay = bus.replay()
        assert sequences(await take(replay, DAMAGED - 1)) == list(range(1, DAMAGED))
        with pytest.raises(StoreCorruptError, match="missing") as caught:
            await anext(replay)
        assert caught.value.sequence == DAMAGED


# Ends without closing, so that what it stored stands in the -wal file only.
VANISHER = """
import asyncio, os, sys, asyncbus

async def main():
    async with asyncbus.connect(sys.argv[1]) as bus:
        await bus.publish_many([("a", number) for number in range(10)])
        os._exit(0)

asyncio.run(main())
"""


@pytest.mark.fault(46)
@pytest.mark.asyncio
@pytest.mark.parametrize("damage", ["deleted", "cut off"])
async def test_a_lost_tail_is_noticed_when_the_log_is_opened(damage: str, file_log: Log) -> None:
    subprocess.run([sys.executable, "-c", VANISHER, str(file_log.path)], check=True)
    wal = file_log.path.with_name("events.db-wal")
    if damage == "deleted":
        wal.unlink()
    else:
        wal.write_bytes(wal.read_bytes()[:1000])
    file_log.path.with_name("events.db-shm").unlink()
    with pytest.raises(StoreTruncatedError) as caught:
        await file_log.bus().__aenter__()
    error: Any = caught.value
    assert (error.expected, error.found) == (10, 0)
    Path(error.watermark).unlink()  # as the message says, to accept the loss
    async with file_log.bus() as bus:
        assert await bus.query() == []


@pytest.mark.asyncio
async def test_a_whole_tail_is_no_alarm(file_log: Log) -> None:
    subprocess.run([sys.executable, "-c", VANISHER, str(file_log.path)], check=True)
    async with asyncbus.connect(file_log.path) as bus:
        assert sequences(await bus.query()) == list(range(1, 11))
