"""`python -m asyncbus.verify` says in a line each what is wrong with a log, or why it cannot be checked."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.files import make_log, sql


def command(*arguments: object) -> tuple[int, list[str], list[str]]:
    """Its exit status, and the lines of its output and of its errors."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "asyncbus.verify", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
    )
    return run.returncode, run.stdout.splitlines(), run.stderr.splitlines()


@pytest.mark.asyncio
async def test_the_command_says_in_one_line_that_a_log_is_sound(path: Path) -> None:
    await make_log(path)

    assert command(path) == (0, [f"{path}: 5 events, head 5: sound"], [])


@pytest.mark.asyncio
async def test_the_command_has_a_line_for_each_finding(path: Path) -> None:
    await make_log(path)
    sql(path, "DELETE FROM events WHERE sequence = 2")
    sql(path, "UPDATE events SET data = '1' WHERE sequence = 4")

    status, lines, errors = command(path)

    assert (status, errors) == (1, [])
    assert lines == ["event 4: its checksum is wrong", "event 2 is missing, and no removal is recorded"]


def nothing(path: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("not a database, but long enough to be one " * 100)


def foreign(path: Path) -> None:
    sql(path, "CREATE TABLE mine (number)")


@pytest.mark.fault(47)
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (nothing, "does not exist"),
        (Path.mkdir, "is a directory"),
        (Path.touch, "an empty file"),
        (text, "is not a SQLite database"),
        (foreign, "a SQLite database of another program"),
    ],
)
def test_the_command_says_in_one_line_why_a_file_cannot_be_checked(
    path: Path, make: Callable[[Path], None], expected: str
) -> None:
    make(path)

    status, lines, errors = command(path)

    assert (status, lines) == (2, [])
    [line] = errors
    assert expected in line
