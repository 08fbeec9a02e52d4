"""Every call that creates, changes or secures a file of the log fails, once or for good, and nothing goes wrong."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from random import Random

from msgspec import Struct

from tests.reliability.failing_calls.judging import Told, found, judge, told
from tests.reliability.failing_calls.phases import PHASES, Phase, Sabotage, look, play, prepare, unharmed
from tests.reliability.failing_calls.stage import Watcher, perform
from tests.reliability.failing_calls.tracing import Call, Counting, Fault, Injecting
from tests.reliability.trials import MEMORY, Figures, Tool, Violation, needs_strace

FAULTS = tuple(Fault(f"error={error}", for_good=for_good) for error in ("EIO", "ENOSPC") for for_good in (False, True))


class Point(Struct, frozen=True):
    """A call that can fail, and where it is made."""

    phase: Phase
    call: Call

    def __str__(self) -> str:
        return f"{self.call}, {self.phase.name}"


@cache
def points() -> list[Point]:
    """All of them; the same in each process, for the program runs the same way each time."""
    return [Point(phase, call) for phase in PHASES for call in _calls(phase)]


def _calls(phase: Phase) -> list[Call]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as temporary:
        folder = Path(temporary).resolve()
        prepare(phase, folder)
        counting = Counting(folder)
        perform(lambda stage: play(stage, phase, folder, killed=False), counting)
        return counting.calls()


def trial(seed: int, folder: Path) -> Figures:
    """One point, one fault. Seeds that follow each other go through all points, then again with another fault.

    After four rounds each fault was there, and they begin again with the other ending: closed, or killed.
    """
    among = points()
    round_, place = divmod(seed, len(among))
    point = among[place]
    random = Random(str(point))
    fault = FAULTS[(random.randrange(len(FAULTS)) + round_) % len(FAULTS)]
    killed = (random.randrange(2) + round_ // len(FAULTS)) % 2 == 1
    return strike(point, fault, folder, killed=killed)


def strike(point: Point, fault: Fault, folder: Path, *, killed: bool = False, sabotage: Sabotage = unharmed) -> Figures:
    """Let one call fail and see whether all holds; `killed`: and the program is killed instead of closing the log.

    Raises:
        Violation: it does not.
    """
    try:
        program = _program(point, fault, folder.resolve(), killed=killed, sabotage=sabotage)
    except Violation as violation:
        raise Violation(f"{point}, with {fault}{', then killed' if killed else ''}: {violation}") from None
    answers = {publish.answer for publish in program.publishes}
    return Figures(
        {
            "faults": 1,
            "not opened": program.refused is not None,
            "not stored": bool(answers & {"StoreFullError", "StoreFailedError"}),
            "unknown": "PublishOutcomeUnknownError" in answers,
        }
    )


def _program(point: Point, fault: Fault, folder: Path, *, killed: bool, sabotage: Sabotage) -> Told:
    """What the program said, which was found to be true."""
    phase = point.phase
    prepare(phase, folder)
    injecting = Injecting(folder, point.call, fault)
    program = told(perform(lambda stage: play(stage, phase, folder, killed=killed, sabotage=sabotage), injecting))
    if not injecting.has_struck:
        raise Violation("the call was not made this time")
    log = found(perform(lambda stage: look(stage, phase, folder), Watcher()))
    judge(phase, point.call, fault, program, log)
    return program


TOOL = Tool(
    name="failing_calls",
    promise="Whichever call fails, each answer is true, and the log is whole when it is opened again",
    unit="faults",
    short=400,
    long=3_200,
    trial=trial,
    obstacle=needs_strace,
    folder=MEMORY,
)
