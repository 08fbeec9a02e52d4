"""What the tests of `SQLiteStore` do in a process of its own: `python -m tests.store.child TASK ARGUMENT…`.

Each task prints a line of JSON for everything it has done.
"""

import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from anyio import to_thread

from asyncbus import AsyncBusError, SQLiteStore
from asyncbus.store.files import sync_folder
from asyncbus.store.migrations import prepare
from asyncbus.testing import record
from tests.store.files import ALL, opened, read_all, sequences

NOBODY = 65534


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)  # its output is how it is spoken with


async def write(path: str, synchronous: str = "full") -> None:
    """Open a log and append as many events as each line of its input says; close it at the line `[]`."""
    async with opened(Path(path), synchronous=synchronous) as store:
        say("opened")
        while order := json.loads(await to_thread.run_sync(sys.stdin.readline) or "[]"):
            head = await store.latest_sequence()
            batch = [record("a.b", number, id=f"child-{number}") for number in range(head + 1, head + order[0] + 1)]
            await store.append(batch)
            say(batch[-1].sequence)
    say("closed")
    await to_thread.run_sync(sys.stdin.readline)


async def visit(path: Path, *, read_only: bool) -> dict[str, Any]:
    """Open a log, append (unless read-only), read and close; tell how that went."""
    store = SQLiteStore(path, read_only=read_only)
    try:
        await store.open()
    except AsyncBusError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:  # noqa: BLE001  # that it is none of ours is what is told
        return {"error": f"not ours: {error!r}", "message": str(error)}
    try:
        if not read_only:
            await store.append([record("a.b")])
        found, _ = await read_all(store)
        return {"error": None, "sequences": sequences(found)}
    finally:
        await store.close()


async def visit_as_nobody(path: str, how: str) -> None:
    """As a user to whom the modes of files and folders apply, which they do not to root."""
    if os.getuid() == 0:
        # Python may lie where nobody may read: what it imports on the way, it must have imported before.
        with tempfile.TemporaryDirectory() as folder:
            for read_only in (False, True):
                await visit(Path(folder, "log.db"), read_only=read_only)
            await visit(Path(folder), read_only=True)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    say(await visit(Path(path), read_only=how == "read-only"))


async def fill_a_small_disk(path: str, limit: str) -> None:
    """Append until no file may grow any more, look whether reading goes on, then lift the limit and append."""
    async with opened(Path(path)) as store:
        await store.append([record("a.b", "before")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
        errors: list[str] = []
        while len(errors) < 3:
            try:
                await store.append([record("a.b", "x" * 500), record("a.b", "x" * 500)])
            except AsyncBusError as error:
                errors.append(type(error).__name__)
        head = await store.latest_sequence()
        page = await store.read(0, ALL, 100_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        after = record("a.b", "after")
        await store.append([after])
        say({"errors": errors, "head": head, "read": len(page.records), "after": after.sequence})


async def open_on_a_small_disk(path: str, limit: str) -> None:
    """Open a log that is not there yet where no file may grow beyond a limit; then without the limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    small = await visit(Path(path), read_only=False)
    existed = Path(path).exists()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    say({"small": small, "existed": existed, "large": await visit(Path(path), read_only=False)})


async def back_up_again_and_again(path: str, folder: str) -> None:
    """Copy a log into one file after the other; tell the number of each that is whole."""
    async with opened(Path(path), read_only=True) as store:
        for number in count(1):
            await store.backup(Path(folder, f"{number}.db"))
            say(number)


async def back_up_to_a_small_disk(path: str, limit: str) -> None:
    """Copy a log where no file may grow beyond a limit."""
    async with opened(Path(path)) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
        try:
            await store.backup(f"{path}-copy")
        except AsyncBusError as error:
            say(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def wait_idle(path: str, seconds: str) -> None:
    """Follow a log to which nothing happens; tell which part of a core that took."""
    async with opened(Path(path), read_only=True) as store:
        await store.changed()
        began, cpu = time.monotonic(), time.process_time()
        try:
            await asyncio.wait_for(store.changed(), float(seconds))
        except TimeoutError:
            say({"cores": (time.process_time() - cpu) / (time.monotonic() - began)})
        else:
            say({"changed": "though nobody wrote"})


def die_creating(folder: str, step: str) -> None:
    """Create logs, each in a process that kills itself one line of `migrations.py` or `files.py` after the last one.

    Tells for each whether the file was there after the kill, and what the folder holds once the log was opened again.
    """
    outcomes = []
    for line in count(1, int(step)):
        path = Path(folder, str(line), "log.db")
        path.parent.mkdir()
        process = os.fork()
        if process == 0:
            _create_and_die(path, line)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            break
        existed = path.exists()
        left = sorted(entry.name for entry in path.parent.iterdir())
        prepare(path, read_only=existed)  # read-only: what is there needs no more work
        outcomes.append({"line": line, "existed": existed, "left": left})
    say(outcomes)


def _create_and_die(path: Path, line: int) -> None:
    lines = count(1)
    files = {prepare.__code__.co_filename, sync_folder.__code__.co_filename}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and next(lines) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    prepare(path, read_only=False)
    os._exit(0)


TASKS = {
    task.__name__: task
    for task in (
        write,
        visit_as_nobody,
        fill_a_small_disk,
        open_on_a_small_disk,
        back_up_again_and_again,
        back_up_to_a_small_disk,
        wait_idle,
        die_creating,
    )
}

if __name__ == "__main__":
    running = TASKS[sys.argv[1]](*sys.argv[2:])
    if running is not None:
        asyncio.run(running)
