"""`python -m tests.reliability` runs what it is asked for, or says in a line why it cannot."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.reliability.__main__ import main
from tests.reliability.simulation import tool as simulation
from tests.reliability.tools import NAMES
from tests.reliability.trials import Figures, Violation

_LOAD = "load is kept by `python -m tests.reliability.load --keep` only; name the other tools"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "modle"], f"no tool is called modle; there are: {', '.join(NAMES)}"),
        (["model", "--units", "0"], "--units must be more than 0, not 0"),
        (["model", "--units", "-1"], "--units must be more than 0, not -1"),
        (["model", "--minutes", "0"], "--minutes must be more than 0, not 0.0"),
        (["model", "--minutes", "nan"], "--minutes must be more than 0, not nan"),
        (["model", "--jobs", "0"], "--jobs must be more than 0, not 0"),
        (["--keep"], _LOAD),
        (["model", "load", "--keep"], _LOAD),
        (
            ["model", "--keep", "--seed", "5"],
            "--keep with --seed alone would keep a single trial; give --units as well",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)

    assert refused.value.code == 2
    assert capsys.readouterr().err == said + "\n"


def test_as_many_units_are_run_as_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulation", "--units", "3", "--jobs", "1"]) == 0

    assert "simulation: 3 trials" in capsys.readouterr().err


def test_a_seed_alone_is_one_trial(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulation", "--seed", "5"]) == 0

    told = capsys.readouterr()
    assert "seed 5" in told.out
    assert "simulation: 1 trials" in told.err


def test_a_seed_that_finds_something_is_one_trial_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_a_promise(seed: int, folder: Path) -> Figures:
        raise Violation(f"lost [{seed}]")

    monkeypatch.setattr(simulation, "TOOL", replace(simulation.TOOL, trial=break_a_promise))
    assert main(["simulation", "--seed", "5"]) == 1

    told = capsys.readouterr().err
    assert "simulation: 1 trials" in told
    assert "BROKEN, seed 5: lost [5]" in told
