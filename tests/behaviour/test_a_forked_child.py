"""A child forked from a process with an open bus is told so, and does the parent no harm."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `forking.py` tells."""
    path = tmp_path_factory.mktemp("forked") / "events.db"
    command = [sys.executable, "-m", "tests.behaviour.forking", str(path)]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stderr == "", "nothing is said where nothing is wrong"
    return json.loads(run.stdout)


@pytest.mark.fault(77)
def test_whatever_a_child_asks_of_the_bus_says_that_it_was_forked(told: Any) -> None:
    answers = told["child"]["told"]
    for name in ("publish", "publish_nowait", "publish_many", "publish_from_thread", "flush", "clear"):
        assert answers[name] == "ForkedProcessError", name
    for name in ("query", "replay", "subscribe", "the subscription"):
        assert answers[name] == "ForkedProcessError", name
    assert answers["health"] == ["failed", "ForkedProcessError"]


@pytest.mark.fault(77)
def test_of_what_waited_in_the_inbox_the_child_knows_no_outcome(told: Any) -> None:
    assert told["child"]["told"]["the receipt"] == "PublishOutcomeUnknownError"


@pytest.mark.fault(77)
def test_a_child_closes_nothing_and_does_not_hang(told: Any) -> None:
    assert told["child"]["told"]["close"] == "returned None"
    assert [told["child"]["status"], told["store"]["status"]] == [0, 0]


@pytest.mark.fault(77)
def test_a_store_says_it_as_well(told: Any) -> None:
    assert told["store"]["told"] == {"read": "ForkedProcessError"}


@pytest.mark.fault(77)
def test_each_of_several_buses_says_it_also_where_nothing_was_happening(told: Any) -> None:
    assert told["idle"]["told"] == {
        "publish": ["ForkedProcessError"] * 3,
        "query": ["ForkedProcessError"] * 3,
        "next": ["ForkedProcessError"] * 3,
        "health": ["failed"] * 3,
    }
    assert told["idle"]["seen"] == [1, 1, 1], "and the parents go on"


@pytest.mark.fault(77)
def test_the_parent_goes_on_as_if_nothing_had_happened(told: Any) -> None:
    assert told["parent"] == {"locked": "locked", "seen": ["before", "pending", "after"]}
