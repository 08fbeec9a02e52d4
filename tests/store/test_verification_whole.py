"""What only shows in a log as a whole: heads, holes, the schema, the header, the end."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from asyncbus import StoreCorruptError
from asyncbus.testing import record
from tests.store.files import contents, exchange, make_log, only, opened, refused, sql, told, verified, write_schema
from tests.store.processes import verify_command, written_and_killed


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "what_it_is"),
    [
        ("trigger", "AFTER INSERT ON events BEGIN DELETE FROM events; END"),
        ("index", "ON events (time)"),
        ("view", "AS SELECT * FROM events"),
        ("table", "(number)"),
    ],
)
async def test_what_somebody_else_has_put_into_the_schema_is_found(path: Path, kind: str, what_it_is: str) -> None:
    await make_log(path)
    sql(path, f"CREATE {kind} mine {what_it_is}")

    assert only(await verified(path)) == (f"the {kind} mine was not made by asyncbus", None)


@pytest.mark.asyncio
async def test_what_sqlite_gathers_for_its_planner_is_no_finding(path: Path) -> None:
    await make_log(path)
    sql(path, "ANALYZE")

    assert (await verified(path)).sound


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [0, -3])
async def test_a_schema_version_that_no_log_has_is_found_and_nobody_migrates_it(path: Path, version: int) -> None:
    await make_log(path)
    sql(path, f"PRAGMA user_version = {version}")
    before = contents(path.parent)

    message, _ = only(await verified(path))
    await refused(path, StoreCorruptError)

    assert f"has schema version {version}, which no log has" in message
    assert contents(path.parent)["log.db"] == before["log.db"]


@pytest.mark.asyncio
@pytest.mark.parametrize("versions", [(0, 2), (1, 2), (3, 2), (2, 0), (2, 1)])
async def test_a_header_that_tells_of_no_write_ahead_log_is_found(path: Path, versions: tuple[int, int]) -> None:
    await make_log(path)
    file = bytearray(path.read_bytes())
    file[18:20] = versions
    path.write_bytes(file)
    line = f"its header has the write version {versions[0]} and the read version {versions[1]}; both must be 2"

    assert only(await verified(path)) == (line, None)
    # What was left beside it by the last look at it does not hide it.
    assert verify_command(path) == (1, [line], [])


@pytest.mark.asyncio
async def test_a_header_is_looked_at_through_sqlite_where_the_log_may_be_in_use(path: Path) -> None:
    await make_log(path)
    sql(path, "PRAGMA journal_mode = DELETE")
    Path(f"{path}-shm").touch()

    message, _ = only(await verified(path))

    assert message == "its header does not say that it has a write-ahead log: its journal mode is delete"


@pytest.mark.asyncio
async def test_looking_at_a_log_takes_no_lock_from_whoever_has_it_open_in_the_same_process(path: Path) -> None:
    async with opened(path) as store:
        await store.append([record("a.b")])
        await verified(path)
        # Alone, another process would move the write-ahead log and remove it as it closes.
        subprocess.run(
            [sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM')", path],
            check=False,
            capture_output=True,
        )
        assert Path(f"{path}-wal").exists()


@pytest.mark.asyncio
@pytest.mark.parametrize("log_id", [b"\x00\xff", "nope", "", 5, "G" * 32, "0" * 33])
async def test_an_id_that_is_none_is_found(path: Path, log_id: Any) -> None:
    await make_log(path)
    Path(f"{path}-watermark").unlink()
    sql(path, "UPDATE log SET log_id = ?", log_id)
    shown = log_id if isinstance(log_id, bytes) else str(log_id)  # the column has text

    assert only(await verified(path)) == (f"the log's id {shown!r} is none that asyncbus gives", None)


@pytest.mark.asyncio
async def test_the_watermark_of_another_log_is_found(path: Path) -> None:
    await make_log(path)
    other = path.with_name("other.db")
    await make_log(other, 9)
    watermark = Path(f"{path}-watermark")
    own = watermark.read_bytes()

    shutil.copy(f"{other}-watermark", watermark)
    assert only(await verified(path)) == (f"the watermark beside it, {watermark}, belongs to another log", None)

    for damaged in (own[:-1], b"\xff" + own[1:]):
        watermark.write_bytes(damaged)
        (said, sequence) = only(await verified(path))
        assert (said, sequence) == (
            f"the watermark beside it, {watermark}, is damaged, so a lost end may go unnoticed",
            None,
        )
    for unwritten in (b"", bytes(len(own))):
        watermark.write_bytes(unwritten)
        assert (await verified(path)).sound


@pytest.mark.asyncio
@pytest.mark.parametrize("put", [pytest.param(os.mkfifo, id="a named pipe"), pytest.param(os.mkdir, id="a folder")])
async def test_a_watermark_that_is_no_file_is_found(path: Path, put: Callable[[Path], None]) -> None:
    await make_log(path)
    watermark = Path(f"{path}-watermark")
    watermark.unlink()
    put(watermark)
    # In a process that ends also where it waits for the other end of a pipe.
    status, lines, errors = verify_command(path)
    assert (status, lines, errors) == (1, [f"the watermark beside it, {watermark}, is no regular file"], [])


@pytest.mark.asyncio
@pytest.mark.parametrize("seq", ["abc", 5.0, None, -1, b"5"])
async def test_a_head_that_is_no_sequence_is_found_and_the_events_are_looked_at(path: Path, seq: Any) -> None:
    await make_log(path)
    Path(f"{path}-watermark").unlink()
    sql(path, "UPDATE sqlite_sequence SET seq = ?", seq)
    sql(path, "UPDATE events SET data = '1' WHERE sequence = 3")

    found = [str(finding) for finding in (await verified(path)).findings]

    assert found[0] == f"the last sequence that was given is said to be {seq!r}"
    assert found[-1] == "event 3: its checksum is wrong"


@pytest.mark.asyncio
async def test_two_heads_are_found(path: Path) -> None:
    await make_log(path)
    sql(path, "INSERT INTO sqlite_sequence VALUES ('events', 3)")

    assert only(await verified(path)) == ("the table sqlite_sequence has 2 rows for events instead of one", None)


@pytest.mark.asyncio
@pytest.mark.parametrize(("first", "last"), [("a", "b"), (b"\0", b"\1"), (1, "b"), (3, 2), (0, 2), (1.5, 2)])
async def test_a_removal_of_what_is_no_range_is_found_and_explains_no_hole(path: Path, first: Any, last: Any) -> None:
    await make_log(path)
    sql(path, "INSERT INTO removals VALUES (?, ?, 0, 'x')", first, last)
    sql(path, "DELETE FROM events WHERE sequence = 2")

    assert told(await verified(path)) == [
        (f"a removal is recorded of {first!r} to {last!r}, which is no range of sequences", None),
        ("event 2 is missing, and no removal is recorded", 2),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("table", ["events", "removals", "log"])
async def test_a_table_that_is_missing_is_the_only_thing_found(path: Path, table: str) -> None:
    await make_log(path)
    sql(path, f"DROP TABLE {table}")

    assert (f"the table {table} is missing", None) in told(await verified(path))


@pytest.mark.asyncio
async def test_a_log_that_does_not_say_which_it_is_is_found(path: Path) -> None:
    await make_log(path)
    sql(path, "DELETE FROM log")

    assert only(await verified(path)) == (
        "the table log, which says which log this is, has 0 rows instead of one",
        None,
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(("head", "message"), [(None, "5 events, 1 to 5, lie"), (4, "event 5 lies")])
async def test_events_beyond_what_the_log_counts_as_given_are_found(path: Path, head: int | None, message: str) -> None:
    await make_log(path, 5)
    Path(f"{path}-watermark").unlink()
    sql(path, "DELETE FROM sqlite_sequence" if head is None else f"UPDATE sqlite_sequence SET seq = {head}")
    sql(path, "UPDATE events SET data = '1' WHERE sequence = 5")

    found = await verified(path)

    assert [finding.message.startswith(message) for finding in found.findings] == [True, False]
    assert found.findings[1].message == "event 5: its checksum is wrong"


@pytest.mark.asyncio
async def test_a_missing_end_is_found(path: Path) -> None:
    await make_log(path, 9)
    sql(path, "DELETE FROM events WHERE sequence > 6")

    assert only(await verified(path)) == ("events 7 to 9 are missing, and no removal is recorded", 7)


@pytest.mark.fault(45)
@pytest.mark.fault(46)
@pytest.mark.asyncio
async def test_a_lost_tail_is_found(path: Path) -> None:
    await make_log(path, 3)
    await written_and_killed(path, 4)
    Path(f"{path}-wal").unlink()

    message, sequence = only(await verified(path))

    assert message.startswith("the log ends at event 3, but ")
    assert "event 7 was stored" in message
    assert sequence is None


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_each_two_pages_that_have_changed_places_are_found(path: Path) -> None:
    await make_log(path, 100)
    original = path.read_bytes()
    pages = range(1, len(original) // 4096)

    for one, other in combinations(pages, 2):
        file = bytearray(original)
        exchange(file, one, other)
        if file == original:
            continue  # both are empty
        path.write_bytes(file)
        assert not (await verified(path)).sound


@pytest.mark.fault(44)
@pytest.mark.asyncio
async def test_a_flipped_bit_in_the_text_of_the_schema_is_found_also_where_it_leaves_no_text(path: Path) -> None:
    await make_log(path)
    original = path.read_bytes()
    text = b"CREATE TABLE events (\n    sequence    INTEGER PRIMARY KEY"
    first = original.index(text)

    for place in range(first, first + len(text)):
        file = bytearray(original)
        file[place] ^= 0x80
        path.write_bytes(file)
        assert not (await verified(path)).sound, text[place - first :]

    # SQLite tells which part it does not understand, and that is no text.
    file = bytearray(original)
    file[first + text.index(b"(")] ^= 0x80
    path.write_bytes(file)
    message, _ = only(await verified(path))
    assert "its schema cannot be read" in message
    await refused(path, StoreCorruptError)


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("column", ["name", "sql"])
async def test_bytes_where_the_schema_has_text_are_found(path: Path, column: str) -> None:
    await make_log(path)
    write_schema(path, f"{column} = CAST({column} AS BLOB)", "name = 'removals'")

    assert not (await verified(path)).sound


@pytest.mark.asyncio
async def test_a_finding_is_one_line_whatever_it_quotes(path: Path) -> None:
    await make_log(path)
    sql(path, 'CREATE VIEW "my\nown\r\nview" AS SELECT 1')

    assert str(await verified(path)) == "the view my own view was not made by asyncbus"
