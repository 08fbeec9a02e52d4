"""What a long run has counted is read as it was kept."""

from pathlib import Path

import pytest

from tests.reliability import kept
from tests.reliability.model.tool import TOOL
from tests.reliability.trials import Figures, Found, Report


def test_what_is_kept_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path / "results")
    report = Report(7, 3, 1.5, Figures(steps=20, stored=4), [Found(8, "lost [1]")])

    assert kept.load(TOOL) is None
    kept.keep(TOOL, report)
    result = kept.load(TOOL)

    assert result is not None
    assert (result.tool, result.promise, result.report) == (TOOL.name, TOOL.promise, report)
