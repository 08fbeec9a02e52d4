"""The guards of `conftest.py` guard: what they are to catch is done here, in a test run of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

GUILTY = """
import asyncio, os, threading, time
import pytest
import asyncbus

@pytest.mark.asyncio
async def test_leaves_a_task():
    asyncio.get_running_loop().create_task(asyncio.Event().wait())

def test_leaves_a_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()

def test_leaves_a_descriptor():
    os.open(os.devnull, os.O_RDONLY)

@pytest.mark.asyncio
async def test_blocks_the_loop():
    async with asyncbus.connect() as bus:
        bus.subscribe("*", lambda event: time.sleep(0))
        await bus.publish("a")
        await bus.drain()
        assert bus.statistics().subscriptions[0].errors == 0

@pytest.mark.asyncio
async def test_is_innocent(tmp_path):
    async with asyncbus.connect(tmp_path / "events.db") as bus:
        await bus.publish("a")
    await asyncio.to_thread(time.sleep, 0)
    time.sleep(0)
"""


def test_a_test_that_leaves_something_behind_or_blocks_the_loop_fails(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_guilty.py").write_text(GUILTY)

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--rootdir", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
    )

    verdicts = set(re.findall(r"^(PASSED|FAILED|ERROR) test_guilty\.py::test_(\w+)", run.stdout, re.MULTILINE))
    assert {name for verdict, name in verdicts if verdict != "PASSED"} == {
        "leaves_a_task",
        "leaves_a_thread",
        "leaves_a_descriptor",
        "blocks_the_loop",
    }, run.stdout
    assert ("PASSED", "is_innocent") in verdicts
    for reason in ("tasks are left behind", "threads are left behind", "descriptors are left open", "to time.sleep"):
        assert reason in run.stdout
