"""What must hold when one call of a program fails: each answer is of the right class, and the log keeps to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from tests.reliability.failing_calls.phases import EVENTS_BEFORE, Phase
from tests.reliability.failing_calls.stage import Line
from tests.reliability.failing_calls.tracing import FOLDER_NAME, LOG_NAME, Call, Fault
from tests.reliability.trials import Violation

_STORED, _FULL, _FAILED, _UNKNOWN = "stored", "StoreFullError", "StoreFailedError", "PublishOutcomeUnknownError"

Row = tuple[int, str]


class Publish(Struct, frozen=True):
    """What became of events that were published together."""

    ids: list[str]
    answer: str
    sequences: list[int]
    message: str = ""


class Told(Struct):
    """What a program said, in order."""

    refused: str | None = None
    publishes: list[Publish] = field(default_factory=list)
    seen: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    close_error: str | None = None
    ended: bool = False
    left: list[str] = field(default_factory=list)


def told(lines: list[Line]) -> Told:
    """Sort what a program said."""
    sorted_ = Told()
    for line in lines:
        match line:
            case ["refused", error, _]:
                sorted_.refused = error
            case ["stored", ids, sequences]:
                sorted_.publishes.append(Publish(ids, _STORED, sequences))
            case ["failed", ids, error, message]:
                sorted_.publishes.append(Publish(ids, error, [], message))
            case ["seen", sequence, id]:
                sorted_.seen.append((sequence, id))
            case ["logged", _, message]:
                sorted_.warnings.append(message)
            case ["closed", error, _]:
                sorted_.close_error = error
            case ["left", left]:
                sorted_.left, sorted_.ended = left, True
            case ["killed"]:
                sorted_.ended = True
    return sorted_


class Found(Struct):
    """What the log was found to hold afterwards."""

    rows: list[tuple[int, str, bool]] = field(default_factory=list)
    afterwards: list[int] | None = None
    damage: str | None = "nobody has looked for it"


def found(lines: list[Line]) -> Found:
    """Sort what was said about the log."""
    sorted_ = Found()
    for line in lines:
        match line:
            case ["log", rows]:
                sorted_.rows = [tuple(row) for row in rows]
            case ["stored", _, sequences]:
                sorted_.afterwards = sequences
            case ["verified", sound, findings]:
                sorted_.damage = None if sound else findings
    return sorted_


def judge(phase: Phase, call: Call, fault: Fault, program: Told, log: Found) -> None:
    """See whether all held.

    Raises:
        Violation: it did not; the message names all that was wrong.
    """
    wrong = [
        *_ending(program),
        *_refusal(call, fault, program),
        *_answers(program),
        *_answers_to(phase, call, fault, program),
        *_intact(log, EVENTS_BEFORE if phase.found != "nothing" else 0),
        *_kept(program, log),
    ]
    if wrong:
        raise Violation(f"{'; '.join(wrong)}. It said: {program}; then: {log}")


def _ending(program: Told) -> Iterator[str]:
    if not program.ended:
        yield "the program died"
    if program.left:
        yield f"threads or files are left behind: {program.left}"
    if program.close_error is not None:
        yield f"closing raised {program.close_error}"


def _refusal(call: Call, fault: Fault, program: Told) -> Iterator[str]:
    match call.name:
        case "pwrite64":
            expected = {_FULL}  # a quota arrives as an error of the write as well
        case "openat":
            expected = {_FULL, _FAILED, "StoreReadOnlyError"}  # where SQLite cannot open for writing, it tries to read
        case _:
            expected = {_FAILED, _FULL} if "ENOSPC" in fault.effect else {_FAILED}
    if program.refused is not None and program.refused not in expected:
        yield f"opening raised {program.refused}, not {' or '.join(sorted(expected))}"


def _answers(program: Told) -> Iterator[str]:
    """Whatever fails, these are the answers there are, in the only order that makes sense."""
    answers = [publish.answer for publish in program.publishes]
    for publish in program.publishes:
        if publish.answer not in {_STORED, _FULL, _FAILED, _UNKNOWN}:
            yield f"publishing {publish.ids} raised {publish.answer}: {publish.message}"
    failed = next((place for place, answer in enumerate(answers) if answer in {_FAILED, _UNKNOWN}), len(answers))
    if set(answers[failed + 1 :]) - {_FAILED}:
        yield "it went on after an error after which nobody knows what the disk holds"


def _answers_to(phase: Phase, call: Call, fault: Fault, program: Told) -> Iterator[str]:
    """This call asks for these answers."""
    answers = [publish.answer for publish in program.publishes]
    if phase.window == "publishing":
        secures = call.name in {"fdatasync", "fsync"}
        if secures and _FULL in answers:
            yield "an error of an fsync was taken for a full disk"
        if secures and not phase.checkpoints and _UNKNOWN not in answers:
            yield "a commit that could not be secured was not of unknown outcome"
        if secures and call.file == LOG_NAME and _FAILED not in answers:
            yield "a checkpoint that could not be secured did not end the publishing"
        if call.name == "pwrite64" and {_FAILED, _UNKNOWN} & set(answers):
            yield "a write that failed did not heal"
        if not fault.for_good and answers.count(_FULL) > 1:
            yield "what failed once, failed more than one publish"
    is_silent = program.refused is None and not program.warnings and set(answers) <= {_STORED}
    if is_silent and not _may_be_silent(call, fault):
        yield "nobody was told"


def _may_be_silent(call: Call, fault: Fault) -> bool:
    """Whether what failed does no harm, or SQLite itself does not look at it."""
    # What cannot be opened for writing SQLite opens for reading, which is enough for whoever reads.
    reads_instead = call.name == "openat" and call.file.endswith(("-wal", "-shm")) and not fault.for_good
    # SQLite's own look at the folder; ours, after a log is made, is an fsync.
    is_sqlites_folder = call.file == FOLDER_NAME and call.name in {"openat", "fdatasync"}
    return call.name == "unlink" or reads_instead or is_sqlites_folder


def _intact(log: Found, before: int) -> Iterator[str]:
    sequences = [sequence for sequence, _, _ in log.rows]
    ids = [id for _, id, _ in log.rows]
    if sequences != list(range(1, len(sequences) + 1)):
        yield f"the sequences are not dense: {sequences}"
    if len(set(ids)) != len(ids):
        yield f"an id was stored twice: {ids}"
    if not all(good for _, _, good in log.rows):
        yield "an event has changed"
    if ids[:before] != [f"before-{number}" for number in range(before)]:
        yield f"what was there before is gone: {ids}"
    if log.afterwards != [len(sequences) + 1]:
        yield f"it did not go on after event {len(sequences)}, but with {log.afterwards}"
    if log.damage is not None:
        yield f"the log is damaged: {log.damage}"


def _kept(program: Told, log: Found) -> Iterator[str]:
    """Whether the log holds what was promised, and nothing that was said not to be stored."""
    stored: dict[str, int] = {id: sequence for sequence, id, _ in log.rows}
    promised: dict[str, Any] = {}
    for publish in program.publishes:
        promised.update(zip(publish.ids, publish.sequences, strict=False))
    for id, sequence in [*promised.items(), *((id, sequence) for sequence, id in program.seen)]:
        if stored.get(id) != sequence:
            yield f"{id} was told to be event {sequence}, and is {stored.get(id)}"
    unknown = {id for publish in program.publishes if publish.answer == _UNKNOWN for id in publish.ids}
    for publish in program.publishes:
        there = [id for id in publish.ids if id in stored]
        if publish.answer in {_FULL, _FAILED} and set(there) - unknown - promised.keys():
            yield f"{there} was said not to be stored, and is there"
        if there not in ([], publish.ids):
            yield f"of {publish.ids} only {there} are there"
