"""The mutants can still be made, and a change that breaks nothing is not taken for one that was caught."""

import re
from pathlib import Path

import msgspec
import pytest

from tests.reliability.fault_table import TESTS
from tests.reliability.mutants import Mutant, StaleMutantError, check, main, mutants, verdict

HARMLESS = Mutant(
    name="change nothing",
    promise="none",
    file="clock.py",
    old="time.monotonic()",
    new="time.monotonic()",
    tests=("test_clock.py::test_the_monotonic_clock_is_in_seconds",),
)


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_the_place_of_each_mutant_and_its_tests_are_there(mutant: Mutant) -> None:
    check(mutant)
    assert mutant.old != mutant.new
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}", Path(TESTS, path).read_text("utf-8"), re.MULTILINE)


def test_there_are_enough_of_them_and_no_two_are_the_same() -> None:
    made = mutants()
    assert len(made) >= 20
    assert len({mutant.name for mutant in made}) == len({(mutant.file, mutant.old, mutant.new) for mutant in made})
    assert len({mutant.name for mutant in made}) == len(made)


def test_a_mutant_whose_place_has_gone_is_an_error() -> None:
    with pytest.raises(StaleMutantError, match="0 times"):
        check(msgspec.structs.replace(HARMLESS, old="what nobody has written"))


def test_a_mutant_that_nobody_has_written_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no checksum at all", mutants()[0].name]) == 2
    assert capsys.readouterr().err == "no mutant is called no checksum at all; mutants.toml has them\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "SURVIVED"),
        ({"new": "time.monotonic() * 1000"}, "killed"),
        ({"tests": ("test_clock.py::test_that_is_not_there",)}, "its tests cannot be run"),
    ],
    ids=["harmless", "harmful", "no such test"],
)
def test_only_a_test_that_fails_kills(change: dict[str, str | tuple[str, ...]], expected: str) -> None:
    assert verdict(msgspec.structs.replace(HARMLESS, **change)) == expected
