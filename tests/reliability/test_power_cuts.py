"""The power may be cut at any moment: at FULL nothing acknowledged is lost, at NORMAL only the last events are."""

from functools import partial

import pytest
from msgspec import structs

from tests.reliability.broken import CarelessStore
from tests.reliability.conftest import Finding, ShortRun
from tests.reliability.power_cuts import TOOL, trial


@pytest.mark.fault(76)
def test_power_cuts_lose_nothing_at_full(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    assert report.figures["acknowledged"] > 0


def test_power_cuts_lose_the_last_events_at_normal_and_only_those(short_run: ShortRun) -> None:
    at_normal = structs.replace(TOOL, trial=partial(trial, modes=("normal",)), unit="cuts at NORMAL", short=6)

    report = short_run(at_normal)

    assert report.violations == []
    assert report.figures["lost at NORMAL"] > 0, "else nothing was cut"


def test_power_cuts_find_a_store_that_does_not_sync(finding: Finding) -> None:
    assert "lost" in finding(TOOL, partial(trial, store=CarelessStore))
