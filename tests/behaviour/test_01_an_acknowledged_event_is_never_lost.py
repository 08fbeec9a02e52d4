"""Promise 1: `ack="stored"` returns only after the commit, and what it returned for survives."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import asyncbus
from asyncbus import EventBus, Receipt
from tests.behaviour.stage import Log, payloads, sequences, ticks

pytestmark = pytest.mark.timeout(60)

# Publishes in every way that acknowledges, and writes a line for each acknowledged event as soon as it is.
PUBLISHER = """
import asyncio, os, sys, asyncbus

def tell(receipt, data):
    os.write(1, f"{receipt.sequence} {data}\\n".encode())

async def one_by_one(bus, name):
    for number in range(10**9):
        data = f"{name}-{number}"
        tell(await bus.publish("kill.one", data), data)

async def in_groups(bus):
    for number in range(10**9):
        group = [f"group-{number}-{member}" for member in range(7)]
        for receipt, data in zip(await bus.publish_many([("kill.many", data) for data in group]), group):
            tell(receipt, data)

def from_a_thread(bus):
    for number in range(10**9):
        data = f"thread-{number}"
        tell(bus.publish_from_thread("kill.thread", data).result(), data)

async def main():
    async with asyncbus.connect(sys.argv[1], synchronous=sys.argv[2]) as bus:
        run = sys.argv[3]
        await asyncio.gather(
            in_groups(bus), asyncio.to_thread(from_a_thread, bus), *(one_by_one(bus, f"{run}{name}") for name in "abcd")
        )

asyncio.run(main())
"""


@pytest.mark.fault(75)
@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_a_process_killed_while_it_publishes_loses_nothing_it_acknowledged(synchronous: str, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    acknowledged: dict[int, str] = {}
    for run, lines in enumerate((1, 150, 400)):
        acknowledged |= _publish_and_kill(path, synchronous, str(run), lines)
    stored = asyncio.run(_all_events(path))
    assert list(stored) == list(range(1, len(stored) + 1))
    assert acknowledged.items() <= stored.items()
    assert len(acknowledged) > 500


def _publish_and_kill(path: Path, synchronous: str, run: str, lines: int) -> dict[int, str]:
    command = [sys.executable, "-c", PUBLISHER, str(path), synchronous, run]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    # The last line may have been cut off with the process.
    return {int(line.split()[0]): line.split()[1] for line in told if line.endswith("\n")}


async def _all_events(path: Path) -> dict[int, str]:
    async with asyncbus.connect(path) as bus:
        return {event.sequence: event.data async for event in bus.replay()}


@pytest.mark.fault(75)
def test_a_group_is_there_whole_or_not_at_all_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    _publish_and_kill(path, "normal", "", 60)
    stored = asyncio.run(_all_events(path))
    groups = [(sequence, data.rpartition("-")) for sequence, data in stored.items() if data.startswith("group")]
    for group in {name for _, (name, _, _) in groups}:
        members = [(sequence, int(member)) for sequence, (name, _, member) in groups if name == group]
        first = members[0][0]
        assert members == [(first + member, member) for member in range(7)]


VANISHER = """
import asyncio, os, sys, asyncbus

async def main():
    async with asyncbus.connect(sys.argv[1]) as bus:
        await bus.publish("a", "stored")
        os._exit(0)

asyncio.run(main())
"""


@pytest.mark.fault(74)
def test_a_process_that_ends_without_closing_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    subprocess.run([sys.executable, "-c", VANISHER, str(path)], check=True)
    assert asyncio.run(_all_events(path)) == {1: "stored"}


@pytest.mark.asyncio
async def test_a_publisher_is_not_told_before_the_commit(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        publishing = asyncio.create_task(bus.publish("a"))
        await store.appending.wait()
        await ticks(20)
        assert not publishing.done()
        store.gate.set()
        assert await publishing == Receipt(1)


@pytest.mark.asyncio
async def test_what_was_acknowledged_is_in_the_file_for_everybody(file_log: Log) -> None:
    async with file_log.bus() as bus:
        receipt = await bus.publish("a", {"n": 1})
        with closing(sqlite3.connect(file_log.path)) as other:
            rows = other.execute("SELECT sequence, type, data FROM events").fetchall()
    assert rows == [(receipt.sequence, "a", '{"n":1}')]


@pytest.mark.asyncio
async def test_a_log_opened_again_goes_on_where_it_was(log: Log) -> None:
    async with log.bus() as bus:
        before = await bus.publish_many([("a", number) for number in range(3)])
    async with log.bus() as bus:
        assert await bus.latest_sequence() == 3
        after = await bus.publish("a", 3)
        everything = [event async for event in bus.replay()]
    assert [receipt.sequence for receipt in (*before, after)] == sequences(everything) == [1, 2, 3, 4]
    assert payloads(everything) == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_many_publishers_share_one_commit(log: Log) -> None:
    store = log.staged()
    async with EventBus(store) as bus:
        store.gate.clear()
        first = asyncio.create_task(bus.publish("a"))
        await store.appending.wait()
        others = [asyncio.create_task(bus.publish("a")) for _ in range(100)]
        await ticks(2)
        store.gate.set()
        await asyncio.gather(first, *others)
        assert store.batches == [1, 100]
