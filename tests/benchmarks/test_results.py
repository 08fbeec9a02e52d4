"""What was measured is kept, and shown in words and in tables."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from benchmarks import readme
from benchmarks.harness import Readings, Size, Target
from benchmarks.machine import this_machine
from benchmarks.questions import NAMES
from benchmarks.results import load, no_answer, place, save
from benchmarks.wording import in_lines
from tests.benchmarks.answers import MACHINE, answered, asked, counting


def test_a_result_comes_back_from_its_file_as_it_was_saved(tmp_path: Path) -> None:
    result = answered(
        Readings({"ours": [1.0, 2.0], "limit": [2.0, 4.0]}), Target("half", "ours", "limit", at_least=0.5)
    )
    save(result, tmp_path / "deeper" / "speed.json")
    assert load(tmp_path / "deeper" / "speed.json") == result


def test_short_runs_do_not_take_the_place_of_full_ones() -> None:
    assert place("speed", Size.FULL) != place("speed", Size.QUICK)


def test_a_question_that_was_killed_has_a_result_that_misses_every_target() -> None:
    question = asked(counting("ours"), targets=[Target("any", "ours", at_least=0.1)])
    result = no_answer("speed", question, "killed after 240 s", size=Size.FULL, repeats=5, machine=MACHINE)
    assert (result.verdicts[0].met, result.trouble, result.sound) == (False, "killed after 240 s", False)
    assert "NO ANSWER: killed after 240 s" in "\n".join(in_lines(result))


def test_a_miss_is_said_on_the_terminal_and_in_the_readme() -> None:
    readings = Readings({"ours": [1.0], "limit": [4.0]})
    result = answered(readings, Target("half of the limit", "ours", "limit", at_least=0.5))
    assert any("MISSED" in line and "half of the limit: 0.250" in line for line in in_lines(result))
    text = "\n".join(readme.tables([result]))
    assert "0 of 1 targets met." in text
    assert "| half of the limit | 1.00 events/s (1.00 to 1.00) | 0.250 (0.250 to 0.250) | MISSED |" in text


def test_the_readme_keeps_what_stands_around_the_figures() -> None:
    text = f"# Title\n\n{readme.BEGIN}\nold\n{readme.END}\nthe rest\n"
    result = answered(Readings({"ours": [1.0]}), Target("one", "ours", at_least=1))
    renewed = readme.renewed(text, readme.tables([result]))
    assert renewed.startswith(f"# Title\n\n{readme.BEGIN}\n")
    assert renewed.endswith(f"{readme.END}\nthe rest\n")
    assert "old" not in renewed
    assert "- and twice" in renewed
    assert readme.renewed(renewed, readme.tables([result])) == renewed


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the marks"):
        readme.renewed("# Title", [])


def test_the_documents_show_the_results_that_are_there() -> None:
    results = [load(path) for name in NAMES if (path := place(name, Size.FULL)).exists()]
    for document, lines in readme.documents(results).items():
        text = document.read_text("utf-8")
        assert readme.renewed(text, lines) == text, "run python -m benchmarks --readme"


def test_the_machine_is_described_without_a_host_or_a_path(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    described = msgspec.json.encode(machine).decode()
    assert machine.cores >= 1
    assert machine.packages.keys() >= {"aiosqlite", "anyio", "msgspec"}
    assert str(tmp_path) not in described
    assert socket.gethostname() not in described
