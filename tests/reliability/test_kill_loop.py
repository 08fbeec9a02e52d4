"""A process may be killed at any moment: what it acknowledged and delivered is there, and nothing is there by half."""

from functools import partial

import pytest

from tests.reliability.broken import DroppingStore, HastyStore
from tests.reliability.children import can_trace
from tests.reliability.conftest import Finding, ShortRun
from tests.reliability.kill_loop import TOOL, trial


@pytest.mark.fault(75)
def test_a_hundred_kills_lose_nothing(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    assert report.figures["acknowledged"] > report.figures["kills"]
    assert report.figures["kills at a system call"] > 0 or not can_trace()


@pytest.mark.parametrize(
    ("store", "found"),
    [
        pytest.param(HastyStore, "lost", id="events are acknowledged before they are committed"),
        pytest.param(DroppingStore, "is missing", id="an event that was stored is removed again"),
    ],
)
def test_the_kill_loop_finds_a_broken_promise(store: type, found: str, finding: Finding) -> None:
    assert found in finding(TOOL, partial(trial, store=store))
