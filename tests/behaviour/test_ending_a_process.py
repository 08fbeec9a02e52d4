"""How a process ends: by a signal that it heeds, by Ctrl-C, or without having closed its bus."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import asyncbus

# A program as it should be: it stops taking work in, waits for its handlers as long as it may, and says how that went.
SERVICE = """
import asyncio, itertools, json, signal, sys, threading
import asyncbus

accepted = []

def work_on_a_thread(bus):
    try:
        while True:
            accepted.append(bus.publish_from_thread("thread"))
    except asyncbus.BusClosedError:
        pass

async def work(bus):
    for number in itertools.count(1):
        accepted.append(await bus.publish("task", ack="accepted"))
        if number == 500:
            print("ready", flush=True)

async def main(path, handler_hangs):
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with asyncbus.connect(path, close_timeout=0.2) as bus:
        thread = threading.Thread(target=work_on_a_thread, args=(bus,))

        @bus.on("task")
        async def handle(event):
            if handler_hangs:
                await asyncio.Event().wait()

        working = asyncio.create_task(work(bus))
        thread.start()
        await stopping.wait()
        working.cancel()
        try:
            await bus.drain(timeout=0.5 if handler_hangs else 20)
            unfinished = {}
        except asyncbus.DrainTimeoutError as error:
            unfinished = error.unfinished
    thread.join()
    told = sorted(receipt.result().sequence for receipt in accepted)
    print(json.dumps({"told": len(told), "last": told[-1], "unfinished": unfinished}))
    return 1 if unfinished else 0

sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2] == "hangs")))
"""

# What the program in docs/explanation/reliability.md leaves to its reader.
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"
IMPORTS = "import asyncio, signal, asyncbus\n"
RUN = "print(asyncio.run(main()))"

# A program that does not think of signals at all.
CARELESS = """
import asyncio, json, sys
import asyncbus

accepted = []

async def main(path):
    async with asyncbus.connect(path) as bus:
        while True:
            accepted.append(await bus.publish("task", ack="accepted"))
            if len(accepted) == 1000:
                print("ready", flush=True)

try:
    asyncio.run(main(sys.argv[1]))
finally:
    told = [receipt.result().sequence for receipt in accepted]
    print(json.dumps({"told": len(told), "last": told[-1]}))
"""


def signalled(script: str, *arguments: str, number: signal.Signals) -> tuple[int, Any]:
    """Send a signal to a program once it works; its exit status and what it said last."""
    # Where the tests run in the background, a shell has Ctrl-C ignored, and that would be inherited.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", heeding + script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, json.loads(said.splitlines()[-1])


def head_of(path: Path) -> int:
    async def head() -> int:
        async with asyncbus.connect(path, read_only=True) as bus:
            return await bus.latest_sequence()

    return asyncio.run(head())


@pytest.mark.fault(73)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_heeds_a_signal_ends_with_everything_answered_and_handled(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "events.db"
    status, said = signalled(SERVICE, str(path), "", number=number)

    assert status == 0
    assert said["unfinished"] == {}
    assert said["told"] == said["last"] == head_of(path), "each accepted event is stored, and nothing else"


@pytest.mark.fault(73)
def test_the_program_that_the_docs_advise_ends_as_they_say(tmp_path: Path) -> None:
    [advised] = re.findall(r"```python\n(async def main.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    path = tmp_path / "events.db"
    program = advised.replace('"events.db"', repr(str(path))).replace(
        "...  # start what publishes and subscribes", 'print("ready", flush=True); pending = bus.publish_nowait("a")'
    )
    assert program.count(str(path)) == program.count("ready") == 1

    status, said = signalled(f"{IMPORTS}{program}\n{RUN}", number=signal.SIGTERM)

    assert (status, said) == (0, 0)
    assert head_of(path) == 1


@pytest.mark.fault(73)
def test_a_handler_that_is_not_done_in_time_is_named_and_the_program_ends(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    status, said = signalled(SERVICE, str(path), "hangs", number=signal.SIGTERM)

    assert status == 1
    [(name, behind)] = said["unfinished"].items()
    assert name.endswith(".handle")
    assert behind >= 1
    assert said["told"] == said["last"] == head_of(path)


@pytest.mark.fault(73)
def test_ctrl_c_in_a_program_without_handlers_of_signals_stores_what_was_accepted(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    status, said = signalled(CARELESS, str(path), number=signal.SIGINT)

    assert status == -signal.SIGINT
    assert said["told"] == said["last"] == head_of(path)


# --------------------------------------------------------------------------------------------- nothing closed, or all

LEAVING = """
import asyncio, sys
import asyncbus

kept = []

async def open_and_leave(path, way):
    bus = asyncbus.connect(path)
    if way == "held by the program":
        kept.append(bus)
    if way == "never opened":
        return
    await bus.__aenter__()
    bus.subscribe("a", print if way == "with a handler" else None)
    await bus.publish("a", 1)
    if way == "closed":
        await bus.close()
    if way == "in a cycle":
        bus.itself = bus
    if way == "by an error":
        raise RuntimeError("on purpose")

async def main(path, way):
    asyncio.get_running_loop().slow_callback_duration = 60  # a machine that is busy is no noise
    await open_and_leave(path, way)

asyncio.run(main(sys.argv[1] or None, sys.argv[2]))
"""


def left(path: str, way: str, *, warnings: str = "error") -> subprocess.CompletedProcess[str]:
    """A program that opens a bus and ends in some way; a hang is a failure."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", warnings, "-c", LEAVING, path, way],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.fault(74)
@pytest.mark.parametrize(
    ("way", "path"),
    [
        ("forgotten", "events.db"),
        ("forgotten", ""),
        ("held by the program", "events.db"),
        ("in a cycle", "events.db"),
        ("with a handler", "events.db"),
        ("by an error", "events.db"),
    ],
)
def test_a_bus_that_nobody_closed_keeps_no_process_from_ending_and_says_what_to_do(
    way: str, path: str, tmp_path: Path
) -> None:
    ended = left(path and str(tmp_path / path), way, warnings="default")

    assert ended.returncode == (1 if way == "by an error" else 0)
    assert "ResourceWarning: <EventBus" in ended.stderr
    assert "async with" in ended.stderr
    if path:
        assert head_of(tmp_path / path) == 1


@pytest.mark.fault(80)
@pytest.mark.parametrize("path", ["events.db", ""], ids=["file", "memory"])
@pytest.mark.parametrize("way", ["closed", "never opened"])
def test_at_the_end_of_the_interpreter_a_bus_that_is_not_open_makes_no_noise(
    path: str, way: str, tmp_path: Path
) -> None:
    ended = left(path and str(tmp_path / path), way)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.fault(80)
@pytest.mark.parametrize("way", ["held by the program", "with a handler"])
def test_at_the_end_of_the_interpreter_an_open_bus_makes_no_noise_unless_it_is_asked_for(
    way: str, tmp_path: Path
) -> None:
    ended = left(str(tmp_path / "events.db"), way, warnings="ignore::ResourceWarning")

    assert ended.returncode == 0
    assert "Exception ignored" not in ended.stderr
    assert "was destroyed but it is pending" not in ended.stderr
