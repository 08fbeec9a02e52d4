"""The load tool, short; and the proof that it sees what grows and what is left behind."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from asyncbus import EventBus
from tests.reliability.conftest import ShortRun
from tests.reliability.load import tool
from tests.reliability.load.__main__ import main
from tests.reliability.load.samples import LEAST, Sample, Samples, judge, sample, slope, tells
from tests.reliability.load.tool import TOOL, stretch
from tests.reliability.load.work import Work
from tests.reliability.trials import Violation

LEVEL = Sample(at=0, memory=50_000_000, tasks=10, threads=5, descriptors=20)


def hour(**grown: float) -> list[Sample]:
    """An hour's samples, of which some parts grow by so much from one to the next."""
    return [
        replace(
            LEVEL,
            at=second,
            **{what: getattr(LEVEL, what) + int(more * place) for what, more in grown.items()},
        )
        for place, second in enumerate(range(0, 3600, 2))
    ]


def test_a_bus_under_load_leaves_nothing_behind(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    assert report.figures["published"] > 0
    assert report.figures["read"] > 0


def test_a_level_hour_is_level() -> None:
    judge(hour())

    assert slope(hour()) == 0
    assert slope(hour(memory=1000)) == 1_800_000


@pytest.mark.parametrize("what", ["memory", "tasks", "threads", "descriptors"])
def test_what_grows_is_found(what: str) -> None:
    with pytest.raises(Violation, match=what):
        judge(hour(**{what: 1000 if what == "memory" else 0.002}))


def test_a_run_that_is_too_short_to_tell_says_nothing() -> None:
    assert not tells(hour()[: int(LEAST / 2)])
    assert tells(hour())


@pytest.mark.asyncio
async def test_memory_that_is_kept_is_seen() -> None:
    kept: list[bytes] = []
    samples: list[Sample] = []
    for second in range(12):
        kept.append(b"x" * 1_000_000)
        samples.append(sample(second))

    assert slope(samples) > 3600 * 500_000


def test_samples_are_read_as_they_were_added() -> None:
    seen = hour(memory=1000)
    samples = Samples(len(seen))
    for each in seen:
        samples.add(each)

    assert list(samples) == seen
    assert samples[-1] == seen[-1]
    assert samples[600::7] == seen[600::7]


def test_what_is_found_under_load_is_told_with_what_was_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def lose_one(self: Work, number: int) -> None:
        raise Violation("handled event 7, and the head is 6")

    monkeypatch.setattr(tool, "ROUND", 0.2)
    monkeypatch.setattr(Work, "round", lose_one)

    assert main(["--minutes", "0.001"]) == 1
    told = capsys.readouterr().out
    assert "handled event 7, and the head is 6" in told
    assert "'published': " in told


Undo = Callable[[], object]


def leave_a_task() -> Undo:
    return asyncio.create_task(asyncio.sleep(3600)).cancel


def leave_a_file_open() -> Undo:
    return Path("/dev/null").open().close  # that nobody closes it meanwhile is the point


@pytest.mark.parametrize("leave", [leave_a_task, leave_a_file_open])
@pytest.mark.asyncio
async def test_what_is_left_behind_is_found(
    leave: Callable[[], Undo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "ROUND", 0.2)
    with ExitStack() as left:

        def on_round(bus: EventBus, samples: Samples) -> None:
            left.callback(leave())

        with pytest.raises(Violation, match="left behind"):
            await stretch(1, tmp_path, 1, Counter(), on_round=on_round)
