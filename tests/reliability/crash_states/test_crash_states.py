"""A power cut takes nothing that was acknowledged; and the tool that says so would see it if one did."""

import asyncio
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.reliability.conftest import ShortRun
from tests.reliability.crash_states.disk import Create, Disk, SyncBegan, Synced, Write
from tests.reliability.crash_states.judge import History, Log
from tests.reliability.crash_states.plan import Operation
from tests.reliability.crash_states.tool import TOOL, Trial, check_model
from tests.reliability.crash_states.trace import Note, Step
from tests.reliability.trials import Violation


@pytest.mark.fault(76)
def test_whatever_a_power_cut_leaves_the_log_opens_and_holds_all_it_must(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    assert report.figures["states at full"]
    assert report.figures["states at normal"]


# ------------------------------------------------------------------------------------------- promises broken on purpose


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a trial works; it needs strace."""
    obstacle = TOOL.obstacle()
    if obstacle is not None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(obstacle)
    with TemporaryDirectory(dir=TOOL.folder) as made:
        yield Path(made)


def found(folder: Path, seed: int, **options: Any) -> str:
    """The violation that a trial finds."""
    with pytest.raises(Violation) as violation:
        asyncio.run(Trial(seed, folder, **options).run())
    return str(violation.value)


@pytest.mark.fault(76)
def test_a_store_that_never_syncs_is_caught(folder: Path) -> None:
    assert "StoreTruncatedError" in found(folder, 1, synchronous="full", fault="never syncs")


@pytest.mark.fault(76)
def test_a_power_cut_at_normal_takes_what_full_must_keep(folder: Path) -> None:
    assert "the log is as it was before" in found(folder, 1, synchronous="normal", promised="full")


@pytest.mark.fault(76)
def test_a_watermark_moved_after_a_checkpoint_that_synced_nothing_is_caught(folder: Path) -> None:
    """As a reader in the middle of a long transaction brings about."""
    assert "StoreTruncatedError" in found(folder, 8, synchronous="normal", fault="watermark ahead")


@pytest.mark.fault(76)
@pytest.mark.parametrize("name", ["log.db", "log.db-wal", "log.db.asyncbus-new", ""], ids=lambda name: name or "folder")
def test_a_drive_that_lies_about_one_kind_of_sync_is_caught(folder: Path, name: str) -> None:
    assert found(folder, 1, synchronous="full", lied_about=name)


def test_a_system_call_that_was_overlooked_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"12345678")
    steps: list[Step] = [Create(1, "log.db"), Write(1, 0, b"1234"), Note({"stored": 1}), Write(1, 4, b"5678")]

    check_model(Disk(), steps, tmp_path)
    with pytest.raises(RuntimeError, match="overlooked"):
        check_model(Disk(), steps[:-1], tmp_path)


# ----------------------------------------------------------------------------------------------- what a log must hold

WAL = partial(SyncBegan, file=1, name="log.db-wal")
OPERATIONS = {number: Operation(number, events=2) for number in (0, 1, 2)} | {3: Operation(3)}


def history(synchronous: Any, *steps: Any) -> History:
    made = History(1, synchronous)
    for step in steps:
        made.apply(step, OPERATIONS)
    return made


def log_after(*numbers: int) -> Log:
    log = Log()
    for number in numbers:
        log = log.after(OPERATIONS[number], seed=1)
    return log


def test_at_full_all_that_was_acknowledged_is_required_and_no_more() -> None:
    known = history("full", Note({"begins": [0, 1]}), Note({"stored": 0, "sequence": 2}))

    assert [known.place(log_after(0)), known.place(log_after(0, 1))] == [1, 2]
    with pytest.raises(Violation, match="as it was before"):
        known.place(log_after())


def test_at_normal_what_was_acknowledged_before_a_sync_began_is_required() -> None:
    known = history(
        "normal",
        Note({"begins": [0, 1]}),
        Note({"stored": 0, "sequence": 2}),
        WAL(call=7),
        Note({"stored": 1, "sequence": 4}),
    )
    assert known.place(log_after()) == 0

    known.apply(Synced(7), OPERATIONS)

    assert known.place(log_after(0)) == 1
    with pytest.raises(Violation, match="as it was before"):
        known.place(log_after())


def test_half_a_batch_and_a_lost_middle_are_no_beginning_of_the_history() -> None:
    known = history("normal", Note({"begins": [0, 1, 2]}))
    whole = log_after(0, 1, 2)

    with pytest.raises(Violation, match="as it never was"):
        known.place(Log(0, 3, whole.events[:3]))
    with pytest.raises(Violation, match="as it never was"):
        known.place(Log(0, 4, whole.events[:2] + whole.events[4:]))


def test_cleared_events_that_are_back_are_noticed() -> None:
    known = history("full", Note({"begins": [0]}), Note({"stored": 0, "sequence": 2}), Note({"begins": [3]}))
    assert [known.place(log_after(0)), known.place(log_after(0, 3))] == [1, 2]

    known.apply(Note({"stored": 3, "sequence": 2}), OPERATIONS)

    with pytest.raises(Violation, match="as it was before"):
        known.place(log_after(0))


def test_what_whoever_opened_the_log_has_found_is_required_at_full() -> None:
    """Subscribers may have seen it, though it was never acknowledged."""
    known = history("full", Note({"begins": [0, 1]}), Note({"opened": 2, "floor": 0}))

    with pytest.raises(Violation, match="as it was before"):
        known.place(log_after())
    with pytest.raises(Violation, match="as it never was"):
        known.place(log_after(0, 1))


def test_a_process_that_opens_a_log_finds_what_was_acknowledged_to_the_one_before() -> None:
    known = history("normal", Note({"begins": [0]}), Note({"stored": 0, "sequence": 2}))

    with pytest.raises(Violation, match="a log was opened"):
        known.apply(Note({"opened": 0, "floor": 0}), OPERATIONS)


def test_an_acknowledgement_with_another_sequence_is_noticed() -> None:
    with pytest.raises(Violation, match="was acknowledged as 3"):
        history("full", Note({"begins": [0]}), Note({"stored": 0, "sequence": 3}))
