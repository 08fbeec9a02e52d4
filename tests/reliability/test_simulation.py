"""Seeded scenes, any interleaving, a cancellation at every await: nobody is told anything but the truth."""

import pytest

from tests.reliability.conftest import ShortRun
from tests.reliability.simulation import TOOL


@pytest.mark.fault(2)
@pytest.mark.fault(3)
@pytest.mark.fault(7)
@pytest.mark.fault(10)
@pytest.mark.fault(27)
@pytest.mark.fault(34)
@pytest.mark.fault(69)
@pytest.mark.fault(70)
@pytest.mark.fault(72)
def test_no_seed_breaks_a_promise(short_run: ShortRun) -> None:
    report = short_run(TOOL)
    assert report.violations == []
