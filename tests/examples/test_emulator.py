import asyncio
import io
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pytest
from rich.console import Console
from unicorn import UC_HOOK_CODE
from unicorn.unicorn_py3 import UcError
from unicorn.x86_const import UC_X86_REG_RDI

import asyncbus
from examples.emulator.__main__ import main, parse, play
from examples.emulator.display import Check, Frame, LiveDisplay, PlainDisplay, SubscriberLine, Table
from examples.emulator.events import VmEvent
from examples.emulator.events.execution import BlockExecuted, ContextFailed, ExecutionEvent
from examples.emulator.events.optimization import HotspotsDetected
from examples.emulator.events.page_table import AccessViolation, PageFault
from examples.emulator.events.tlb import EntryInserted, FlushAll
from examples.emulator.events.translation import BlockTranslated
from examples.emulator.events.vm_lifecycle import LifecycleEvent, Stopped
from examples.emulator.kill import kill_while_publishing, look_after
from examples.emulator.machine import HOT_THRESHOLDS, Machine, type_of
from examples.emulator.memory import CODE, HEAP, PAGE_SIZE, STACK_TOP, page_of
from examples.emulator.profile import compare, last_line, profile_through_a_kill, profiler
from examples.emulator.profiler import LIMIT
from examples.emulator.report import count_primes, emulator_checks, kill_checks, profile_checks
from examples.emulator.run import Outcome, run

REPOSITORY = Path(__file__).parents[2]

Told = list[VmEvent]
E = TypeVar("E", bound=VmEvent)


def run_machine(limit: int = 1000, **options: Any) -> tuple[Machine, Told, int]:
    told: Told = []
    machine = Machine(told.append, limit=limit, **options)
    return machine, told, machine.run()


def of(told: Told, cls: type[E]) -> list[E]:
    return [event for event in told if isinstance(event, cls)]


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "primes"), [(100, 25), (1000, 168), (10_000, 1229)])
def test_the_guest_counts_the_primes(limit: int, primes: int) -> None:
    assert run_machine(limit)[2] == primes == count_primes(limit)


def test_every_block_executed_is_told_once_however_the_run_is_sliced() -> None:
    machine, told, _ = run_machine(slice_blocks=10**9)
    blocks = of(told, BlockExecuted)

    _, sliced, _ = run_machine(slice_blocks=97)

    assert of(sliced, BlockExecuted) == blocks
    assert len(blocks) == machine.blocks == machine.published()["execution.block_executed"] == 4594
    assert Counter(block.pc for block in blocks) == machine.executions


def test_instructions_are_counted_as_a_hook_on_each_of_them_counts() -> None:
    counted = Counter[str]()
    machine = Machine(lambda _event: None, limit=500)
    machine._engine.hook_add(UC_HOOK_CODE, lambda *_: counted.update(["instruction"]))

    machine.run()

    assert machine.instructions == counted.total()


def test_each_page_faults_once_when_it_is_first_touched() -> None:
    _, told, _ = run_machine(10_000, slice_blocks=500)
    faults = of(told, PageFault)

    heap = [HEAP, HEAP + PAGE_SIZE, HEAP + 2 * PAGE_SIZE]
    assert [page_of(fault.va) for fault in faults] == [CODE, STACK_TOP - PAGE_SIZE, *heap]
    assert [fault.access_type for fault in faults] == ["execute"] + ["write"] * 4


def test_a_flush_of_the_tlb_makes_the_guest_miss_again() -> None:
    _, told, _ = run_machine(1000, slice_blocks=1000)

    code_entries = [
        flushed
        for flushed, run in groupby(told, key=lambda event: isinstance(event, FlushAll))
        if flushed or any(isinstance(event, EntryInserted) and event.va == CODE for event in run)
    ]
    assert code_entries == [False, True] * 4 + [False]


def test_each_block_but_the_first_is_told_of_when_it_is_translated() -> None:
    machine, told, _ = run_machine(2000)

    translated = of(told, BlockTranslated)

    assert {block.pc for block in translated} == set(machine.executions) - {CODE}
    executed = {block.pc: block.size for block in of(told, BlockExecuted)}
    assert all(executed[block.pc] == block.size and 0 < block.instructions <= block.size for block in translated)


def test_a_block_is_called_hot_at_each_doubling() -> None:
    machine, told, _ = run_machine(3000)
    expected = Counter(
        threshold for times in machine.executions.values() for threshold in HOT_THRESHOLDS if threshold <= times
    )

    spots = of(told, HotspotsDetected)

    assert Counter(spot.threshold for spot in spots) == expected
    for threshold, count in expected.items():
        assert [spot.count for spot in spots if spot.threshold == threshold] == list(range(1, count + 1))


def test_the_machine_tells_of_its_life_in_order() -> None:
    machine, told, _ = run_machine(200, slice_blocks=10**9)

    life = [
        type_of(type(event))
        for event in told
        if isinstance(event, LifecycleEvent | ExecutionEvent) and not isinstance(event, BlockExecuted)
    ]

    assert life == [
        "vm_lifecycle.created",
        "vm_lifecycle.state_transition",
        "vm_lifecycle.started",
        "execution.context_created",
        "execution.context_started",
        "execution.context_completed",
        "vm_lifecycle.stopped",
        "vm_lifecycle.state_transition",
        "vm_lifecycle.destroyed",
    ]
    assert Counter(type_of(type(event)) for event in told) == machine.published()


def test_a_guest_that_strays_is_stopped_and_told_of() -> None:
    told: Told = []
    machine = Machine(told.append, limit=200)
    machine._engine.reg_write(UC_X86_REG_RDI, 0x5000_0000)

    with pytest.raises(UcError):
        machine.run()

    assert of(told, AccessViolation) == [AccessViolation(0x5000_0000, "write")]
    assert len(of(told, ContextFailed)) == 1
    assert of(told, Stopped)[0].reason == "failed"


def test_an_error_of_publish_stops_the_guest_and_comes_out() -> None:
    told: Told = []

    def publish(event: VmEvent) -> None:
        told.append(event)
        if len(told) == 100:
            raise asyncbus.BusClosedError

    with pytest.raises(asyncbus.BusClosedError):
        Machine(publish, limit=1000).run()

    assert len(told) == 100


# --- the emulator on the bus -----------------------------------------------------------------------------------------


async def small_run() -> Outcome:
    async with asyncbus.connect() as bus:
        return await run(bus, PlainDisplay(io.StringIO()), limit=2000)


def failed(checks: list[Check]) -> int:
    return sum(not check.holds for check in checks)


@pytest.mark.asyncio
async def test_every_promise_of_the_demo_holds() -> None:
    outcome = await small_run()

    assert failed(emulator_checks(outcome)) == 0
    assert outcome.at_halt["slowpoke"].phase == "catching_up"
    assert outcome.team.latecomer.executions == outcome.machine.executions


@pytest.mark.asyncio
async def test_a_lost_a_repeated_and_a_swapped_event_would_be_found() -> None:
    outcome = await small_run()
    optimizer, pager, latecomer, _ = outcome.team

    optimizer.delivered["optimization.hotspots_detected"] -= 1
    assert failed(emulator_checks(outcome)) == 1

    pager.sequences.append(pager.sequences[-1])
    assert pager.in_order()
    assert failed(emulator_checks(outcome)) == 2

    latecomer.sequences[7], latecomer.sequences[8] = latecomer.sequences[8], latecomer.sequences[7]
    assert latecomer.none_twice()
    assert failed(emulator_checks(outcome)) == 3


def test_what_was_acknowledged_to_a_killed_process_is_there(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"

    killed, acknowledged = kill_while_publishing(path, after=300)
    aftermath = asyncio.run(look_after(path, killed=killed, acknowledged=acknowledged))

    assert len(acknowledged) >= 300
    assert aftermath.lost == []
    assert failed(kill_checks(aftermath)) == 0


def test_an_acknowledged_event_that_is_not_there_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    killed, acknowledged = kill_while_publishing(path, after=50)
    acknowledged[1] = "another id"
    acknowledged[10**6] = "not there"

    aftermath = asyncio.run(look_after(path, killed=killed, acknowledged=acknowledged))

    assert aftermath.lost == [1, 10**6]
    assert failed(kill_checks(aftermath)) == 1


# --- the profiler ----------------------------------------------------------------------------------------------------


@pytest.mark.fault(62)
def test_a_profiler_that_is_killed_while_it_counts_has_counted_each_block_once(tmp_path: Path) -> None:
    log, database = tmp_path / "log.db", tmp_path / "profile.db"
    for count in (1, 150):
        with profiler(log, database) as process:
            assert last_line(process, until=count) == f"counting {count}"
            process.kill()

    killed, said = profile_through_a_kill(log, database, after=300)
    profiled = asyncio.run(compare(log, database, killed=killed, said=said))

    assert profiled.profile == profiled.log == run_machine(LIMIT)[0].executions
    assert failed(profile_checks(profiled)) == 0


def test_a_block_that_was_counted_twice_would_be_found(tmp_path: Path) -> None:
    log, database = tmp_path / "log.db", tmp_path / "profile.db"
    killed, said = profile_through_a_kill(log, database, after=100)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE blocks SET executions = executions + 1 WHERE pc = (SELECT min(pc) FROM blocks)")

    profiled = asyncio.run(compare(log, database, killed=killed, said=said))

    assert failed(profile_checks(profiled)) == 1


@pytest.mark.fault(73)
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_profiler_that_is_told_to_end_finishes_what_it_is_at_and_goes_on_the_next_time(
    told: signal.Signals, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log, database = tmp_path / "log.db", tmp_path / "profile.db"

    with profiler(log, database) as process:
        last_line(process, until=100)
        process.send_signal(told)
        said, _, behind = last_line(process).rpartition(" ")

    assert (process.returncode, said) == (0, "drained, nothing was in flight; behind by")
    assert capfd.readouterr().err == ""
    assert int(behind) > 0
    with profiler(log, database) as process:
        said = last_line(process)
    profiled = asyncio.run(compare(log, database, killed=True, said=said))
    assert failed(profile_checks(profiled)) == 0


def test_a_profiler_whose_reader_goes_away_ends_quietly_and_counts_each_block_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log, database = tmp_path / "log.db", tmp_path / "profile.db"

    with profiler(log, database) as process:
        assert last_line(process, until=1) == "counting 1"
        assert process.stdout is not None
        process.stdout.close()

    assert (process.returncode, capfd.readouterr().err) == (0, "")
    with profiler(log, database) as process:
        said = last_line(process)
    profiled = asyncio.run(compare(log, database, killed=True, said=said))
    assert failed(profile_checks(profiled)) == 0


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_plain_lines_without_a_terminal_and_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    arguments = ["--limit", "1000", "--kill-after", "100", "--path", str(path)]

    done = subprocess.run(
        [sys.executable, "-m", "examples.emulator", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "ok      168 primes up to 1,000" in done.stdout
    assert "\x1b" not in done.stdout
    assert path.exists()


def test_the_command_refuses_a_file_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.db"
    path.touch()

    with pytest.raises(SystemExit) as exited:
        main(["--path", str(path)])

    assert exited.value.code == 2
    assert "exists" in capsys.readouterr().err


def test_the_exit_status_is_1_when_something_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("examples.emulator.report.count_primes", lambda limit: 0)

    assert main(["--limit", "200", "--kill-after", "10", "--path", str(tmp_path / "log.db")]) == 1

    assert "FAILED  46 primes up to 200" in capsys.readouterr().out


# --- the display -----------------------------------------------------------------------------------------------------


def test_a_terminal_shows_bars_phases_and_the_checks(tmp_path: Path) -> None:
    screen = io.StringIO()
    display = LiveDisplay(Console(file=screen, force_terminal=True, width=100))

    status = play(parse(["--limit", "1000", "--kill-after", "50"]), tmp_path / "log.db", display)

    assert status == 0
    for word in ("emulator", "━", "latecomer", "optimization.*", "catching_up", "✔", "168 primes"):
        assert word in screen.getvalue()


def test_plain_lines_come_once_a_second() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream)

    for tenth in range(25):
        slowpoke = SubscriberLine("slowpoke", "*", "catching_up", 1234, 10 * tenth)
        display.show(Frame(tenth / 10, 10 * tenth, 240, 1000 * tenth, 0, [slowpoke]))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[1] == "  1.0 s   42%  10,000 events/s stored, 100 delivered; slowpoke catching_up (1,234 behind)"


def test_a_plain_table_is_aligned() -> None:
    stream = io.StringIO()

    PlainDisplay(stream).table(Table("events", ("type", "count"), [("a.b", "1,234"), ("a.bc", "5")]))

    assert stream.getvalue() == "\nevents\n  type  count\n  a.b   1,234\n  a.bc      5\n"
