"""What docs/explanation/reliability.md says of the faults is what the tests prove."""

import re
from pathlib import Path

import pytest

import asyncbus
from tests.reliability import page
from tests.reliability.fault_table import Row, marked, rows

BUILT = {*range(1, 81)}
"""Rows of the catalogue that concern what there is so far."""

MARKED = """
import pytest
pytestmark = [pytest.mark.asyncio, pytest.mark.fault(1)]

@pytest.mark.fault(2)
class TestAll:
    @pytest.mark.fault(3)
    async def test_one(self): ...

@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.fault(4)), 2])
def test_two(n): ...

@pytest.mark.fault(5)
def no_test(): ...
"""


def test_every_fault_is_in_the_table_once() -> None:
    numbers = [row.number for row in rows()]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == BUILT


def test_no_fault_that_is_called_met_lacks_a_test() -> None:
    proved = marked()
    assert [row.number for row in rows() if row.unmet is None and row.number not in proved] == []


def test_no_test_bears_the_mark_of_a_fault_that_is_not_in_the_table() -> None:
    assert set(marked()) <= BUILT


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row.number))
def test_the_errors_a_row_names_are_errors_of_asyncbus(row: Row) -> None:
    ours = {name for name in re.findall(r"`(\w+Error)`", row.seen) if name != "CancelledError"}
    assert all(issubclass(getattr(asyncbus, name), asyncbus.AsyncBusError) for name in ours)


def test_the_page_is_up_to_date() -> None:
    """If not: `python -m tests.reliability.page`."""
    text = page.PAGE.read_text("utf-8")
    assert page.written(text) == text


def test_marks_are_found_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(MARKED)
    assert marked(tmp_path) == {
        1: {path: ["test_one", "test_two"]},
        2: {path: ["test_one"]},
        3: {path: ["test_one"]},
        4: {path: ["test_two"]},
    }
