"""Shared by all tests: logs of both kinds; nothing may be left behind or block the loop, and in CI chance is seeded."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from blockbuster import BlockBuster
from hypothesis import settings

import asyncbus
from asyncbus import EventBus
from tests.behaviour.stage import Log
from tests.behaviour.ways import MAX_PAYLOAD

# No deadline: other programs use the cores as well, and speed is the benchmarks' question.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if "CI" in os.environ else "local")

pytest_plugins = ["pytester"]  # runs a pytest within a test

_DESCRIPTORS = Path("/proc/self/fd")

# What the tests themselves call is their affair: only calls that come from asyncbus may not block.
_BLOCKBUSTER = BlockBuster(scanned_modules=[asyncbus])
# 50 microseconds, without which the loop's thread would starve the SQLite thread.
_BLOCKBUSTER.functions["time.sleep"].can_block_in("asyncbus/store/gil.py", {"_tick", "give_up"})
# 44 bytes into the page cache, once a commit: a hop to a thread would cost ten times as much.
_BLOCKBUSTER.functions["os.write"].can_block_in("asyncbus/store/watermark.py", "write")
# The same 44 bytes, once for each opening.
_BLOCKBUSTER.functions["io.BufferedReader.read"].can_block_in("asyncbus/store/watermark.py", "read")
_BLOCKBUSTER.functions["os.stat"].can_block_in("asyncbus/store/watermark.py", "read")
# The kernel holds what it knows of an open file in memory: once a batch.
_BLOCKBUSTER.functions["os.stat"].can_block_in("asyncbus/store/watched.py", {"__init__", "is_intact"})
_BLOCKBUSTER.functions["os.stat"].can_block_in("asyncbus/store/appender.py", {"_size"})
# Whoever gives it a connection of `sqlite3` itself wants it so.
_BLOCKBUSTER.functions["sqlite3.Connection.execute"].can_block_in("asyncbus/effects/sqlite.py", "_execute")
for _call in ("execute", "fetchone"):
    _BLOCKBUSTER.functions[f"sqlite3.Cursor.{_call}"].can_block_in("asyncbus/effects/sqlite.py", "_read")
# It asks the kernel, not the disk, once for each connection.
_BLOCKBUSTER.functions["os.getcwd"].can_block_in("asyncbus/store/files.py", "uri")


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    """What does not ask for one kind of store is shown on both."""
    return Log(request.param, tmp_path)


@pytest.fixture
def file_log(tmp_path: Path) -> Log:
    return Log("sqlite", tmp_path)


@pytest.fixture
def memory_log(tmp_path: Path) -> Log:
    return Log("memory", tmp_path)


@pytest_asyncio.fixture
async def bus() -> AsyncIterator[EventBus]:
    """An open one that has stored one event: `untouched` proves that a call it refused has changed nothing."""
    async with EventBus(inbox_capacity=10, max_payload=MAX_PAYLOAD) as bus:
        await bus.publish("before")
        yield bus


@pytest.fixture(autouse=True)
def own_catalog() -> Iterator[None]:
    """Nothing is declared as a test begins, and what it declares is forgotten as it ends."""
    with asyncbus.catalog().isolated(empty=True):
        yield


@pytest.fixture(autouse=True)
def no_thread_or_descriptor_is_left() -> Iterator[None]:
    """Fail a test that leaves threads or open file descriptors behind."""
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(2)  # it may be on its way out
    left = [thread.name for thread in set(threading.enumerate()) - threads]
    assert not left, f"threads are left behind: {left}"
    opened = sorted(_descriptors() - descriptors)
    assert not opened, f"file descriptors are left open: {opened}"


@pytest.fixture(autouse=True)
def no_task_is_left(request: pytest.FixtureRequest, no_thread_or_descriptor_is_left: None) -> None:
    """Fail an async test that leaves tasks behind on its loop."""
    if _is_async(request):
        request.getfixturevalue("_loop_without_tasks")


@pytest_asyncio.fixture
async def _loop_without_tasks() -> AsyncIterator[None]:
    yield
    left = [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]
    # Its threads are the loop's and would go with it, later than the other fixture looks.
    await asyncio.get_running_loop().shutdown_default_executor()
    assert not left, f"tasks are left behind: {left}"


@pytest.fixture(autouse=True)
def no_call_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Raise `BlockingError` where asyncbus calls something on the loop's thread that waits for a disk or a lock."""
    if not _is_async(request):
        yield
        return
    _BLOCKBUSTER.activate()
    try:
        yield
    finally:
        _BLOCKBUSTER.deactivate()


def _is_async(request: pytest.FixtureRequest) -> bool:
    # pytest-asyncio refuses the mark on any other function.
    return request.node.get_closest_marker("asyncio") is not None


def _descriptors() -> set[tuple[int, str]]:
    if not _DESCRIPTORS.is_dir():  # not on Linux
        return set()
    found = set()
    for link in _DESCRIPTORS.iterdir():
        with suppress(FileNotFoundError):  # of the one by which they are listed
            found.add((int(link.name), str(link.readlink())))
    return {(number, target) for number, target in found if number > 2}  # those three are pytest's
