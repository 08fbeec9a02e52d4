"""Runs `asyncbus` as a user does: in a process of its own, with pipes or in a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyte

COMMAND = [sys.executable, "-W", "error", "-m", "asyncbus.cli"]
HANG = 60


def environment(**changes: str) -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in {"ASYNCBUS_STORE", "NO_COLOR", "COLUMNS", "LINES"}
    }
    return own | {"PYTHONUNBUFFERED": "1"} | changes


def asyncbus(*arguments: object, stdin: str = "", **changes: str) -> tuple[int, str, str]:
    """Its exit status, stdout and stderr."""
    run = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=HANG,
        env=environment(**changes),
    )
    return run.returncode, run.stdout, run.stderr


# Many command lines in one process, for what each of them costs is mostly its beginning.
EACH = """
import contextlib, io, json, sys
from asyncbus.cli import main

for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        status = main(json.loads(line))
    print(json.dumps([status, out.getvalue(), errors.getvalue()]))
"""


def each(commands: Iterable[Sequence[object]]) -> list[tuple[int, str, str]]:
    """As `asyncbus`, for one command after the other."""
    lines = [json.dumps([str(argument) for argument in command]) for command in commands]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", EACH],
        check=True,
        stdout=subprocess.PIPE,
        input="\n".join(lines),
        text=True,
        timeout=HANG,
        env=environment(),
    )
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(told) == len(lines)
    return [(status, out, errors) for status, out, errors in told]


def done(*arguments: object, stdin: str = "", **changes: str) -> str:
    """What it prints, where all is well: nothing on stderr."""
    status, out, errors = asyncbus(*arguments, stdin=stdin, **changes)
    assert (status, errors) == (0, ""), errors
    return out


def refused(status: int, *arguments: object, stdin: str = "", **changes: str) -> str:
    """The one line it says, where it does not do what it was asked for."""
    ended, out, errors = asyncbus(*arguments, stdin=stdin, **changes)
    assert (ended, out) == (status, "")
    [line] = errors.splitlines()
    return line.removeprefix("asyncbus: ")


def heed_ctrl_c() -> None:
    """In the child: where tests run in the background, a shell has Ctrl-C ignored, and that would be inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def running(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A command at work, with pipes; it is killed at the end, if it is still there."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment(),
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509  # no threads here
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A command in a terminal; made by `terminal`."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: int, columns: int, lines: int) -> None:
        self._process = process
        self._control = control
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    @property
    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def colours(self) -> set[str]:
        return {cell.fg for row in self._screen.buffer.values() for cell in row.values()}

    def until(self, seen: Callable[[list[str]], Any]) -> None:
        """Wait until the screen is so."""
        end = time.monotonic() + HANG
        while not seen(self.lines):
            assert time.monotonic() < end, self.lines
            self._read(1)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._control], [], [], seconds)[0]:
            return True
        try:
            found = os.read(self._control, 65_536)
        except OSError:  # Linux: nobody is at the other end any more
            return False
        self.raw += found
        self._stream.feed(found)
        return bool(found)

    def press(self, keys: str) -> None:
        os.write(self._control, keys.encode())

    def ended(self) -> int:
        """Wait for its end; its exit status."""
        while self._read(HANG):
            pass
        return self._process.wait(HANG)


@contextmanager
def terminal(*arguments: object, columns: int = 120, lines: int = 40, **changes: str) -> Iterator[Terminal]:
    """Run a command in a terminal of its own; it is killed at the end, if it is still there."""
    control, side = pty.openpty()
    termios.tcsetwinsize(side, (lines, columns))

    def own() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))  # it becomes the one that Ctrl-C comes from
        heed_ctrl_c()

    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment(TERM="xterm-256color", **changes),
        preexec_fn=own,  # noqa: PLW1509  # no threads here
    )
    os.close(side)
    try:
        yield Terminal(process, control, columns, lines)
    finally:
        process.kill()
        process.wait()
        os.close(control)


# What an application does that holds a log while somebody looks into it: it publishes what it is told to.
APPLICATION = """
import asyncio, json, sys
import asyncbus

async def main(path):
    async with asyncbus.connect(path) as bus:
        print("open", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            if order == "clear":
                await bus.clear()
            else:
                await bus.publish_many([(type, data) for type, data in order])
            print(await bus.latest_sequence(), flush=True)

asyncio.run(main(sys.argv[1]))
"""


class Application:
    """A process that holds a log; made by `application`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def does(self, order: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def application(path: Path) -> Iterator[Application]:
    command = [sys.executable, "-c", APPLICATION, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield Application(process)
        finally:
            process.kill()
