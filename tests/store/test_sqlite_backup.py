"""A copy made while the log is written is whole, or it is not there."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

import asyncbus
from asyncbus import (
    Record,
    StoreFailedError,
    StoreTruncatedError,
    verify,
)
from asyncbus.store import backup
from asyncbus.testing import content, record
from tests.store.files import make_log, opened, read_all, refused, sql, verified
from tests.store.processes import child


async def events_of(path: Path) -> list[Any]:
    """What each event of a log holds."""
    async with opened(path, read_only=True) as store:
        found, damage = await read_all(store)
    assert damage is None
    return [content(event) for event in found]


def batch(size: int, data: Any = "x" * 100) -> list[Record]:
    return [record("a.b", data) for _ in range(size)]


# --- what a copy holds -----------------------------------------------------------------------------------------------


@pytest.mark.fault(52)
@pytest.mark.asyncio
async def test_a_copy_is_the_log_in_one_file(path: Path, copy: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b", 1, id="id", key="key", metadata={"m": 1}), record("c", b"bytes")])
        await store.clear()
        await store.append([record("a.b", number, id=f"id-{number}") for number in range(100)])
        await store.backup(copy)
        original = await store.read(2, asyncbus.Pattern.parse("*"), 1000)

    assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
    found = await verified(copy)
    assert (found.findings, found.events, found.head) == ((), 100, 102)
    assert sql(copy, "SELECT log_id FROM log") == sql(path, "SELECT log_id FROM log")
    async with opened(copy) as store:
        assert [content(event) for event in (await read_all_after(store, 2))] == [
            content(event) for event in original.records
        ]
        appended = await store.append([record("a.b", 5, id="id-5"), record("a.b", 5, id="id-5b")])
    assert (appended.first, appended.duplicates) == (103, {0: 8})


async def read_all_after(store: asyncbus.EventStore, after: int) -> list[Record]:
    return list((await store.read(after, asyncbus.Pattern.parse("*"), 1000)).records)


@pytest.mark.fault(52)
@pytest.mark.asyncio
async def test_copies_made_while_the_bus_publishes_at_full_speed_hold_all_that_was_acknowledged(
    path: Path, copy: Path
) -> None:
    # As large as several steps of copying: without one snapshot for all, each commit would have it begin again.
    await make_log(path, 20_000, data="x" * 400)
    acknowledged = 0
    before: dict[int, int] = {}
    is_over = False

    async def publish(bus: asyncbus.EventBus) -> None:
        nonlocal acknowledged
        while not is_over:
            receipts = await bus.publish_many([("a.b", "x" * 100)] * 100)
            acknowledged = receipts[-1].sequence

    async with asyncbus.connect(path, synchronous="normal") as bus, asyncio.TaskGroup() as tasks:
        tasks.create_task(publish(bus))
        for number in range(3):
            await bus.wait_for("a.b")
            before[number] = acknowledged
            await bus.backup(copy.with_name(f"{number}.db"))
            assert acknowledged > before[number], "publishing went on"
        is_over = True

    for number, least in before.items():
        found = await verified(copy.with_name(f"{number}.db"))
        assert found.sound, str(found)
        assert found.head >= least


@pytest.mark.fault(52)
@pytest.mark.asyncio
async def test_a_copy_of_a_log_whose_writer_is_killed_meanwhile_is_restored_with_all_it_had_acknowledged(
    path: Path, copy: Path
) -> None:
    random = Random(52)
    acknowledged = 0
    for number in range(4):
        place = copy.with_name(f"{number}.db")
        with child("write", path) as writer:
            assert await writer.says() == "opened"
            async with opened(path, read_only=True) as store:
                acknowledged = await writer.does(random.randrange(1, 3000))
                copying = asyncio.create_task(store.backup(place))
                writing = asyncio.create_task(writer.does(random.randrange(1, 3000)))
                await asyncio.wait([copying, writing], return_when=asyncio.FIRST_COMPLETED)
                await writer.kill()
                await copying
                await writing
        found = await verified(place)
        assert found.sound, str(found)
        assert found.head >= acknowledged
        # What was lost and restored goes on where the copy ends.
        for old in path.parent.glob("log.db*"):
            old.unlink()
        shutil.copy(place, path)
        assert await events_of(path) == await events_of(place)


@pytest.mark.fault(52)
@pytest.mark.asyncio
async def test_a_copy_whose_maker_is_killed_is_whole_or_not_there(path: Path, copy: Path) -> None:
    await make_log(path, 5000)
    random = Random(52)
    whole = 0
    for number in range(5):
        folder = copy.parent / str(number)
        folder.mkdir()
        with child("back_up_again_and_again", path, folder) as maker:
            for _ in range(random.randrange(1, 4)):
                assert await maker.says()
            await asyncio.to_thread(wait_for_a_draft, folder)
            await maker.kill()
        for place in folder.glob("*.db"):
            found = await verified(place)
            assert (found.findings, found.events) == ((), 5000)
            whole += 1

    assert whole >= 5


def wait_for_a_draft(folder: Path) -> None:
    while not list(folder.glob("*.partial")):
        pass


@pytest.mark.fault(52)
@pytest.mark.asyncio
async def test_to_copy_the_database_file_alone_loses_events(path: Path, copy: Path) -> None:
    async with opened(path) as store:
        await store.append(batch(10))
        await store.backup(copy)
        beside = copy.with_name("cp.db")
        await asyncio.to_thread(shutil.copy, path, beside)
        await asyncio.to_thread(shutil.copy, f"{path}-watermark", f"{beside}-watermark")

    assert (await verified(copy)).head == 10
    [finding] = (await verified(beside)).findings
    assert finding.message.startswith("the log ends at event 0, but ")
    await refused(beside, StoreTruncatedError)


@pytest.mark.fault(52)
@pytest.mark.asyncio
async def test_a_copy_put_in_the_logs_place_without_what_stood_beside_it_opens(path: Path, copy: Path) -> None:
    async with opened(path) as store:
        await store.append(batch(3))
        await store.backup(copy)
        await store.append(batch(4))
    shutil.copy(copy, path)

    # What was stored after the copy is gone, and that is said.
    error = await refused(path, StoreTruncatedError)
    assert (error.expected, error.found) == (7, 3)

    Path(f"{path}-watermark").unlink()
    async with opened(path) as store:
        assert (await store.append(batch(1))).first == 4


@pytest.mark.fault(52)
def test_a_copy_is_one_moment_whatever_is_committed_between_its_steps(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(make_log(path, 1000))
    monkeypatch.setattr(backup, "_STEP", 4)
    commits = count(1)

    def commit() -> bool:
        """Called after each step; without a snapshot each commit begins the copy anew, so that is given up."""
        number = next(commits)
        sql(path, "INSERT INTO removals VALUES (?, ?, 0, 'between two steps')", number, number)
        return number > 1000

    assert backup.copy(path, "ro", copy, commit)

    assert next(commits) > 5, "it was made in several steps"
    assert sql(copy, "SELECT count(*) FROM removals") == [(0,)]
    assert verify(copy).events == 1000


@pytest.mark.fault(52)
def test_a_copy_is_on_the_disk_before_it_has_its_name_and_then_its_name_is(path: Path, copy: Path) -> None:
    if shutil.which("strace") is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("strace is not installed: apt-get install strace")
    asyncio.run(make_log(path))
    program = (
        "import sys; from pathlib import Path; from asyncbus.store.backup import copy;"
        " copy(Path(sys.argv[1]), 'ro', Path(sys.argv[2]), lambda: False)"
    )
    log = path.with_name("trace")
    traced: list[str | Path] = [
        "strace",
        "-f",
        "-y",
        "-o",
        log,
        "-e",
        "trace=fsync,fdatasync,?link,linkat,?unlink,unlinkat",
    ]

    subprocess.run([*traced, sys.executable, "-c", program, path, copy], check=True)

    folder = re.escape(str(copy.parent))
    steps = [
        re.compile(rf"f(data)?sync\(\d+<{folder}/[^>]*\.partial>"),
        re.compile(rf"link.*\.partial\".*/{re.escape(copy.name)}\""),
        re.compile(r"unlink.*\.partial\""),
        re.compile(rf"fsync\(\d+<{folder}>"),
    ]
    lines = log.read_text().splitlines()
    found = [[place for place, line in enumerate(lines) if step.search(line)] for step in steps]
    assert all(found), lines
    draft, named, one_name, folder_synced = found
    assert draft[0] < named[0] < one_name[0] < folder_synced[-1], lines


@pytest.mark.asyncio
async def test_a_read_only_bus_makes_copies_too(path: Path, copy: Path) -> None:
    async with asyncbus.connect(path) as writer, asyncbus.connect(path, read_only=True) as reader:
        await writer.publish("a.b")
        await reader.backup(copy)

    assert (await verified(copy)).head == 1


@pytest.mark.asyncio
async def test_a_copy_is_made_beside_a_busy_loop(path: Path, copy: Path) -> None:
    await make_log(path, 20_000)

    async with opened(path) as store:
        copying = asyncio.create_task(store.backup(copy))
        while not copying.done():
            sum(range(20_000))
            await asyncio.sleep(0)

    assert (await verified(copy)).events == 20_000


# --- copies that nobody wants any more -------------------------------------------------------------------------------


async def draft_of(copying: asyncio.Task[None], folder: Path) -> None:
    """Wait until the copy is on its way."""
    while not copying.done() and not list(folder.glob("*.partial")):  # noqa: ASYNC110  # a file sets no event
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_copy_that_is_cancelled_leaves_nothing(path: Path, copy: Path) -> None:
    await make_log(path, 20_000, data="x" * 400)

    async with opened(path) as store:
        for _ in range(3):
            copying = asyncio.create_task(store.backup(copy))
            await draft_of(copying, copy.parent)
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying
            assert list(copy.parent.iterdir()) == []
        await store.backup(copy)

    assert (await verified(copy)).events == 20_000


@pytest.mark.asyncio
async def test_a_copy_of_a_bus_that_is_closed_meanwhile_says_so_and_leaves_nothing(path: Path, copy: Path) -> None:
    await make_log(path, 20_000, data="x" * 400)

    async with asyncbus.connect(path) as bus:
        copying = asyncio.create_task(bus.backup(copy))
        await draft_of(copying, copy.parent)
    with pytest.raises(StoreFailedError, match="closed before the copy was whole"):
        await copying

    assert list(copy.parent.iterdir()) == []
    assert not Path(f"{path}-wal").exists(), "the log is released"
