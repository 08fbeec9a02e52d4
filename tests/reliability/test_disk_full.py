"""A real full disk, on ext4 and on tmpfs: nothing is lost, nothing is left half made, and it heals by itself."""

from pathlib import Path
from random import Random

import pytest

from tests.reliability.broken import BitterStore, OptimisticStore
from tests.reliability.conftest import Finding, ShortRun
from tests.reliability.disk_full import TOOL, fill_while_publishing
from tests.reliability.trials import Figures


@pytest.mark.fault(37)
@pytest.mark.fault(39)
@pytest.mark.fault(40)
def test_full_disks_lose_nothing_and_heal(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    assert report.figures["refused"] > 0, "every publish was answered, these with StoreFullError"
    assert report.figures["opened when there was space again"] >= 4, "a new and an old log, on ext4 and on tmpfs"
    assert report.figures["stored after a checkpoint failed"] > 0


@pytest.mark.parametrize(
    ("store", "found"),
    [
        pytest.param(OptimisticStore, "was given to", id="events are acknowledged that found no space"),
        pytest.param(BitterStore, "failed before", id="the store does not heal"),
    ],
)
def test_a_store_that_breaks_a_promise_on_a_full_disk_is_found(store: type, found: str, finding: Finding) -> None:
    def trial(seed: int, folder: Path) -> Figures:
        return fill_while_publishing(Random(seed), folder, store)

    assert found in finding(TOOL, trial)
