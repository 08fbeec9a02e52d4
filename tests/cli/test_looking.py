"""query, replay, stats and types: what is in a log, as a user or another program wants it."""

import asyncio
import csv
import json
import os
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import asyncbus
from tests.cli.command import COMMAND, done, each, environment, refused, terminal


def sequences(*arguments: object, **changes: str) -> list[int]:
    return [json.loads(line)["sequence"] for line in done(*arguments, "--format", "ndjson", **changes).splitlines()]


QUERIES: list[tuple[list[str], list[int]]] = [
    ([], list(range(1, 11))),
    (["tlb.miss"], [2, 4, 6, 8]),
    (["tlb.miss", "opt*"], [2, 4, 6, 8, 9]),
    (["--where", "data.va > 4096"], [3, 4, 5, 6, 7, 8]),
    (["tlb.*", "--where", "data.va > 4096", "--key", "vm-1", "--newest-first", "--limit", "1"], [8]),
    (["--newest-first", "-n", "3"], [10, 9, 8]),
    (["--since", "2026-01-02T03:04:10Z", "--until", "2026-01-02T03:04:12.678Z"], [6, 7]),
    (["--start", "3", "--stop", "5"], [3, 4]),
    (["--start", "1h", "--limit", "2"], [1, 2]),
    (["--stop", "1h"], []),
    (["--key", "nobody"], []),
    (["--limit", "0"], []),
]


def test_query_finds_what_all_conditions_hold_for(log: Path) -> None:
    answers = each(["query", log, *conditions, "--format", "ndjson"] for conditions, _ in QUERIES)
    for (conditions, expected), (status, out, errors) in zip(QUERIES, answers, strict=True):
        assert (status, errors) == (0, ""), conditions
        assert [json.loads(line)["sequence"] for line in out.splitlines()] == expected, conditions


def test_each_format_says_the_same(log: Path) -> None:
    lines = [json.loads(line) for line in done("query", log, "--format", "ndjson").splitlines()]
    assert json.loads(done("query", log, "--format", "json")) == lines

    table = list(csv.DictReader(StringIO(done("query", log, "--format", "csv"))))
    for line, row in zip(lines, table, strict=True):
        told = {name: value for name, value in row.items() if value}
        assert told.keys() == line.keys()
        for name, value in line.items():
            assert told[name] == value or json.loads(told[name]) == value

    assert lines[8] == {
        "sequence": 9,
        "time": "2026-01-02T03:04:13.678000Z",
        "recorded_at": lines[8]["recorded_at"],
        "type": "optimization.stage_completed",
        "data": {"stage": 'l"i,c\nm', "ms": 1.5},
        "id": "once",
        "key": "vm-1",
        "metadata": {"user": "eve"},
        "version": 2,
        "causation_id": 3,
        "correlation_id": "flow",
    }
    assert lines[9]["data_base64"] == "AP9ieXRlcw=="

    readable = done("query", log).splitlines()
    assert readable[0].split() == ["1", "2026-01-02", "03:04:05.678Z", "tlb.hit", "vm-0", '{"va":0}']
    assert readable[9].endswith("<7 bytes>")


def test_of_nothing_each_format_has_a_whole_document(log: Path) -> None:
    nothing = ("query", log, "nothing")
    assert done(*nothing) == done(*nothing, "--format", "ndjson") == ""
    assert json.loads(done(*nothing, "--format", "json")) == []
    assert len(done(*nothing, "--format", "csv").splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["query", "tlb.miss"], [2, 4, 6, 8]),
        (["query", "--key", "vm-2"], [3, 6]),
        (["query"], list(range(1, 11))),
    ],
)
def test_the_store_may_stand_in_the_environment(arguments: list[str], expected: list[int], log: Path) -> None:
    assert sequences(*arguments, ASYNCBUS_STORE=str(log)) == expected
    assert sequences(arguments[0], log, *arguments[1:], ASYNCBUS_STORE="elsewhere.db") == expected
    assert sequences(arguments[0], f"sqlite:///{log}", *arguments[1:], ASYNCBUS_STORE="elsewhere.db") == expected
    assert "elsewhere.db does not exist" in refused(3, *arguments, ASYNCBUS_STORE="elsewhere.db")


def test_a_file_that_is_only_read_is_not_changed(log: Path) -> None:
    before = log.read_bytes()
    for command in ("query", "stats", "types", "replay", "verify"):
        done(command, log)
    done("tail", log, "--no-follow")
    done("consumers", "list", log)
    done("dead-letters", "list", log)
    assert log.read_bytes() == before
    assert Path(f"{log}-wal").stat().st_size == 0, "SQLite makes one for its readers"


def test_replay_goes_through_history_and_into_another_store(log: Path, tmp_path: Path) -> None:
    assert sequences("replay", log, "tlb.*", "--start", "2", "--stop", "5") == [2, 3, 4]
    assert sequences("replay", log, "--where", "data.va >= 24576", "--speed", "1000x") == [7, 8]
    other = tmp_path / "other.db"
    assert done("replay", log, "tlb.*", "--into", other, "--speed", "1000x") == ""
    found = [json.loads(line) for line in done("query", other, "--format", "ndjson").splitlines()]
    own = [json.loads(line) for line in done("query", log, "tlb.*", "--format", "ndjson").splitlines()]
    assert [line["sequence"] for line in found] == list(range(1, 10))
    for one, another in zip(found, own, strict=True):
        for name in ("type", "time", "key", "data", "data_base64"):
            assert one.get(name) == another.get(name)


def test_types_and_stats_say_what_a_log_holds(log: Path) -> None:
    [optimization, hit, miss] = json.loads(done("types", log, "--format", "json"))
    assert (hit["type"], hit["events"], hit["first_sequence"], hit["last_sequence"]) == ("tlb.hit", 5, 1, 10)
    assert (optimization["events"], miss["events"]) == (1, 4)
    assert done("types", log).splitlines()[0].split() == list(hit)[:-1]
    [figures] = json.loads(done("stats", log, "--format", "json"))
    told = {name: figures[name] for name in ("events", "types", "first_sequence", "latest_sequence", "consumers")}
    assert told == {"events": 10, "types": 3, "first_sequence": 1, "latest_sequence": 10, "consumers": 0}
    assert figures["bytes"] >= log.stat().st_size
    assert ["latest_sequence", "10"] in [line.split() for line in done("stats", log).splitlines()]


def test_on_a_terminal_a_table_is_in_colours_and_no_wider_than_it(log: Path) -> None:
    with terminal("query", log, columns=70) as shown:
        assert shown.ended() == 0
        assert len(shown.lines) == 10
        assert shown.lines[8].endswith("…")
        assert len(shown.colours) > 1
    with terminal("query", log, NO_COLOR="1") as plain:
        assert plain.ended() == 0
        assert plain.colours == {"default"}


def test_what_would_command_a_terminal_is_shown_and_not_obeyed(path: Path) -> None:
    async def fill() -> None:
        async with asyncbus.connect(path) as bus:
            await bus.publish("a", "\x9b31mred\u202egnorw\x7f", key="é")

    asyncio.run(fill())
    assert done("query", path).rstrip().endswith(r'é  "\x9b31mred\u202egnorw\x7f"')
    assert done("query", path, PYTHONIOENCODING="ascii").rstrip().endswith(r'\xe9  "\x9b31mred\u202egnorw\x7f"')


def resident(path: Path, *arguments: str) -> int:
    """Kilobytes that a command has had in memory at most."""
    command = [*COMMAND, "query", str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment()) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


@pytest.mark.parametrize("way", [["--newest-first"], ["--where", "data.n >= 0"]])
def test_memory_does_not_grow_with_what_is_found(way: list[str], path: Path) -> None:
    async def fill() -> None:
        async with asyncbus.connect(path, synchronous="normal") as bus:
            for _ in range(20):
                batch: list[Any] = [("a.b", {"n": number, "text": "x" * 50}) for number in range(5000)]
                await bus.publish_many(batch)

    asyncio.run(fill())
    few, many = (resident(path, "--format", "ndjson", "--limit", limit, *way) for limit in ("20000", "100000"))
    assert many < few + 6_000, "80,000 events more would be 20 MB as text alone"
