"""The program whose calls fail: it opens a log, publishes and closes it, and says how each of that went."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import anyio._backends._asyncio  # noqa: F401  # what each fork would import for itself, takes longer than the rest
import filelock  # noqa: F401  # as above
from msgspec import Struct

import asyncbus
from asyncbus.store import checkpoints, migrations, statements
from tests.reliability.failing_calls.stage import Stage, Watcher, perform
from tests.reliability.failing_calls.tracing import log_in

EVENTS_BEFORE = 3

_LATER_MIGRATION = "CREATE TABLE notes (text TEXT);\nALTER TABLE log ADD COLUMN note TEXT;\n"

Sabotage = Callable[[], None]


def unharmed() -> None:
    """The library as it is."""


class Phase(Struct, frozen=True):
    """What a program does while calls are counted.

    Attributes:
        found: what is there before: no log, one that was closed, or one whose writer was killed.
        window: the part of the program in which calls are counted.
        migrates: whether the program's schema is newer than what it finds.
        checkpoints: whether it moves the write-ahead log before each batch.
    """

    name: str
    found: Literal["nothing", "closed", "killed"]
    window: Literal["opening", "publishing", "closing"]
    migrates: bool = False
    checkpoints: bool = False


PHASES = (
    Phase("creating", "nothing", "opening"),
    Phase("opening", "closed", "opening"),
    Phase("migrating", "closed", "opening", migrates=True),
    Phase("recovering", "killed", "opening"),
    Phase("writing", "nothing", "publishing"),
    Phase("checkpointing", "nothing", "publishing", checkpoints=True),
    Phase("closing", "nothing", "closing"),
)


def prepare(phase: Phase, folder: Path) -> None:
    """Leave in the folder what the phase finds there."""
    if phase.found != "nothing":
        perform(lambda stage: asyncio.run(_leave(stage, folder, killed=phase.found == "killed")), Watcher())


async def _leave(stage: Stage, folder: Path, *, killed: bool) -> None:
    async with asyncbus.connect(str(log_in(folder))) as bus:
        for number in range(EVENTS_BEFORE):
            await _publish(stage, bus, f"before-{number}")
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)


def play(stage: Stage, phase: Phase, folder: Path, *, killed: bool, sabotage: Sabotage = unharmed) -> None:
    """Run the program; `killed`: where its closing does not matter it is, instead of closing the log."""
    _set_up(phase)
    sabotage()
    log = logging.getLogger("asyncbus")
    log.addHandler(_Saying(stage))
    log.propagate = False
    asyncio.run(_play(stage, phase, folder, killed=killed))
    stage.say("left", _left(folder))


def _set_up(phase: Phase) -> None:
    statements.BATCH_LIMIT = 4  # type: ignore[misc]  # so that a small batch takes several statements
    if phase.checkpoints:
        checkpoints.CHECKPOINT_PAGES = 1  # type: ignore[misc]  # so that each batch is preceded by a checkpoint
    if phase.migrates:
        known = migrations.migrations()
        migrations.migrations = lambda: [*known, (len(known) + 1, _LATER_MIGRATION)]


async def _play(stage: Stage, phase: Phase, folder: Path, *, killed: bool) -> None:
    bus = asyncbus.connect(str(log_in(folder)))

    @bus.on("*")
    def see(event: asyncbus.Event) -> None:
        stage.say("seen", event.sequence, event.id)

    if phase.window == "opening":
        stage.begins()
    try:
        await bus.__aenter__()
    except Exception as error:  # noqa: BLE001  # which one it is, is the question
        stage.say("refused", type(error).__name__, str(error))
        return
    stage.say("opened")
    await _publish_in_window(stage, phase, bus)
    # The one after: a store that failed refuses it, one that has healed takes it.
    await _publish(stage, bus, "after")
    if killed and phase.window != "closing":
        stage.say("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    if phase.window == "closing":
        stage.begins()
    try:
        await bus.close()
    except Exception as error:  # noqa: BLE001  # as above
        stage.say("closed", type(error).__name__, str(error))
    if phase.window == "closing":
        stage.ends()


async def _publish_in_window(stage: Stage, phase: Phase, bus: asyncbus.EventBus) -> None:
    if phase.window == "opening":
        stage.ends()
    if phase.window == "publishing":
        stage.begins()
    await _publish(stage, bus, "one")
    await _publish(stage, bus, "two", "three", "four")
    await _publish(stage, bus, *(f"large-{number}" for number in range(6)))
    await _publish(stage, bus, "one")
    if phase.window == "publishing":
        stage.ends()


async def _publish(stage: Stage, bus: asyncbus.EventBus, *ids: str) -> None:
    """Publish one event, or several as one, and say what became of it."""
    try:
        if len(ids) == 1:
            receipts = [await bus.publish("a.b", content(ids[0]), id=ids[0])]
        else:
            receipts = await bus.publish_many([asyncbus.NewEvent("a.b", content(id), id=id) for id in ids])
    except Exception as error:  # noqa: BLE001  # which one it is, is the question
        stage.say("failed", ids, type(error).__name__, str(error))
    else:
        stage.say("stored", ids, [receipt.sequence for receipt in receipts])


def content(id: str) -> Any:
    """What the event with that id holds."""
    return {"id": id, "padding": id * 50}


def _left(folder: Path) -> list[str]:
    """Threads that keep the process from ending, and files of the log that are still open."""
    threads = []
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join(2)  # it may be on its way out
        if thread.is_alive():
            threads.append(thread.name)
    files = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            files.append(str(descriptor.readlink()))
    return threads + [file for file in files if file.startswith(str(folder)) and not file.endswith("strace")]


class _Saying(logging.Handler):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def emit(self, record: logging.LogRecord) -> None:
        self._stage.say("logged", record.levelname, record.getMessage())


def look(stage: Stage, phase: Phase, folder: Path) -> None:
    """Open the log again, where nothing fails; say what it holds, and whether it takes one more event."""
    _set_up(phase)
    asyncio.run(_look(stage, log_in(folder)))
    verified = asyncbus.verify(log_in(folder))
    stage.say("verified", verified.sound, str(verified))


async def _look(stage: Stage, path: Path) -> None:
    async with asyncbus.connect(str(path)) as bus:
        events = await bus.query(limit=None)
        stage.say("log", [(event.sequence, event.id, event.data == content(event.id or "")) for event in events])
        await _publish(stage, bus, "afterwards")
