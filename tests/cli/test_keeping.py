"""verify says in a line each what is wrong with a log, or why it cannot be checked; backup copies it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import application, done, refused
from tests.store.files import make_log, sql
from tests.store.processes import verify_command


@pytest.mark.asyncio
async def test_the_command_says_in_one_line_that_a_log_is_sound(path: Path) -> None:
    await make_log(path)

    assert verify_command(path) == (0, [f"{path}: 5 events, head 5: sound"], [])


@pytest.mark.asyncio
async def test_the_command_has_a_line_for_each_finding(path: Path) -> None:
    await make_log(path)
    sql(path, "DELETE FROM events WHERE sequence = 2")
    sql(path, "UPDATE events SET data = '1' WHERE sequence = 4")

    status, lines, errors = verify_command(path)

    assert (status, errors) == (1, [])
    assert lines == ["event 4: its checksum is wrong", "event 2 is missing, and no removal is recorded"]
    status, [first, second], errors = verify_command(path, "--format", "ndjson")
    assert (status, errors) == (1, [])
    assert json.loads(first) == {"sequence": 4, "message": lines[0]}
    assert json.loads(second) == {"sequence": 2, "message": lines[1]}


def nothing(path: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("not a database, but long enough to be one " * 100)


def foreign(path: Path) -> None:
    sql(path, "CREATE TABLE mine (number)")


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.fault(47)
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (nothing, "does not exist"),
        (Path.mkdir, "is a directory"),
        (Path.touch, "an empty file"),
        (text, "is not a SQLite database"),
        (foreign, "a SQLite database of another program"),
        pytest.param(
            pipe,
            "is no regular file",
            marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes"),
        ),
    ],
)
def test_the_command_says_in_one_line_why_a_file_cannot_be_checked(
    path: Path, make: Callable[[Path], None], expected: str
) -> None:
    make(path)

    status, lines, errors = verify_command(path)

    assert (status, lines) == (3, [])
    [line] = errors
    assert expected in line
    assert "read_only" not in line, "who calls it has passed no such thing"


@pytest.mark.asyncio
async def test_the_command_shows_what_the_terminal_cannot_show_escaped(path: Path) -> None:
    umlauts = path.with_name("gööd.db")
    await make_log(umlauts)

    status, [line], errors = verify_command(umlauts, PYTHONIOENCODING="ascii")
    assert (status, errors) == (0, [])
    assert line.endswith("g\\xf6\\xf6d.db: 5 events, head 5: sound")

    status, _, [error] = verify_command(path.with_name("bäd\n.db"), PYTHONIOENCODING="ascii")
    assert status == 3
    assert error.endswith("b\\xe4d .db does not exist")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.asyncio
async def test_the_command_says_in_one_line_that_it_cannot_write_what_it_found(path: Path) -> None:
    await make_log(path)

    with Path("/dev/full").open("w") as full:
        status, _, [error] = verify_command(path, output=full)

    assert status == 3
    assert error.startswith("what was found cannot be written: ")


@pytest.mark.asyncio
async def test_a_copy_is_made_while_an_application_writes(path: Path) -> None:
    copy = path.with_name("copy.db")
    with application(path) as writer:
        writer.does('[["a", 1], ["a", 2]]')
        assert done("backup", path, copy) == ""
        writer.does('[["a", 3]]')
        assert done("verify", path) == f"{path}: 3 events, head 3: sound\n"
        assert done("verify", copy) == f"{copy}: 2 events, head 2: sound\n"
    assert "does not exist yet" in refused(2, "backup", path, copy)
    assert "does not exist" in refused(3, "backup", path.with_name("nothing.db"), path.with_name("other.db"))
