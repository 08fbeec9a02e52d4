"""Second processes of the tests: each runs a task of `tests.store.child` and tells in JSON what it has done."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from anyio import to_thread

REPOSITORY = Path(__file__).parents[2]


class Child:
    """A running process; made by `child`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    async def says(self) -> Any:
        """The next line it prints; None: it has ended."""
        assert self._process.stdout is not None
        line = await to_thread.run_sync(self._process.stdout.readline)
        return json.loads(line) if line else None

    async def does(self, *order: Any) -> Any:
        """Give it an order, and wait for what it says when it has carried it out."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return await self.says()

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        await to_thread.run_sync(self._process.wait)


@contextmanager
def child(task: str, *arguments: Any) -> Iterator[Child]:
    """Start a process; it is killed at the end, if it is still there."""
    command = [sys.executable, "-m", "tests.store.child", task, *map(str, arguments)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


async def written_and_killed(path: Path, events: int) -> None:
    """Have a process store so many events and kill it, so that they are still in the write-ahead log."""
    with child("write", path) as writer:
        assert await writer.says() == "opened"
        await writer.does(events)
        await writer.kill()


def run(task: str, *arguments: Any) -> Any:
    """Run a process to its end; what its last line said."""
    command = [sys.executable, "-m", "tests.store.child", task, *map(str, arguments)]
    finished = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


Told = tuple[int, list[str], list[str]]


def verify_command(*arguments: object, output: int | IO[Any] = subprocess.PIPE, **environment: str) -> Told:
    """Its exit status, and the lines of its output and of its errors."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "asyncbus.cli", "verify", *map(str, arguments)],
        check=False,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        env={**os.environ, **environment},
    )
    errors = [line.removeprefix("asyncbus: ") for line in run.stderr.splitlines()]
    return run.returncode, (run.stdout or "").splitlines(), errors
