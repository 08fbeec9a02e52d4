"""Whichever system call fails on a file of the log, each answer is true, and the log is whole afterwards."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import asyncbus
from tests.reliability.conftest import ShortRun
from tests.reliability.failing_calls import stage
from tests.reliability.failing_calls.controls import (
    acknowledge_what_a_full_disk_refused,
    go_on_after_a_failed_fsync,
    rename_a_draft_before_it_is_whole,
    swallow_errors_of_checkpoints,
)
from tests.reliability.failing_calls.phases import Sabotage
from tests.reliability.failing_calls.stage import Stage, Watcher, perform
from tests.reliability.failing_calls.tool import FAULTS, TOOL, Point, points, strike
from tests.reliability.failing_calls.tracing import LOG_NAME, Fault, Injecting, log_in
from tests.reliability.trials import Violation

ONCE = Fault("error=EIO")


@pytest.fixture
def strace() -> None:
    """Skip where strace is missing, but not in CI."""
    obstacle = TOOL.obstacle()
    if obstacle is not None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(obstacle)


@pytest.mark.fault(37)
@pytest.mark.fault(40)
@pytest.mark.fault(41)
@pytest.mark.fault(42)
@pytest.mark.fault(48)
def test_every_call_may_fail_and_nothing_goes_wrong(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    assert TOOL.short >= len(points()), "raise it: not every call has failed"
    assert TOOL.long >= len(points()) * len(FAULTS) * 2, "raise it: not every call has failed in every way"
    assert report.figures["unknown"], "a commit that could not be secured is among them"


def those(phase: str, name: str, file: str) -> list[Point]:
    return [
        point
        for point in points()
        if (point.phase.name, point.call.name, point.call.file) == (phase, name, f"{LOG_NAME}{file}")
    ]


@pytest.mark.usefixtures("strace")
def test_each_phase_creates_changes_and_secures_files() -> None:
    made = {(point.phase.name, point.call.name) for point in points()}

    for phase in ("creating", "opening", "migrating", "recovering", "writing", "checkpointing", "closing"):
        assert made >= {(phase, "pwrite64"), (phase, "fdatasync")}, phase
    for phase in ("creating", "opening", "migrating", "recovering"):
        assert made >= {(phase, "openat"), (phase, "ftruncate")}, phase
    assert made >= {("creating", "rename"), ("creating", "fsync"), ("writing", "write"), ("checkpointing", "ftruncate")}


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(
    ("sabotage", "where", "what"),
    [
        (swallow_errors_of_checkpoints, ("checkpointing", "fdatasync", ""), "nobody was told"),
        (swallow_errors_of_checkpoints, ("checkpointing", "pwrite64", ""), "nobody was told"),
        (rename_a_draft_before_it_is_whole, ("creating", "pwrite64", ".asyncbus-new"), "it raised what it should not"),
        (go_on_after_a_failed_fsync, ("writing", "fdatasync", "-wal"), "it went on after an error"),
        (acknowledge_what_a_full_disk_refused, ("writing", "pwrite64", "-wal"), "was told to be event"),
    ],
)
def test_a_library_that_breaks_a_promise_is_found(
    tmp_path: Path, sabotage: Sabotage, where: tuple[str, str, str], what: str
) -> None:
    point = those(*where)[-1]

    with pytest.raises(Violation, match=what):
        strike(point, ONCE, tmp_path, sabotage=sabotage)


@pytest.mark.usefixtures("strace")
def test_a_program_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(stage: Stage) -> None:
        threading.Event().wait()

    monkeypatch.setattr(stage, "DEADLINE", 0.1)

    with pytest.raises(Violation, match="not ended after"):
        perform(hang, Watcher())


@pytest.mark.usefixtures("strace")
def test_a_program_that_raises_what_it_should_not_is_found() -> None:
    def program(stage: Stage) -> None:
        raise OSError("as the system gave it")

    with pytest.raises(Violation, match="as the system gave it"):
        perform(program, Watcher())


@pytest.mark.fault(4)
@pytest.mark.usefixtures("strace")
def test_a_publish_with_a_timeout_does_not_wait_for_a_stalled_disk_and_nobody_else_does(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    commit = those("writing", "fdatasync", "-wal")[0]
    stall = Injecting(folder, commit.call, Fault("delay_enter=1000000"))

    said = perform(_publishing_with_a_timeout(folder), stall)

    assert stall.has_struck
    [(first, unknown, turns, again, duplicate)] = said
    assert unknown == "two"
    # A loop that waits for the disk takes a few turns: before the stall and after it.
    assert turns > 20
    assert (first, again, duplicate) == (1, 2, True), "it was stored after all, and once"


def _publishing_with_a_timeout(folder: Path) -> Callable[[Stage], None]:
    async def publish(stage: Stage) -> None:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with asyncbus.connect(str(log_in(folder))) as bus:
            first = await bus.publish("a.b", id="one")
            stage.begins()
            ticking = asyncio.create_task(take_turns())
            unknown = None
            try:
                await bus.publish("a.b", id="two", timeout=0.1)
            except asyncbus.PublishOutcomeUnknownError as error:
                unknown = error.id
            ticking.cancel()
            again = await bus.publish("a.b", id="two")
            stage.say(first.sequence, unknown, turns, again.sequence, again.duplicate)

    return lambda stage: asyncio.run(publish(stage))
