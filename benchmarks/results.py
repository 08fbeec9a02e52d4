"""Results as files: one JSON a question, with the machine it was answered on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.harness import Question, Readings, Size
from benchmarks.machine import Machine
from benchmarks.verdicts import Figure, Verdict, figures, judge

RESULTS = Path(__file__).resolve().parent / "results"


class Result(msgspec.Struct, frozen=True):
    """The answer to one question.

    `trouble` says why the question as a whole has no answer (it was killed at its limit, say).
    """

    question: str
    title: str
    taken: datetime
    size: str
    repeats: int
    seconds: float
    machine: Machine
    figures: dict[str, Figure]
    verdicts: Sequence[Verdict]
    notes: str = ""
    trouble: str | None = None

    @property
    def sound(self) -> bool:
        """Whether everything of ours could be measured, fast or slow."""
        return self.trouble is None and all(
            figure.trouble is None for figure in self.figures.values() if figure.role == "ours"
        )


def answer(
    name: str, question: Question, readings: Readings, *, size: Size, repeats: int, seconds: float, machine: Machine
) -> Result:
    """Judge the readings of a question."""
    units = {
        figure: (unit, contestant.role)
        for contestant in question.contestants
        for figure, unit in contestant.units.items()
    }
    return Result(
        question=name,
        title=question.title,
        taken=datetime.now(UTC).replace(microsecond=0),
        size=size.value,
        repeats=repeats,
        seconds=round(seconds, 1),
        machine=machine,
        figures=figures(units, readings),
        verdicts=[judge(target, readings) for target in question.targets],
        notes=question.notes,
    )


def no_answer(name: str, question: Question, trouble: str, *, size: Size, repeats: int, machine: Machine) -> Result:
    """The result of a question that was stopped as a whole: every target is missed, and the reason is said."""
    names = [figure for contestant in question.contestants for figure in contestant.units]
    readings = Readings(values={figure: [] for figure in names}, troubles=dict.fromkeys(names, trouble))
    result = answer(name, question, readings, size=size, repeats=repeats, seconds=0.0, machine=machine)
    return msgspec.structs.replace(result, trouble=trouble)


def place(name: str, size: Size) -> Path:
    """Where a result is kept; short runs have a folder of their own, which is not under version control."""
    folder = RESULTS if size is Size.FULL else RESULTS / size.value
    return folder / f"{name}.json"


def save(result: Result, path: Path) -> None:
    """Write the result, in a form that shows well in a diff."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def load(path: Path) -> Result:
    """Read a result.

    Raises:
        msgspec.DecodeError: the file is none.
    """
    return msgspec.json.decode(path.read_bytes(), type=Result)
